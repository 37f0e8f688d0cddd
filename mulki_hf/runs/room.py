"""Room on the disk: what a run is still to write, and is there as much?"""

import logging
import math
import os
import shutil
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from transformers import CLIPModel

from ..adaptation import adaptation_of
from ..adaptation.base import FLOAT, count
from ..config import MulKIConfig, StreamConfig
from ..data.own_settings import settings_of
from ..data.task import Task
from ..errors import ConfigurationError
from ..models.dual_encoders import feature_width
from ..objectives import Objective
from .plan import planned_steps


logger = logging.getLogger(__name__)

SCARCE = 0.9
"""Of the free space, from where on it is said that little will be left."""
TASKS, CHECKPOINTS = "checkpoints of the tasks", "Trainer's checkpoints"
FEATURES, IMAGES = "teachers' features", "decoded images"


def free_space(folder: str | Path) -> int:
    """Bytes that are free on the disk of a folder, which may not be there yet."""
    path = Path(os.path.abspath(folder))
    return shutil.disk_usage(next(part for part in (path, *path.parents) if part.exists())).free


def gigabytes(size: float) -> str:
    """Of bytes."""
    return f"{size / 1e9:.1f} GB" if size >= 1e8 else f"{size / 1e6:.1f} MB"


def listed(sizes: dict[str, int]) -> str:
    """What takes how much."""
    return ", ".join(f"{name} {gigabytes(size)}" for name, size in sizes.items())


def run_size(
    stream: StreamConfig,
    config: MulKIConfig,
    objective: Objective,
    model: CLIPModel,
    stages: Sequence[Task],
    tasks: Sequence[Task],
    references: int,
    learned: int,
    finished: int = 0,
) -> dict[str, int]:
    """Bytes that a run will have in its folder beside what finished tasks left there, by what they are.

    Known are weights, the moments of Adam's kind, the running average and tables; not what is small (results, cards,
    pictures, logs), other optimizers' states, or how large adapters are, of which no more than the models that they
    end in is counted.

    Args:
        stream, config, objective: the settings.
        model ([`CLIPModel`]): that it starts from.
        stages: what is still to be learned, as far as it could be loaded.
        tasks: what is evaluated, likewise.
        references: images in the reference set.
        learned: how many stages there will be; a checkpoint each.
        finished: how many there are.
    """
    weights = FLOAT * count(model)
    new = learned - finished
    # A new one is written before an old one is deleted.
    kept = new if stream.keep_checkpoints == "all" else min(new, 1 if finished else 2)
    checkpoint = adaptation_of(config).checkpoint_size(model, config, bool(objective.average_every))
    saves = max((saved_at_a_time(stage, config) for stage in stages), default=0)
    # While a checkpoint too many is there, the last task's folder is not; later it is the other way round.
    moments = [(max(kept - 1, 0), saves), (kept, min(saves, config.save_total_limit or saves))]
    kept, saves = max(moments, key=lambda counts: counts[0] * weights + counts[1] * checkpoint)
    largest = max((len(task.train) for task in stages), default=0)
    rows = sum(table_rows(parts, largest, references, stream, config) for parts in read_by_role(objective))
    rows += largest * (objective.needs_prototypes() and bool(stages))
    side, pixels = model.config.vision_config.image_size, 0
    if config.cache_images:
        pixels = references + sum(len(task.evaluation) for task in tasks)
        pixels += largest * (stream.random_resized_crop is None)
    sizes = {
        TASKS: kept * weights,
        CHECKPOINTS: saves * checkpoint,
        FEATURES: FLOAT * feature_width(model) * rows,
        IMAGES: 3 * side * side * pixels,
    }
    return {name: size for name, size in sizes.items() if size}


def check_room(folder: Path, sizes: dict[str, int], there: int, refuse: bool) -> None:
    """Refuse to begin what does not fit on the disk, and say so where little would be left.

    Args:
        folder: of the run.
        sizes: what is to be written, see [`run_size`].
        there: bytes that it takes the place of.
        refuse: whether what does not fit is refused.

    Raises:
        ConfigurationError: it does not fit; says what takes how much, and what would take less.
    """
    needed, free = max(sum(sizes.values()) - there, 0), free_space(folder)
    if needed <= SCARCE * free:
        return
    parts = listed(sizes) + (f", of which {gigabytes(there)} are there" if there else "")
    line = (
        f"output_dir {str(folder)!r}: the run is still to write about {gigabytes(needed)} ({parts}), and "
        f"{gigabytes(free)} are free on its disk"
    )
    less = [f"`{advice}`" for name, advice in LESS.items() if name in sizes]
    if needed > free and refuse:
        raise ConfigurationError(
            f"{line}: free as much, choose another output_dir, or write less ({', '.join(less)}); `--check_space "
            "false` begins all the same"
        )
    logger.warning(f"{line}; should it run full, the run stops, and goes on with --resume once there is more")


LESS = {
    TASKS: "--keep_checkpoints last",
    CHECKPOINTS: "--save_total_limit 1",
    FEATURES: "--cache_teachers false",
    IMAGES: "--cache_images false",
}
"""With what each takes less."""


def steps_of(stage: Task, config: MulKIConfig) -> int:
    """Optimizer steps of a stage, by its own settings."""
    own = settings_of(stage, config)
    return _planned(stage, config, own.num_train_epochs, own.max_steps)


def _planned(stage: Task, config: MulKIConfig, epochs: float, max_steps: int = -1) -> int:
    numbers = (config.gradient_accumulation_steps, epochs, max_steps, config.dataloader_drop_last)
    return planned_steps(len(stage.train), config.train_batch_size * config.world_size, *numbers)


def read_by_role(objective: Objective) -> list[set[str]]:
    """What is read of the original teacher, and of the previous one."""
    return [
        {path.partition(".")[2] for path in objective.needs if path.startswith(f"{role}.")}
        for role in ("original", "previous")
    ]


def table_rows(parts: set[str], training: int, references: int, stream: StreamConfig, config: MulKIConfig) -> int:
    """Images of which a teacher's features are computed before the steps of a task.

    Args:
        parts: what is read of it.
        training, references: images of the task, and of the reference set.
        stream, config: the settings.
    """
    kept = config.cache_teachers and stream.random_resized_crop is None
    own = "prototypes" in parts or (kept and "image" in parts)
    views = math.ceil(config.views_per_sample * training) if "views" in parts else 0
    return training * own + kept * (references * ("reference" in parts) + views)


def saved_at_a_time(stage: Task, config: MulKIConfig) -> int:
    """How many of Trainer's checkpoints of a stage lie on the disk at most."""
    strategy: Any = getattr(config.save_strategy, "value", config.save_strategy)
    steps = steps_of(stage, config)
    if strategy == "no" or not steps:
        return 0
    every = config.save_steps if config.save_steps >= 1 else max(1, math.ceil(config.save_steps * steps))
    made = math.ceil(steps / (every if strategy == "steps" else _planned(stage, config, epochs=1)))
    # A new one is written before an old one is deleted.
    return min(made, config.save_total_limit + 1) if config.save_total_limit else made
