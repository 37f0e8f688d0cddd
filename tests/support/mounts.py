"""Small file systems of one's own, where the machine lets a test have any."""

import os
import subprocess
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

import pytest


def _mount(*words: str | Path) -> None:
    done = subprocess.run(["mount", *map(str, words)], capture_output=True, text=True)
    if done.returncode:
        pytest.skip(f"can't mount a file system here: {done.stderr.strip() or done.returncode}")


class SmallDisk:
    """A file system in memory.

    Args:
        path: the folder that it is mounted on.
    """

    BALLAST = "ballast"

    def __init__(self, path: Path):
        self.path = path

    @property
    def free(self) -> int:
        """Bytes."""
        space = os.statvfs(self.path)
        return space.f_bavail * space.f_frsize

    @property
    def size(self) -> int:
        """Bytes."""
        space = os.statvfs(self.path)
        return space.f_blocks * space.f_frsize

    def leave(self, size: int) -> None:
        """Fill it up but for `size` bytes."""
        ballast = self.path / self.BALLAST
        ballast.unlink(missing_ok=True)
        with ballast.open("wb") as file:
            os.posix_fallocate(file.fileno(), 0, self.free - size)

    def empty(self) -> None:
        """Let go of what fills it up."""
        (self.path / self.BALLAST).unlink(missing_ok=True)

    def lock(self, folder: Path) -> None:
        """Make a folder read-only, as a file system does to itself on an error."""
        _mount("--bind", folder, folder)
        _mount("-o", "remount,bind,ro", folder)

    def unlock(self, folder: Path) -> None:
        """Make it what it was."""
        subprocess.run(["umount", "-l", str(folder)], check=True)


@contextmanager
def small_disk(path: Path, size: str) -> Iterator[SmallDisk]:
    """A disk of `size`, as `mount` takes it, on a new folder; the test is skipped where nobody may mount one."""
    if not hasattr(os, "posix_fallocate") or os.geteuid() != 0:
        pytest.skip("only root can mount a file system, on Linux")
    path.mkdir()
    _mount("-t", "tmpfs", "-o", f"size={size}", "tmpfs", path)
    try:
        yield SmallDisk(path)
    finally:
        # Whatever maps a file there keeps it busy no longer than it lives.
        subprocess.run(["umount", "-l", str(path)], check=True)
