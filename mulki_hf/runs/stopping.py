"""How a run is stopped by a person or a scheduler: Ctrl-C, SIGTERM, or the end of what launched it."""

import os
import signal
import sys
import threading
import time
from collections.abc import Iterator
from contextlib import contextmanager
from types import FrameType
from typing import Any

from ..errors import RankError
from ..program import launched


class Stopped(KeyboardInterrupt):
    """A signal, raised in the main thread; libraries let it through as they do Ctrl-C.

    Args:
        number: of the signal.
        together (`bool`): all ranks stop by it, at the same step.
    """

    def __init__(self, number: int, together: bool = False):
        super().__init__(signal.Signals(number).name)
        self.number = number
        self.together = together

    @property
    def status(self) -> int:
        """The exit status that shells give to such an end: 130 for Ctrl-C, 143 for SIGTERM, 138 for SIGUSR1."""
        return 128 + self.number


SIGNALS = (signal.SIGINT, signal.SIGTERM)
USR1 = getattr(signal, "SIGUSR1", None)
"""What Slurm's `--signal=USR1@300` sends; there is none on Windows."""
STATUSES = tuple(Stopped(number).status for number in (*SIGNALS, USR1) if number is not None)
WAIT = 1.0
"""Seconds between two looks at the launcher."""
ECHO = 5.0
"""Seconds within which torchrun passes on a signal that its ranks have had themselves, as on a terminal's Ctrl-C."""


class Deferral:
    """Where work would be lost: a first signal is kept here until `raise_stop`, and raises nothing itself.

    Attributes:
        on (`bool`): whether it is now.
        stops (`Stops`, *optional*): what handles signals, inside [`stoppable`].
    """

    def __init__(self) -> None:
        self.on = False
        self.stops: Stops | None = None

    @property
    def number(self) -> int:
        """Of the signal that was kept; 0: none."""
        stops = self.stops
        return stops.stop.number if stops and stops.stop and not stops.raised else 0

    def raise_stop(self, number: int) -> None:
        """End the run by the signal `number`, which this rank or another had, and all know of."""
        self.on = False
        stops = self.stops
        assert stops is not None
        stops.stop = Stopped(number, together=True)
        stops.raise_stop()

    @contextmanager
    def possible(self) -> Iterator[None]:
        """A block in which it may be turned on; in the end it is off, and what was kept is raised."""
        try:
            yield
        finally:
            self.on = False
        if self.stops is not None and self.number:
            self.stops.raise_stop()


DEFERRAL = Deferral()
"""Of this process: signals come to no one else."""


class Stops:
    """The handlers of one [`stoppable`] block.

    Attributes:
        stop ([`Stopped`], *optional*): of the first signal, once it has come.
        raised (`bool`): whether it was raised; until then nobody's error comes from it.
    """

    def __init__(self) -> None:
        self.stop: Stopped | None = None
        self.raised = False
        self.over = threading.Event()
        self._owner = os.getpid()
        self._before: dict[int, Any] = {}
        self._since = 0.0
        self._lost = threading.Event()
        self._again: list[threading.Timer] = []
        self._report = sys.unraisablehook

    def on(self, number: int) -> None:
        """Stop on the signal `number`, too, even where it was ignored."""
        self._before.setdefault(number, signal.getsignal(number))
        signal.signal(number, self._handle)

    def begin(self) -> None:
        """Take the signals that are not ignored, as Ctrl-C is behind a shell's `&`."""
        for number in SIGNALS:
            if signal.getsignal(number) not in (signal.SIG_IGN, None):
                self.on(number)
        sys.unraisablehook = self._unraisable

    def end(self) -> None:
        """Leave all as it was."""
        self.over.set()
        sys.unraisablehook = self._report
        for timer in self._again:
            timer.cancel()
        for number, handler in self._before.items():
            signal.signal(number, handler)

    def raise_stop(self) -> None:
        """Raise the stop that has come."""
        assert self.stop is not None
        if not self.raised:
            # PyTorch's handler would raise for workers that the signal ended, too, amid the clean-up.
            if hasattr(signal, "SIGCHLD"):
                self._before.setdefault(signal.SIGCHLD, signal.signal(signal.SIGCHLD, lambda *_: None))
            self.raised = True
        raise self.stop

    def _handle(self, number: int, frame: FrameType | None) -> None:
        if os.getpid() != self._owner:
            self._end_by(number)
        elif self.stop is None:
            self.over.set()
            self.stop, self._since = Stopped(number), time.monotonic()
            if not DEFERRAL.on:
                self.raise_stop()
            _say(f"{signal.Signals(number).name}: stopping after this step; a second signal ends the run at once")
        elif self._lost.is_set():
            self._lost.clear()
            self.raise_stop()
        elif "TORCHELASTIC_RUN_ID" not in os.environ or time.monotonic() > self._since + ECHO:
            self._end_by(number)

    @staticmethod
    def _end_by(number: int) -> None:
        signal.signal(number, signal.SIG_DFL)
        os.kill(os.getpid(), number)

    def _unraisable(self, what: Any) -> None:
        if os.getpid() != self._owner or self.stop is None or what.exc_value is not self.stop:
            self._report(what)
            return
        self._lost.set()
        self._again.append(threading.Timer(0.1, os.kill, (self._owner, self.stop.number)))
        self._again[-1].daemon = True
        self._again[-1].start()


@contextmanager
def stoppable() -> Iterator[Stops]:
    """Inside the block the first Ctrl-C or SIGTERM raises [`Stopped`], and a second one ends the process at once.

    While a trainer takes steps the first one waits for the end of the step, see [`StepStop`]. A process that
    `accelerate launch` started stops as on SIGTERM when the launcher is gone, which ends on a signal without passing it
    on. A signal that is ignored, as Ctrl-C is behind a shell's `&`, stays ignored.

    Once the stop was raised, whatever exception leaves the block becomes it, but for another rank's: a library's
    clean-up may fail for that very reason. Where Python can't let it through, in a finaliser or a hook of a fork, it
    comes again. Processes that were forked in the block end by the signal, without a word.
    """
    stops = Stops()
    if threading.current_thread() is not threading.main_thread():
        yield stops
        return
    outer, DEFERRAL.stops = DEFERRAL.stops, stops
    stops.begin()
    if launched():
        threading.Thread(target=_watch_launcher, args=(stops.over,), name="launcher", daemon=True).start()
    try:
        yield stops
    except BaseException as error:
        if stops.raised and error is not stops.stop and not isinstance(error, RankError):
            raise stops.stop from None  # type: ignore[misc]  # there is one
        raise
    finally:
        DEFERRAL.stops = outer
        stops.end()


def _say(line: str) -> None:
    """In a handler: `print` may be at work itself."""
    if os.environ.get("RANK", "0") == "0":
        os.write(2, f"{chr(10) if os.isatty(2) else ''}{line}\n".encode())


def _watch_launcher(over: threading.Event) -> None:
    launcher = os.getppid()
    while not over.wait(WAIT):
        if os.getppid() != launcher:
            os.kill(os.getpid(), signal.SIGTERM)
            return


@contextmanager
def stops_in_a_line(otherwise: str) -> Iterator[Stops]:
    """[`stoppable`]; a stop that leaves the block ends the process with its status, and a line on what is safe.

    Args:
        otherwise: what is said where nobody has put a note on the stop: how things stand, and how to go on.
    """
    try:
        with stoppable() as stops:
            yield stops
    except KeyboardInterrupt as stop:
        if os.environ.get("RANK", "0") == "0":
            told = next((e for e in (stop, stop.__context__) if hasattr(e, "__notes__")), None)
            print(f"stopped: {told.__notes__[-1] if told else otherwise}", file=sys.stderr)
        sys.exit(getattr(stop, "status", STATUSES[0]))


@contextmanager
def leaves_at_once() -> Iterator[None]:
    """Around a whole process: one that was stopped, or failed on several ranks, waits for nothing, see [`leave`]."""
    try:
        yield
    except BaseException as end:
        if isinstance(end, SystemExit) and end.code in STATUSES:
            leave(end.code)
        if int(os.environ.get("WORLD_SIZE") or 1) > 1:
            # What is left of collectives may wait for a rank that is gone.
            leave(_told(end))
        raise


def _told(end: BaseException) -> int:
    """Say what Python would say of such an end; its status."""
    if not isinstance(end, SystemExit):
        sys.excepthook(type(end), end, end.__traceback__)
        return 1
    if end.code is None or isinstance(end.code, int):
        return end.code or 0
    print(end.code, file=sys.stderr)
    return 1


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
