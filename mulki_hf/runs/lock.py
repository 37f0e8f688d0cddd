"""One run in a folder at a time: a lock that dies with its process, and a sign of life for other machines."""

import errno
import logging
import os
import socket
import sys
import threading
import time
from contextlib import suppress
from dataclasses import dataclass
from pathlib import Path

import psutil
from filelock import FileLock, Timeout

from ..errors import ConfigurationError
from .stopping import leave


logger = logging.getLogger(__name__)

LOCK, HOLDER = "lock", "process"
"""The file that is locked, and one that says who did it, which is touched as long as it is held."""
BEAT = 10.0
"""Seconds between two signs of life."""
WATCH = 45.0
"""Seconds for which a holder on another machine is watched; without a sign of life it is taken for dead."""
UNSUPPORTED = {errno.ENOLCK, errno.ENOSYS, errno.EOPNOTSUPP, errno.ENOTSUP, errno.EINVAL}
"""What file systems say that know no locks."""


@dataclass(frozen=True)
class Holder:
    """Who holds a folder, by the file that it wrote.

    Attributes:
        text: `process 4711 on node3 since 2026-05-01 12:00`.
        beat: when it gave its last sign of life, in nanoseconds of the file system's own time.
    """

    text: str
    beat: int

    @classmethod
    def of(cls, folder: Path) -> "Holder | None":
        """Of a folder; None: nobody."""
        try:
            # Opened: network file systems look then whether what they remember of a file is still so.
            with (folder / HOLDER).open(encoding="utf-8") as file:
                # An empty one is what a power cut leaves.
                text = file.read()
                return cls(text, os.fstat(file.fileno()).st_mtime_ns) if text.strip("\0 ") else None
        except (OSError, UnicodeDecodeError):
            return None

    @property
    def here(self) -> bool:
        """Whether it is a process of this machine."""
        return self.text.split(" since ")[0].endswith(f" on {socket.gethostname()}")

    @property
    def runs(self) -> bool:
        """Of one of this machine: whether it is there; a process of its number that began later is another one."""
        try:
            return psutil.Process(int(self.text.split()[1])).create_time() <= self.beat / 1e9
        except (psutil.Error, ValueError, IndexError, OverflowError):
            return False


class FolderLock:
    """Held by the process that writes in a run's folder.

    The operating system gives it back when the process ends, however that comes about; forked workers don't hold it.
    On a disk that machines share such a lock may hold on one of them alone, or there is none. So the holder gives
    signs of life: one on another machine is refused while it gives them, and taken for dead when it gives none for
    [`WATCH`] seconds.

    Args:
        folder: for its files; nothing else of the run depends on them.
    """

    def __init__(self, folder: Path):
        self.folder = folder
        self._held: FileLock | None = None
        self._over: threading.Event | None = None
        self._text = ""

    def take(self) -> None:
        """Take it without waiting, but for a holder on another machine.

        Raises:
            ConfigurationError: another run has it.
        """
        self.folder.mkdir(parents=True, exist_ok=True)
        lock = FileLock(self.folder / LOCK, timeout=0, thread_local=False, fallback_to_soft=False)
        locked = _locked(lock, self.folder)
        try:
            if lives(self.folder, locked):
                raise in_use(self.folder)
            self._write()
        except BaseException:
            lock.release(force=True)
            raise
        self._held, self._over = lock, threading.Event()
        threading.Thread(target=self._beat, args=(self._over,), name="lock", daemon=True).start()

    def _write(self) -> None:
        path, since = self.folder / HOLDER, time.strftime("%Y-%m-%d %H:%M")
        self._text = f"process {os.getpid()} on {socket.gethostname()} since {since}"
        path.unlink(missing_ok=True)
        try:
            # Where there are no locks, one of two that come in the same moment may still delete what the other wrote.
            with path.open("x", encoding="utf-8") as file:
                file.write(self._text)
        except FileExistsError:
            raise in_use(self.folder) from None

    def _beat(self, over: threading.Event) -> None:
        while not over.wait(BEAT):
            if self._taken_over:
                # This process was frozen, or its disk was, for so long that another took it for dead.
                print(f"error: {in_use(self.folder)}", file=sys.stderr)
                leave(1)
            with suppress(OSError):  # the next one may be told
                os.utime(self.folder / HOLDER)

    @property
    def _taken_over(self) -> bool:
        holder = Holder.of(self.folder)
        return holder is not None and holder.text != self._text

    def release(self) -> None:
        """Give it back, and leave nothing of it."""
        if self._held is None or self._over is None:
            return
        self._over.set()
        with suppress(OSError):  # what else is there stays, and on a disk that takes no more so do these
            for name in () if self._taken_over else (HOLDER, LOCK):
                (self.folder / name).unlink(missing_ok=True)
            self.folder.rmdir()
        self._held.release(force=True)
        self._held = self._over = None


def check_free(folder: Path) -> None:
    """Raise `ConfigurationError` if a run holds the lock in `folder`."""
    if not (folder / LOCK).is_file():
        return
    lock = FileLock(folder / LOCK, timeout=0, thread_local=False, fallback_to_soft=False)
    try:
        if lives(folder, _locked(lock, folder)):
            raise in_use(folder)
    finally:
        lock.release(force=True)


def _locked(lock: FileLock, folder: Path) -> bool:
    """Whether the file system keeps others away from now on; False: it can't. Refuses a lock that another has."""
    try:
        lock.acquire()
    except Timeout:
        raise in_use(folder) from None
    except OSError as error:
        if error.errno not in UNSUPPORTED:
            raise
        logger.warning(
            f"{str(folder.parent)!r} lies on a file system without locks ({error}): that no other run writes there is "
            "known by signs of life alone"
        )
        return False
    return True


def lives(folder: Path, locked: bool) -> bool:
    """Whether the holder that a folder names is still there.

    Args:
        folder: of the lock.
        locked: nobody on this machine has the lock.
    """
    holder = Holder.of(folder)
    if holder is None:
        return False
    if holder.here:
        return not locked and holder.runs
    if (folder, holder) in _DEAD:
        return False
    logger.warning(f"{str(folder.parent)!r}: {holder.text} has been writing there; watching whether it still does")
    until = time.monotonic() + WATCH
    while time.monotonic() < until:
        time.sleep(min(BEAT, WATCH) / 4)
        now = Holder.of(folder)
        if now is None:
            return False
        if now != holder:
            return True
    logger.warning(f"no sign of life of {holder.text} for {WATCH:.0f} seconds: it is taken for dead")
    _DEAD.add((folder, holder))
    return False


_DEAD: set[tuple[Path, Holder]] = set()
"""Holders that were watched in vain: nobody waits for them twice."""


def in_use(folder: Path) -> ConfigurationError:
    """The refusal of a folder that another run holds."""
    holder = Holder.of(folder)
    return ConfigurationError(
        f"output_dir {str(folder.parent)!r}: a run is writing there ({holder.text if holder else 'another process'}); "
        "wait for its end or stop it, or choose another output_dir"
    )
