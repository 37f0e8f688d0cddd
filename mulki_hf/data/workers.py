"""How many processes read data, by the machine's cores, and what they do about signals."""

import multiprocessing
import os
import signal
from collections.abc import Callable
from types import FrameType
from typing import Any


IMAGES_PER_PROCESS = 2000
"""Fewer are decoded in less time than a process takes to start."""


def usable_cores() -> int:
    """Cores that this process may run on."""
    if hasattr(os, "sched_getaffinity"):
        return len(os.sched_getaffinity(0))
    return os.cpu_count() or 1


def checking_processes(images: int) -> int | None:
    """Processes to check so many images with; None for this one alone."""
    processes = min(usable_cores(), images // IMAGES_PER_PROCESS)
    return processes if processes > 1 else None


def loader_workers(ranks: int) -> int:
    """Workers of a data loader on one of the machine's `ranks`: none where there is no core for them, at most eight.

    None either where a worker is an interpreter of its own, which takes seconds to start, for every epoch and task.
    """
    method = multiprocessing.get_start_method(allow_none=True) or multiprocessing.get_all_start_methods()[0]
    cores = usable_cores() // max(ranks, 1)
    return min(cores - 1, 8) if cores > 2 and method == "fork" else 0


def outlives_a_signal(begin: Callable[[int], Any] | None, number: int) -> None:
    """A data loader's `worker_init_fn`: a first signal, which goes to all processes of a run, is the main one's alone.

    That may want batches until its step is over, and ends the workers then.

    Args:
        begin (*optional*): the loader's own such function.
        number (`int`): of the worker.
    """
    for name in ("SIGINT", "SIGTERM", "SIGUSR1"):
        if hasattr(signal, name):
            signal.signal(getattr(signal, name), _next_one_ends)
    if begin is not None:
        begin(number)


def _next_one_ends(number: int, frame: FrameType | None) -> None:
    signal.signal(number, signal.SIG_DFL)
