"""A run that goes on with another number of processes: whether its steps stay what they were."""

from collections.abc import Mapping
from typing import Any

from ..errors import ConfigurationError
from ..objectives import Objective


PROCESSES = "num_processes"
"""Key of the recorded settings that is no field: `accelerate launch` decides it."""

BATCH, ACCUMULATION = "per_device_train_batch_size", "gradient_accumulation_steps"

SHARES = (PROCESSES, BATCH, ACCUMULATION)
"""What the images of a step are shared out by. Their product decides the steps; they may change together."""


def check_batches(was: Mapping[str, Any], now: Mapping[str, Any], objective: Objective, where: str) -> None:
    """Raise `ConfigurationError` unless steps have as many images as before on another number of processes.

    Args:
        was, now: the recorded settings and those of this run.
        objective ([`Objective`]): where its loss relates images, as many of them have to meet.
        where: who asks, for the message.
    """
    told = f"{where}: {PROCESSES} was {was[PROCESSES]} and is now {now[PROCESSES]}"
    before, after = (step_images(settings) for settings in (was, now))
    if before != after:
        raise ConfigurationError(
            f"{told}, and a step had {before} images and would have {after}: a stream can only go on with as many; "
            f"choose {BATCH} (now {now[BATCH]}) and {ACCUMULATION} (now {now[ACCUMULATION]}) so that the product of "
            f"all three is {before}"
        )
    if objective.relates_images and int(was[ACCUMULATION]) != int(now[ACCUMULATION]):
        raise ConfigurationError(
            f"{told}, and {ACCUMULATION} was {was[ACCUMULATION]} and is now {now[ACCUMULATION]}, which has to stay, "
            f"as the method relates the images of a batch to one another: choose {BATCH} alone (now {now[BATCH]})"
        )


def step_images(settings: Mapping[str, Any]) -> int:
    """How many images a step of a run has, of all its processes, by recorded settings."""
    shared_out = (settings.get("accelerator_config") or {}).get("split_batches")
    return int(settings[BATCH]) * int(settings[ACCUMULATION]) * (1 if shared_out else int(settings[PROCESSES]))
