"""The ranks of a run, and what one does for all of them while the others wait for as long as it takes."""

from collections.abc import Callable
from datetime import timedelta
from functools import cache
from typing import Any, TypeVar

import torch
import torch.distributed as dist
from accelerate import Accelerator
from accelerate.state import AcceleratorState
from accelerate.utils import TorchDynamoPlugin

from ..errors import ConfigurationError, RankError


T = TypeVar("T")

PATIENCE = timedelta(days=365)
"""Checking a data set or fetching a checkpoint may take hours; half an hour is what a step's collectives have."""


def accelerator_of(config: Any) -> Accelerator:
    """Made by the settings of a run ([`MulKIConfig`]): device, precision, ranks, compilation.

    A run before it in the same process, in a notebook, may have had another precision, which accelerate would hold on
    to; Trainer's arguments do the same.
    """
    AcceleratorState._reset_state()
    # Trainer's own takes over what the first one was made with.
    compiling = TorchDynamoPlugin(backend=config.torch_compile_backend, mode=config.torch_compile_mode)
    return Accelerator(mixed_precision=config.mixed_precision, cpu=config.use_cpu, dynamo_plugin=compiling)


def on_main_process(accelerator: Accelerator, action: Callable[[], T], share: bool = False) -> T | None:
    """The value of `action` on the main process, with `share` on every rank, else None there.

    An error is raised on all ranks, so that none waits for one that has stopped.
    """
    value, shared = _attempt(accelerator.is_main_process, action, share)
    return shared if share else value


def main_process_first(accelerator: Accelerator, action: Callable[[], T]) -> T:
    """The value of `action`, which one rank of each machine does before the others, who find what it cached.

    An error of those that come first is raised on all ranks.
    """
    first = accelerator.is_local_main_process
    value, _ = _attempt(first, action)
    return value if first else action()  # type: ignore[return-value]  # whoever was first has one


def _attempt(mine: bool, action: Callable[[], T], share: bool = False) -> tuple[T | None, Any]:
    """The value of `action` if it is `mine`, and that of the first rank with one if they `share`."""
    value, failure, told = None, None, None
    if mine:
        try:
            value = action()
        except Exception as error:
            failure, told = error, (isinstance(error, ConfigurationError), str(error))
    everyone = _gather((told, value if share and failure is None else None))
    if failure is not None:
        raise failure
    for told, _ in everyone:
        if told is not None:
            mendable, text = told
            raise ConfigurationError(text) if mendable else RankError(f"on the main process: {text}")
    return value, next((shared for _, shared in everyone if shared is not None), None)


def _gather(message: Any) -> list[Any]:
    """The messages of all ranks, in order; waits for the last of them."""
    if not several():
        return [message]
    everyone: list[Any] = [None] * dist.get_world_size()
    dist.all_gather_object(everyone, message, group=patient_group(dist.group.WORLD))
    return everyone


def greatest(number: int) -> int:
    """The greatest of all ranks' numbers; waits for the last of them, for no device, and on one process for nobody."""
    if not several():
        return number
    value = torch.tensor(number)
    dist.all_reduce(value, dist.ReduceOp.MAX, group=patient_group(dist.group.WORLD))
    return int(value)


def several() -> bool:
    """Whether this process is one of several ranks."""
    return dist.is_available() and dist.is_initialized() and dist.get_world_size() > 1


@cache
def patient_group(world: Any) -> Any:
    """All ranks, on CPU, with a time-out of its own: that of the group that training uses is made for steps."""
    return dist.new_group(backend="gloo", timeout=PATIENCE)
