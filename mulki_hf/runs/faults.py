"""What ends a run from outside, while it reads: an image that is gone, a process that the system killed."""

import re
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path

from ..errors import TrainingError, UnreadableImage
from .disk import in_words


SHARED = r"shared memory|unable to write to file </torch_|unable to (open|mmap) .*torch_"
"""In the text of an error where there was no room to hand on a batch."""
GONE = r"DataLoader worker .* (?:is killed by signal: ([\w ]+)|exited unexpectedly)|subprocesses has abruptly died"
"""Where a process that reads images is: PyTorch's, with the signal if that is known, then that of `datasets`."""


@contextmanager
def data_faults(output: str | Path, then: str | None = None) -> Iterator[None]:
    """What keeps a run from reading on inside the block becomes a [`TrainingError`] that says how to go on.

    Args:
        output: the run's folder.
        then (*optional*): how to go on once that is mended. Default: as the run in the folder stands.
    """
    with in_words(data_fault, output, then):
        yield


def data_fault(error: BaseException | None) -> str | None:
    """In words why data can't be read any more, if it is that which led to `error`, and what to do."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        text = " ".join(str(error).split())
        if isinstance(error, UnreadableImage):
            return text
        if isinstance(error, RuntimeError) and not isinstance(error, TrainingError):
            if re.search(SHARED, text):
                return (
                    "shared memory ran out, through which processes hand on the images that they decode: make it "
                    "larger (`docker run --shm-size 8g`; `df -h /dev/shm` shows it), or set --dataloader_num_workers 0"
                )
            if gone := re.search(GONE, text):
                if gone[1] not in (None, "Killed"):
                    return (
                        f"a process that decodes images ended with {gone[1]!r}, maybe for an image that the decoder "
                        "can't take: --dataloader_num_workers 0 shows where"
                    )
                return (
                    "a process that decodes images was killed, as the system does where memory runs out (`dmesg` says "
                    "so): give it more memory, or have fewer of them (--dataloader_num_workers, --dataset_num_proc)"
                )
        error = error.__cause__ or error.__context__
    return None
