"""What a disk refuses: found before a run begins, or said in a line when it comes in the middle of one."""

import errno
import os
import re
import shutil
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import ConfigurationError, PushError, TrainingError, shown


MAX_NAME, MAX_PATH = 255, 4096
"""Bytes of a folder's name and of a path, on the file systems that people use."""
WITHIN = 600
"""Bytes of the longest path that a run makes inside its folder."""

FAULTS = {
    errno.ENOSPC, errno.EDQUOT, errno.EFBIG, errno.EROFS, errno.EACCES, errno.EPERM, errno.ENAMETOOLONG, errno.EIO,
}  # fmt: skip


def check_output(output: Path) -> None:
    """Raise `ConfigurationError` unless a run can write into `output`; makes nothing."""
    path = Path(os.path.abspath(output))
    for part in path.parts:
        if (size := len(os.fsencode(part))) > MAX_NAME:
            raise ConfigurationError(
                f"output_dir: a folder's name must take at most {MAX_NAME} bytes, got {size}: {shown(part)}"
            )
    if (size := len(os.fsencode(path))) > MAX_PATH - WITHIN:
        raise ConfigurationError(
            f"output_dir must take at most {MAX_PATH - WITHIN} bytes as a whole path, got {size}: {shown(str(path))}"
        )
    there = next(folder for folder in (path, *path.parents) if os.path.lexists(folder))
    if not os.path.exists(there):
        raise ConfigurationError(f"output_dir {shown(str(output))}: {shown(str(there))} is a link that leads nowhere")
    if not there.is_dir():
        raise ConfigurationError(f"output_dir {shown(str(output))}: {shown(str(there))} is a file, not a folder")
    if not os.access(there, os.W_OK | os.X_OK):
        raise ConfigurationError(
            f"output_dir {shown(str(output))}: {shown(str(there))} can't be written: choose another, or change its "
            "permissions"
        )
    space = shutil.disk_usage(there)
    if space.total and not space.free:
        raise ConfigurationError(
            f"output_dir {shown(str(output))}: no space left on its disk: make room, or choose another"
        )


@contextmanager
def disk_faults(output: str | Path, then: str | None = None) -> Iterator[None]:
    """What the disk refuses inside the block becomes a [`TrainingError`] that says how to go on.

    Args:
        output: the run's folder.
        then (*optional*): how to go on once that is mended. Default: as the run in the folder stands.
    """

    def fault_of(error: Exception) -> str | None:
        # What training says of itself is said already.
        fault = None if isinstance(error, TrainingError) else disk_fault(error, output)
        return fault and f"{fault}: mend that"

    with in_words(fault_of, output, then):
        yield


@contextmanager
def in_words(fault_of: Callable[[Exception], str | None], output: str | Path, then: str | None) -> Iterator[None]:
    """An error inside the block of which `fault_of` has words becomes a [`TrainingError`]; arguments as above."""
    try:
        yield
    except (ConfigurationError, PushError):
        raise  # said already
    except Exception as error:
        fault = fault_of(error)
        if fault is None:
            raise
        raise TrainingError(f"{fault}; {then or way_on(Path(output))}") from error


def way_on(output: Path) -> str:
    """How far the run in a folder has come, and how it goes on; in general terms where the folder can't be read."""
    from .folder import standing  # here, because it needs what a push does without

    try:
        return standing(output)
    except (OSError, ConfigurationError):  # the same disk, most likely
        return "then go on with --resume, or start again"


def disk_fault(error: BaseException | None, output: str | Path) -> str | None:
    """In words what the disk refused, if it is that which led to `error` of a run that writes into `output`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:  # what libraries raise again can lead to itself
        seen.add(id(error))
        text = " ".join(str(error).split())
        # A library that is not written in Python, or another rank, has the number in its text.
        told = re.search(r"(?:\[Errno|os error) (\d+)", text)
        number = error.errno if isinstance(error, OSError) and error.errno else told and int(told[1])
        if number in FAULTS:
            where = getattr(error, "filename", None)
            # Of a file that is read, permissions alone can be the matter.
            kept = "can't use" if where and number in (errno.EACCES, errno.EPERM, errno.EIO) else "can't write"
            return f"{kept} {where or f'in {output}'}: {os.strerror(number)}"
        # torch and numpy know that less was written than they asked for, not why.
        if re.search(r"PytorchStreamWriter failed|inline_container|requested and \d+ written", text):
            return f"can't write all of a file in {output}, as on a full disk ({text[:120]})"
        error = error.__cause__ or error.__context__
    return None
