"""A line from each rank to the next, along which all learn that one of them has ended, and why."""

import json
import re
import sys
import threading
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from dataclasses import asdict, dataclass

import torch
import torch.distributed as dist

from ..errors import ConfigurationError, PushError, RankError, TrainingError
from ..tokens import without_tokens
from .ranks import patient_group, several
from .stopping import STATUSES, Stopped, leave


SIZE, LENGTH = 16384, 1500
"""Bytes of what is sent, and characters of an error in it."""
HEARING = 15.0
"""Seconds in which a rank whose connections broke waits to hear why."""
LEAVING = 20.0
"""Seconds after which a rank that has heard of another's end is ended, whatever it is waiting for."""
FOLLOWING = 60.0
"""Seconds in which ranks that were stopped together wait for the main one, which may finish a push."""


@dataclass
class End:
    """How a rank ended.

    Attributes:
        rank (`int`): which.
        status (`int`): of its process; 0: it has done its work, one of `STATUSES`: it was stopped.
        text (`str`): what another says of it.
    """

    rank: int
    status: int
    text: str = ""

    def error(self) -> BaseException:
        """What it is on another rank."""
        return Stopped(self.status - 128) if self.status in STATUSES else RankError(self.text)

    def packed(self) -> torch.Tensor:
        """As it is sent, `(SIZE,)` bytes."""
        return torch.frombuffer(bytearray(json.dumps(asdict(self)).encode().ljust(SIZE)), dtype=torch.uint8)

    @classmethod
    def unpacked(cls, message: torch.Tensor) -> "End":
        """The inverse."""
        return cls(**json.loads(bytes(message.tolist())))


class Lifeline:
    """Tells the next rank how this one ended, and hears from the one before, which passes on what it has heard.

    A rank that dies without a word is noticed by its connection. On one process nothing happens.
    """

    def __init__(self) -> None:
        self.idle = not several()
        self.heard: End | None = None
        self._said, self._hears, self._over = threading.Lock(), threading.Event(), threading.Event()
        if self.idle:
            return
        try:
            dist.barrier()  # a rank that never came this far is not waited for as long as the next line would
        except RuntimeError as error:
            raise RankError("another rank ended before the run began; its own message says why") from error
        self._group = patient_group(dist.group.WORLD)
        self._rank, ranks = dist.get_rank(), dist.get_world_size()
        self._before, self._next = (self._rank - 1) % ranks, (self._rank + 1) % ranks
        threading.Thread(target=self._listen, name="lifeline", daemon=True).start()

    def _listen(self) -> None:
        message = torch.zeros(SIZE, dtype=torch.uint8)
        try:
            dist.recv(message, self._before, group=self._group)
            self.heard = End.unpacked(message)
        except RuntimeError:
            self.heard = End(
                self._before, 1, f"rank {self._before} ended without a word (killed? out of memory?); see what its "
                "machine says of it",
            )  # fmt: skip
        if self.heard.status:
            self._say(self.heard)  # before this rank ends by it
        self._hears.set()
        if not self.heard.status:
            return
        # A collective of the device may never return, and an upload may take its time.
        if not self._over.wait(LEAVING):
            if self.heard.status not in STATUSES:
                print(f"error: {without_tokens(self.heard.text)}", file=sys.stderr)
            leave(self.heard.status)

    def _say(self, end: End) -> None:
        # Once: the next rank listens for one message.
        if self._said.acquire(blocking=False) and self._next != end.rank:
            with suppress(RuntimeError):  # it is gone, too
                dist.send(end.packed(), self._next, group=self._group)

    def tell(self, error: BaseException) -> None:
        """Let all ranks know that this one ends by `error`, unless that came from another."""
        if self.idle or isinstance(error, RankError) or _of_connections(error):
            return
        if isinstance(error, Stopped):
            if not error.together or not self._rank:
                self._say(End(self._rank, error.status))
        elif isinstance(error, ConfigurationError | PushError | TrainingError):
            self._say(End(self._rank, 1, f"rank {self._rank}: {error}"[:LENGTH]))
        else:
            text = f"rank {self._rank}: {type(error).__name__}: {error}"
            self._say(End(self._rank, 1, f"{text[:LENGTH]} (where, it says itself)"))

    @contextmanager
    def telling(self) -> Iterator[None]:
        """[`tell`] of what leaves the block, before what stands around it waits for something."""
        try:
            yield
        except BaseException as error:
            self.tell(error)
            raise

    def close(self, error: BaseException | None) -> BaseException | None:
        """At the end of all; what is to be raised in the place of `error`."""
        if self.idle:
            return error
        if error is None:
            self._over.set()
            if self._rank:  # the main one has work of its own in the end
                self._hears.wait()
            if self.heard is None or not self.heard.status:
                self._say(End(self._rank, 0))
            self._hears.wait()
            return self.heard.error() if self.heard is not None and self.heard.status else None
        if isinstance(error, Stopped) and error.together:
            self.tell(error)
            if self._rank:
                self._over.set()
                self._hears.wait(FOLLOWING)
            return error
        told = self._told(error)
        self.tell(error)
        self._over.set()
        return told

    def _told(self, error: BaseException) -> BaseException:
        """What another rank said, where `error` comes from its end; else `error` itself."""
        broken = not isinstance(error, RankError) and _of_connections(error)
        # A launcher ends all ranks when one of them has failed.
        if (broken or isinstance(error, Stopped)) and self._hears.wait(HEARING if broken else 1.0):
            end = self.heard
            if end is not None and end.status and (broken or end.status not in STATUSES):
                return end.error()
        return error


@contextmanager
def lifeline() -> Iterator[Lifeline]:
    """Around all that ranks do together: an error of one is said by all, and none waits for one that is gone.

    Raises:
        RankError: another rank failed; the message is what it said.
        Stopped: another rank was stopped.
    """
    line = Lifeline()
    try:
        yield line
    except BaseException as error:
        told = line.close(error)
        if told is error or told is None:
            raise
        raise told from error
    else:
        told = line.close(None)
        if told is not None:
            raise told


def _of_connections(error: BaseException | None) -> bool:
    """Whether another rank's end may have led to `error`."""
    seen: set[int] = set()
    while error is not None and id(error) not in seen:
        seen.add(id(error))
        if isinstance(error, dist.DistError) or (isinstance(error, RuntimeError) and LOST.search(str(error))):
            return True
        error = error.__cause__ or error.__context__
    return False


LOST = re.compile(r"gloo/|\bNCCL\b|Connection (closed|reset) by peer|Broken pipe|TCPStore|Socket Timeout")
"""In errors of libraries that are not written in Python."""
