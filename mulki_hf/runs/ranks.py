"""What one rank does for all of them."""

from collections.abc import Callable
from typing import Any, TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list

from ..errors import ConfigurationError


T = TypeVar("T")


def on_main_process(accelerator: Accelerator, action: Callable[[], T], share: bool = False) -> T | None:
    """The value of `action` on the main process, with `share` on every rank, else None there.

    An error is raised on all ranks, so that none waits for one that has stopped.
    """
    message: list[Any] = [None, None]
    failure = None
    if accelerator.is_main_process:
        try:
            message[0] = action()
        except Exception as error:
            failure, message = error, [None, (isinstance(error, ConfigurationError), str(error))]
    told = message if share or failure else [None, None]
    broadcast_object_list(told)
    if failure is not None:
        raise failure
    if told[1] is not None:
        mendable, text = told[1]
        raise ConfigurationError(text) if mendable else RuntimeError(f"on the main process: {text}")
    return told[0] if share else message[0]
