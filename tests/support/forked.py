"""Ranks that are forked off the tests' own process, which has imported everything: seconds, not half a minute."""

import os
import signal
import socket
import sys
import time
from collections.abc import Callable
from dataclasses import dataclass
from pathlib import Path

from accelerate.state import AcceleratorState, PartialState

from mulki_hf.runs.stopping import leaves_at_once


@dataclass
class Ended:
    """A rank that has ended: its status, negative for a signal's, and what it printed."""

    status: int
    printed: str


def forked_ranks(work: Callable[[int], None], logs: Path, count: int = 2, seconds: float = 150) -> list[Ended]:
    """`work(rank)` on so many gloo ranks, which have to end in time; in the order of ranks."""
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        port = probe.getsockname()[1]
    logs.mkdir(exist_ok=True)
    files = [logs / f"rank{rank}.txt" for rank in range(count)]
    sys.stdout.flush()
    sys.stderr.flush()
    children = []
    for rank, file in enumerate(files):
        child = os.fork()
        if child == 0:
            _rank(work, rank, count, port, file)
        children.append(child)
    try:
        return [Ended(_wait(child, seconds), file.read_text()) for child, file in zip(children, files, strict=True)]
    finally:
        for child in children:
            if (Path("/proc") / str(child)).exists():
                os.kill(child, signal.SIGKILL)


def _rank(work: Callable[[int], None], rank: int, count: int, port: int, file: Path) -> None:
    """Never returns."""
    status = 1
    try:
        printed = os.open(file, os.O_CREAT | os.O_WRONLY)
        os.dup2(printed, 1)
        os.dup2(printed, 2)
        sys.stdout, sys.stderr = os.fdopen(1, "w", buffering=1), os.fdopen(2, "w", buffering=1)
        shared = {"WORLD_SIZE": count, "LOCAL_WORLD_SIZE": count, "MASTER_ADDR": "127.0.0.1", "MASTER_PORT": port}
        own = shared | {"RANK": rank, "LOCAL_RANK": rank, "ACCELERATE_USE_CPU": "true"}
        os.environ |= {name: str(value) for name, value in own.items()}
        AcceleratorState._reset_state(reset_partial_state=True)
        PartialState._reset_state()
        signal.signal(signal.SIGINT, signal.default_int_handler)
        with leaves_at_once():
            work(rank)
        status = 0
    finally:
        os._exit(status)


def _wait(child: int, seconds: float) -> int:
    until = time.monotonic() + seconds
    while time.monotonic() < until:
        done, status = os.waitpid(child, os.WNOHANG)
        if done:
            return os.waitstatus_to_exitcode(status)
        time.sleep(0.05)
    raise AssertionError(f"process {child} has not ended after {seconds} s")
