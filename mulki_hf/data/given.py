"""A task that was given in Python: its images are checked, and sampled, as those of any other."""

from dataclasses import replace

import numpy as np
from datasets import Image

from ..errors import ConfigurationError
from ..results import IN_MEMORY
from .checked import parts_fingerprint
from .config import DataArguments
from .labels import labels_of
from .row_files import CHOSEN_BY
from .rows import with_images
from .sampling import RECORDED, Chosen, Limit
from .task import Task
from .task_config import LIMITS


def checked_task(task: Task, config: DataArguments) -> Task:
    """A task that was given in Python, its images checked as those of any other.

    Raises:
        ConfigurationError: they can't be used, or the stream asks for another sample of what is one already.
    """
    where = f"task {task.name!r}"
    if config.evaluate_on == "validation":
        if task.validation is None:
            raise ConfigurationError(f"{where}: evaluate_on is validation but the task has no validation data")
        held_out = {"evaluation": task.chosen["validation"]} if "validation" in task.chosen else {}
        chosen = {name: rows for name, rows in task.chosen.items() if name == "train"} | held_out
        task = replace(task, evaluation=task.validation, validation=None, chosen=chosen)
    asked = {name: value for name, value in config.limits(task).items() if task.limits.get(name) != value}
    if again := [name for part in task.chosen for name in CHOSEN_BY[part] if name in asked]:
        earlier = ", ".join(f"{name} {task.limits[name]}" for name in LIMITS if name in task.limits)
        raise ConfigurationError(
            f"{where}: {again[0]} {asked[again[0]]} is asked of what is a sample already ({earlier}); ask it where the "
            "task is loaded, or leave it out"
        )
    own, contents = {}, []
    found: dict[str, int] = {}
    chosen, seed = {**task.chosen}, task.limits.get("sample_seed", 0)
    for name, rows in task.splits.items():
        if not getattr(rows.features["image"], "decode", False):
            rows = rows.cast_column("image", Image())
        wanted, limit = None, Limit.of(asked, seed, training=name == "train")
        if limit:
            wanted = limit.kept(labels_of(rows))
            found |= {RECORDED[name]: len(rows)} if name in RECORDED else {}
        split = with_images(rows, "image", f"{where}, {name} data", config, wanted)
        if limit:
            chosen[name] = Chosen.of(IN_MEMORY, split.used, split.digests)
        used = np.flatnonzero(split.used)
        own[name] = rows if len(used) == len(rows) else rows.select(used)
        contents.append((split.digests[used], labels_of(rows)[used]))
    limits = task.limits | asked | {"sample_seed": seed} | found if asked else task.limits
    return replace(task, fingerprint=parts_fingerprint(contents), limits=limits, chosen=chosen, **own)
