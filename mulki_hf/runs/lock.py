"""One run in a folder at a time: a lock that dies with its process."""

import os
import socket
from contextlib import suppress
from pathlib import Path

from filelock import FileLock, Timeout

from ..errors import ConfigurationError


LOCK, HOLDER = "lock", "process"
"""The file that is locked, and one that says who did it."""


class FolderLock:
    """Held by the process that writes in a run's folder.

    The operating system gives it back when the process ends, however that comes about; forked workers don't hold it.

    Args:
        folder: for its files; nothing else of the run depends on them.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._held: FileLock | None = None

    def take(self) -> None:
        """Take it without waiting.

        Raises:
            ConfigurationError: another run has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK, timeout=0, thread_local=False)
        try:
            lock.acquire()
        except Timeout:
            raise in_use(self.folder) from None
        self._held = lock
        (self.folder / HOLDER).write_text(f"process {os.getpid()} on {socket.gethostname()}", encoding="utf-8")

    def release(self) -> None:
        """Give it back, and leave nothing of it."""
        if self._held is None:
            return
        for name in (HOLDER, LOCK):
            (self.folder / name).unlink(missing_ok=True)
        with suppress(OSError):  # what else is there stays
            self.folder.rmdir()
        self._held.release()
        self._held = None


def check_free(folder: Path) -> None:
    """Raise `ConfigurationError` if a run holds the lock in `folder`."""
    if not (folder / LOCK).is_file():
        return
    try:
        with FileLock(folder / LOCK, timeout=0, thread_local=False):
            pass
    except Timeout:
        raise in_use(folder) from None


def in_use(folder: Path) -> ConfigurationError:
    """The refusal of a folder that another run holds."""
    try:
        holder = (folder / HOLDER).read_text(encoding="utf-8")
    except OSError:
        holder = "another process"
    return ConfigurationError(
        f"output_dir {str(folder.parent)!r}: a run is writing there ({holder}); wait for its end or stop it, or choose "
        "another output_dir"
    )
