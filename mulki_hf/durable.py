"""Writing that neither a crash nor a power cut leaves half done: under a temporary name, fsync, rename."""

import errno
import os
import shutil
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path


TEMPORARY = ".tmp"
"""What the name of a file ends with while it is written."""


@contextmanager
def replacing(path: str | Path) -> Iterator[Path]:
    """A file to fill inside the block, beside `path`, whose place it takes after it; an error leaves nothing of it."""
    path = Path(path)
    temporary = path.with_name(path.name + TEMPORARY)
    try:
        yield temporary
        sync(temporary)
        os.replace(temporary, path)
    except BaseException:
        with suppress(OSError):
            temporary.unlink(missing_ok=True)
        raise
    sync(path.parent)


def write_text(path: str | Path, text: str) -> None:
    """Write a file of UTF-8 so that the old one or the new one is there, whole, whatever happens."""
    with replacing(path) as temporary:
        temporary.write_text(text, encoding="utf-8")


def copy_file(source: str | Path, path: str | Path) -> None:
    """The same with the content of another file."""
    with replacing(path) as temporary:
        shutil.copyfile(source, temporary)


def sync(path: Path) -> None:
    """Wait until a file's content, or the names in a folder, are on the disk itself."""
    folder = path.is_dir()
    if folder and os.name != "posix":
        return  # Windows opens no folders
    handle = os.open(path, os.O_RDONLY if os.name == "posix" else os.O_RDWR)
    try:
        os.fsync(handle)
    except OSError as error:
        # Some network file systems sync no folders.
        if not folder or error.errno not in (errno.EINVAL, errno.EBADF, errno.ENOTSUP):
            raise
    finally:
        os.close(handle)


def sync_tree(folder: Path) -> None:
    """The same of everything in a folder, what is inside of it first; links stay what they are."""
    for place, _, files in os.walk(folder, topdown=False):
        for name in files:
            if not os.path.islink(os.path.join(place, name)):
                sync(Path(place, name))
        sync(Path(place))


def put(written: Path, place: Path) -> None:
    """Move a whole folder to its place; what lies there is moved away whole before it is deleted."""
    old = written.with_name(f"{written.name}.old")
    remove(old)
    sync_tree(written)
    with suppress(FileNotFoundError):
        os.replace(place, old)
    os.replace(written, place)
    sync(place.parent)
    remove(old)


def remove(path: Path) -> None:
    """Delete a folder, a file or a link, and never what a link leads to."""
    if path.is_dir() and not path.is_symlink():
        shutil.rmtree(path, ignore_errors=True)
    else:
        path.unlink(missing_ok=True)
