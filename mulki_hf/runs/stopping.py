"""How a run is stopped by a person or a scheduler: Ctrl-C, SIGTERM, or the end of what launched it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType


class Stopped(KeyboardInterrupt):
    """A signal, raised in the main thread; libraries let it through as they do Ctrl-C.

    Args:
        number: of the signal.
    """

    def __init__(self, number: int):
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def status(self) -> int:
        """The exit status that shells give to such an end: 130 for Ctrl-C, 143 for SIGTERM."""
        return 128 + self.number


SIGNALS = (signal.SIGINT, signal.SIGTERM)
STATUSES = tuple(Stopped(number).status for number in SIGNALS)
WAIT = 1.0
"""Seconds between two looks at the launcher."""


@contextmanager
def stoppable() -> Iterator[None]:
    """Inside the block the first Ctrl-C or SIGTERM raises [`Stopped`], and a second one ends the process at once.

    A process that `accelerate launch` started stops as on SIGTERM when the launcher is gone, which ends on a signal
    without passing it on. A signal that is ignored, as Ctrl-C is behind a shell's `&`, stays ignored.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    before = {number: signal.getsignal(number) for number in SIGNALS}
    caught = [number for number, handler in before.items() if handler not in (signal.SIG_IGN, None)]

    def stop(number: int, frame: FrameType | None) -> None:
        for caught_number in caught:
            signal.signal(caught_number, signal.SIG_DFL)
        over.set()
        raise Stopped(number)

    over = threading.Event()
    for number in caught:
        signal.signal(number, stop)
    if launched():
        threading.Thread(target=_watch_launcher, args=(over,), name="launcher", daemon=True).start()
    try:
        yield
    finally:
        over.set()
        for number in caught:
            signal.signal(number, before[number])


def launched() -> bool:
    """Whether `accelerate launch` started this process: it sets such variables for it."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ


def _watch_launcher(over: threading.Event) -> None:
    launcher = os.getppid()
    while not over.wait(WAIT):
        if os.getppid() != launcher:
            os.kill(os.getpid(), signal.SIGTERM)
            return


def leave(status: int) -> None:
    """End the process at once: threads that still send something, for which Python would wait, are given up."""
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
