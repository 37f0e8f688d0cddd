"""A run as a comparison sees it: the tasks that count, their cells and metrics, and what tells it from others."""

import json
from dataclasses import dataclass, field
from functools import cached_property
from typing import Any

import numpy as np

from ...evaluation.protocols import PROTOCOLS
from ...metrics import cells_lacking, continual_metrics
from ...records import TaskRecord
from ...results import StreamResults
from ..tables import average


SEEDS = ("seed", "data_seed")
"""Settings in which the runs of one row may differ."""

DRAWN = ("shots", "max_train_samples")
"""Limits of tasks by which a part of their training images is drawn."""


@dataclass
class ComparedRun:
    """One run.

    Attributes:
        name: what it is called in tables.
        results: its own.
        protocol: by which it is compared.
        tasks: the names of those that are compared, in the order in which it learned them.
    """

    name: str
    results: StreamResults
    protocol: str = ""
    tasks: list[str] = field(default_factory=list)

    @property
    def elsewhere(self) -> bool:
        """It was evaluated on tasks that it did not learn: what counts is its last model, as it is."""
        return self.results.elsewhere

    @property
    def as_it_is(self) -> bool:
        """It is of one model, without a stream; its only row stands where others have zero-shot."""
        return self.elsewhere and not self.results.stages

    @property
    def stays(self) -> bool:
        """It learns nothing, and stands for every seed."""
        return self.results.stages == [] and not self.elsewhere

    @property
    def at_once(self) -> bool:
        """It learns all tasks at once, and stands for every order."""
        return bool(self.results.stages) and not self.elsewhere

    @property
    def end_alone(self) -> bool:
        """Nothing is known between before any training and the end."""
        return self.at_once or self.elsewhere

    @property
    def kind(self) -> str:
        """The method or, of a model as it is, its name."""
        return self.results.base.name if self.as_it_is else self.results.method

    @property
    def known(self) -> list[TaskRecord]:
        """The tasks that it has something to say of: those it has learned so far, or was evaluated on without."""
        if self.stays or self.as_it_is or (self.elsewhere and self.results.accuracy):
            return self.results.tasks
        return self.results.tasks[: self.results.tasks_learned]

    @property
    def seed(self) -> str:
        """`3`, and where the data have one of their own `3, data 5`."""
        own, data = (self.results.config.get(name) for name in SEEDS)
        return f"{'-' if own is None else own}{'' if data is None else f', data {data}'}"

    @property
    def order(self) -> tuple[str, ...] | None:
        """The compared tasks in their order, where it matters."""
        return None if self.end_alone else tuple(self.tasks)

    # What was measured on the compared tasks

    @property
    def stages(self) -> list[int]:
        """The rows of the results that count, by position: after each compared task, or the last alone."""
        if self.end_alone:
            return [*range(self.results.finished)][-1:]
        return [] if self.stays else self._columns

    @cached_property
    def zero_shot(self) -> list[float | None]:
        """Accuracies before any training, by compared task in its own order."""
        row = self.results.of(self.protocol).zero_shot
        return [None if self.as_it_is else row[column] for column in self._columns]

    @cached_property
    def accuracy(self) -> list[list[float | None]]:
        """A row for each of `stages` or, of a model as it is, one; a column for each compared task in its own order."""
        own = self.results.of(self.protocol)
        rows = [own.zero_shot] if self.as_it_is else [own.accuracy[stage] for stage in self.stages]
        return [[row[column] for column in self._columns] for row in rows]

    @cached_property
    def metrics(self) -> dict[str, float | None]:
        """As if the stream were of the compared tasks alone; None where cells are missing that others have."""
        return {name: None if name in self.lacking else value for name, value in self._of_known_cells().items()}

    @cached_property
    def lacking(self) -> dict[str, str]:
        """The metrics that cells are missing for, and how many there are."""
        return cells_lacking(self.accuracy, self.zero_shot) if self.accuracy and not self.elsewhere else {}

    def _of_known_cells(self) -> dict[str, float | None]:
        own = self.results.of(self.protocol)
        if self.elsewhere:
            return {"last": average(self.accuracy[-1])}
        if not self.stays:
            return continual_metrics(self.accuracy, self.zero_shot)
        if own.metrics and len(self.tasks) == len(self.results.tasks):
            return own.metrics
        # Its accuracies are those before training wherever no more classes compete as tasks go by.
        if not all(map(self._same_rivals, self.tasks)):
            return {}
        return continual_metrics([self.zero_shot] * len(self.tasks), self.zero_shot)

    @cached_property
    def curves(self) -> dict[str, dict[int, float | None]]:
        """Of each compared task the accuracy by the number of compared tasks learned; 0: before any training."""
        steps = [len(self.tasks)] if self.end_alone else range(1, len(self.accuracy) + 1)
        rows = {} if self.as_it_is else {0: self.zero_shot}
        rows |= dict(zip(steps, self.accuracy, strict=True))
        return {task: {step: row[column] for step, row in rows.items()} for column, task in enumerate(self.tasks)}

    @property
    def last(self) -> dict[str, float | None]:
        """Of each compared task the accuracy in the end; of a model that stays unknown where it depends on the end."""
        if self.stays:
            levels = zip(self.tasks, self.zero_shot, strict=True)
            return {task: value if self._same_rivals(task) else None for task, value in levels}
        return dict(zip(self.tasks, self.accuracy[-1], strict=True))

    # What decides whether it can be compared

    def rivals(self, task: str, learned: int) -> frozenset[tuple[str, ...]]:
        """The tasks, with their classes, that compete for images of `task` once so many are learned."""
        tasks = self.results.tasks
        mask = PROTOCOLS[self.protocol].mask(np.arange(len(tasks)), self.results.names.index(task), learned)
        return frozenset((tasks[i].name, *tasks[i].class_names) for i in np.flatnonzero(mask))

    def competition(self) -> dict[tuple[frozenset[str], str], frozenset[tuple[str, ...]]]:
        """Of each cell, called by the compared tasks learned before it and by its task: who competes."""
        whole, nothing = frozenset(self.tasks), frozenset[str]()
        if self.elsewhere:
            learned = {whole: 0}
        elif self.at_once:
            learned = {nothing: 0, whole: len(self.results.tasks)}
        else:
            stages = enumerate(self.stages, start=1)
            learned = {nothing: 0} | {frozenset(self.tasks[:number]): stage + 1 for number, stage in stages}
        return {(known, task): self.rivals(task, count) for known, count in learned.items() for task in self.tasks}

    @cached_property
    def traits(self) -> dict[str, str]:
        """What the result depends on and is not the default, in words by name; without seed and order of the tasks."""
        results = self.results
        traits = {"model_name_or_path": results.base.name + (f"@{rev}" if (rev := results.base.revision) else "")}
        traits |= {name: written(value) for name, value in results.about.settings.items() if name not in SEEDS}
        if (reference := results.reference) is not None:
            beside = reference.text_dataset
            data = [reference.dataset] if reference.images or beside is None else []
            data += [] if beside is None else [beside]
            counts = f"({reference.images} images, {reference.texts} texts)"
            traits["reference_dataset"] = f"{', '.join(dict.fromkeys(data))} {counts}"
        records = {task.name: task for task in self.known}
        # What it learned before the last compared task, and beside it.
        learned = (
            [] if self.stays or self.elsewhere else self.known if self.at_once else self.known[: self.stages[-1] + 1]
        )
        if others := [task.name for task in learned if task.name not in self.tasks]:
            traits["other tasks"] = ", ".join(others)
        for name in DRAWN:
            if asked := {records[task].limits.get(name) for task in self.tasks} - {None}:
                traits[name] = ", ".join(map(str, sorted(filter(None, asked))))
        for name in sorted(self.tasks):
            traits[f"{name}: templates"] = "; ".join(records[name].templates)
            if (evaluated := records[name].eval_templates) is not None:
                traits[f"{name}: eval_templates"] = "; ".join(evaluated)
            traits |= {f"{name}: {key}": written(value) for key, value in records[name].settings.items()}
            traits[f"{name}: training images"] = str(records[name].training_images)
        return traits

    def trait(self, name: str) -> str | None:
        """One of the traits, also where it is the default."""
        value = self.results.config.get(name)
        return self.traits.get(name, None if value is None else written(value))

    def _same_rivals(self, task: str) -> bool:
        return self.rivals(task, 0) == self.rivals(task, len(self.results.tasks))

    @property
    def _columns(self) -> list[int]:
        names = self.results.names
        return [names.index(task) for task in self.tasks]


def written(value: Any) -> str:
    """A setting on one line."""
    if isinstance(value, str):
        return value
    return f"{value:g}" if isinstance(value, float) else json.dumps(value, ensure_ascii=False)
