"""How a run is stopped by a person or a scheduler: Ctrl-C, SIGTERM, or the end of what launched it."""

import os
import signal
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..program import launched


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

    Once a signal has come, whatever exception leaves the block becomes its [`Stopped`]: a library's clean-up may fail
    for that very reason. Where Python can't let it through, in a finaliser or a hook of a fork, it comes again.
    Processes that were forked in the block end by the signal, without a word.
    """
    if threading.current_thread() is not threading.main_thread():
        yield
        return
    handlers = {number: signal.getsignal(number) for number in SIGNALS}
    before = {number: handler for number, handler in handlers.items() if handler not in (signal.SIG_IGN, None)}

    owner, over, lost = os.getpid(), threading.Event(), threading.Event()
    stops, again, workers, report = list[Stopped](), list[threading.Timer](), list[Any](), sys.unraisablehook

    def stop(number: int, frame: FrameType | None) -> None:
        if os.getpid() != owner or (stops and not lost.is_set()):
            signal.signal(number, signal.SIG_DFL)
            os.kill(os.getpid(), number)
            return
        lost.clear()
        if not stops:
            # PyTorch's handler would raise for workers that the signal ended, too, amid the clean-up.
            workers.append(signal.signal(signal.SIGCHLD, lambda *_: None))
            over.set()
            stops.append(Stopped(number))
        raise stops[0]

    def unraisable(what: Any) -> None:
        if os.getpid() != owner or not stops or what.exc_value is not stops[0]:
            report(what)
            return
        lost.set()
        again.append(threading.Timer(0.1, os.kill, (owner, stops[0].number)))
        again[-1].daemon = True
        again[-1].start()

    for number in before:
        signal.signal(number, stop)
    sys.unraisablehook = unraisable
    if launched():
        threading.Thread(target=_watch_launcher, args=(over,), name="launcher", daemon=True).start()
    try:
        yield
    except BaseException as error:
        if stops and error is not stops[0]:
            raise stops[0] from None
        raise
    finally:
        over.set()
        sys.unraisablehook = report
        for timer in again:
            timer.cancel()
        for number, handler in before.items():
            signal.signal(number, handler)
        for handler in workers:
            signal.signal(signal.SIGCHLD, handler)


def _watch_launcher(over: threading.Event) -> None:
    launcher = os.getppid()
    while not over.wait(WAIT):
        if os.getppid() != launcher:
            os.kill(os.getpid(), signal.SIGTERM)
            return


@contextmanager
def stops_in_a_line(otherwise: str) -> Iterator[None]:
    """[`stoppable`]; a stop that leaves the block ends the process with its status, and a line on what is safe.

    Args:
        otherwise: what is said where nobody has put a note on the stop: how things stand, and how to go on.
    """
    try:
        with stoppable():
            yield
    except KeyboardInterrupt as stop:
        if os.environ.get("RANK", "0") == "0":
            told = next((e for e in (stop, stop.__context__) if hasattr(e, "__notes__")), None)
            print(f"stopped: {told.__notes__[-1] if told else otherwise}", file=sys.stderr)
        sys.exit(getattr(stop, "status", STATUSES[0]))


@contextmanager
def leaves_at_once() -> Iterator[None]:
    """Around a whole process: one that was stopped waits for nothing, see [`leave`]."""
    try:
        yield
    except SystemExit as end:
        if end.code in STATUSES:
            leave(end.code)
        raise


def leave(status: int) -> None:
    """End the process at once, and with it its workers, who would complain that nobody reads any more.

    Threads that still send something, for which Python would wait, are given up.
    """
    for library in ("multiprocessing", "multiprocess"):  # PyTorch's, and that of `datasets`
        children = getattr(sys.modules.get(library), "active_children", list)
        for child in children():
            child.kill()
    sys.stdout.flush()
    sys.stderr.flush()
    os._exit(status)
