"""Two gloo ranks that start once, and then run one call after another."""

import multiprocessing
import os
import sys
import traceback
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

from support.launch import free_port


class Ranks:
    """Calls functions on two ranks at once; made by [`two_gloo_ranks`].

    Attributes:
        printed: what each rank printed in the last call.
    """

    def __init__(self, connections: list, logs: list[Path]):
        self.connections = connections
        self.logs = logs
        self.printed = ["", ""]

    def __call__(self, function: Callable, *args: Any, **kwargs: Any) -> list[Any]:
        """What a module's `function` returns on each rank; an error there is one here, with its traceback."""
        port, starts = free_port(), [log.stat().st_size if log.exists() else 0 for log in self.logs]
        for connection in self.connections:
            connection.send((function, args, kwargs, port))
        answers = []
        for rank, connection in enumerate(self.connections):
            if not connection.poll(240):
                raise TimeoutError(f"rank {rank} hangs:\n{self.logs[rank].read_text()[-2000:]}")
            answers.append(connection.recv())
        self.printed = [log.read_bytes()[start:].decode() for log, start in zip(self.logs, starts, strict=True)]
        failures = [failure for failure, _ in answers if failure]
        assert not failures, "\n".join(failures)
        return [answer for _, answer in answers]


@contextmanager
def two_gloo_ranks(folder: Path) -> Iterator[Ranks]:
    """Start them; what they print goes into `folder`."""
    context = multiprocessing.get_context("spawn")
    connections, started, logs = [], [], [folder / f"rank{rank}.txt" for rank in range(2)]
    for rank, log in enumerate(logs):
        ours, theirs = context.Pipe()
        started.append(context.Process(target=_serve, args=(rank, log, theirs), daemon=True))
        started[-1].start()
        connections.append(ours)
    try:
        yield Ranks(connections, logs)
    finally:
        for process in started:
            process.kill()


def _serve(rank: int, log: Path, connection: Any) -> None:
    with log.open("w") as file:
        for stream in (1, 2):
            os.dup2(file.fileno(), stream)
    own = {"RANK": str(rank), "LOCAL_RANK": str(rank), "WORLD_SIZE": "2", "LOCAL_WORLD_SIZE": "2"}
    os.environ |= own | {"MASTER_ADDR": "127.0.0.1", "ACCELERATE_USE_CPU": "true"}
    import torch.distributed as dist
    from accelerate.state import AcceleratorState

    while True:
        function, args, kwargs, port = connection.recv()
        os.environ["MASTER_PORT"] = str(port)
        AcceleratorState._reset_state(reset_partial_state=True)
        failure, answer = None, None
        try:
            answer = function(*args, **kwargs)
        except BaseException:
            failure = f"rank {rank}: {traceback.format_exc()}"
        sys.stdout.flush()
        if dist.is_initialized():
            dist.destroy_process_group()
        connection.send((failure, answer))
