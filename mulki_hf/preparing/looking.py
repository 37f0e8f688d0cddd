"""Everything that a stream is made of, looked at once: settings, model, data, and room for what comes of them."""

import sys
from collections.abc import Callable, Iterator, Sequence
from contextlib import contextmanager
from functools import cached_property, partial
from pathlib import Path
from typing import Any

import datasets
from accelerate import Accelerator
from accelerate.utils import gather_object
from transformers import CLIPModel, CLIPProcessor, IntervalStrategy

from ..adaptation import adaptation_of
from ..config import MulKIConfig, StreamConfig
from ..data.captions import TEXT_FIELDS
from ..data.checked import SAMPLE
from ..data.epochs import check_crops
from ..data.task import Task
from ..data.task_config import TaskConfig
from ..data.tasks import check_unique, checked_task, load_task
from ..data.union import union
from ..data.unlabelled import Reference, load_reference
from ..hub.reach import caches_alone, out_of_reach
from ..models.loading import load_finite, load_processor, on_hub
from ..objectives import check_reference, objective_of
from ..runs.checks import check_selection, check_task, check_texts
from ..runs.disk import check_output
from ..runs.ranks import accelerator_of, main_process_first, on_main_process
from ..runs.room import free_space, gigabytes, listed, run_size, steps_of
from ..runs.terminal import passing_bars, quieten
from ..runs.trackers import check_trackers
from .problems import Problem, Problems, without_absent
from .room import REFERENCE, download_size, hub_data


LOOKED_AT = 256
"""Images of each split that are decoded, where not all are."""


class Look:
    """What was found of a stream; nothing of it is raised, and nothing but caches is written.

    Args:
        stream ([`StreamConfig`]), config ([`MulKIConfig`]): the settings.
        every (`bool`): decode every image, so that training need not.

    Attributes:
        problems ([`Problems`]): what would stop the run; the same on every rank.
        processor ([`CLIPProcessor`]), model ([`CLIPModel`]): what it starts from; None where they can't be loaded.
        tasks: those without a problem that leaves none of them, in order.
        reference ([`Reference`], *optional*): images and texts.
        unreached (*optional*): why the Hub is out of reach; then caches alone are looked at.
        learned (`int`): tasks that there will be.
        disk: bytes that the run will have in its folder, by what they are.
        free (`int`): bytes on its disk.
    """

    def __init__(self, stream: StreamConfig, config: MulKIConfig, every: bool = False):
        self.stream, self.config, self.every = stream, config, every
        self.problems = Problems()
        self.accelerator: Accelerator = accelerator_of(config)
        quieten(config, self.accelerator.is_main_process)
        self.objective = objective_of(config)
        self.processor: CLIPProcessor | None = None
        self.model: CLIPModel | None = None
        self.tasks: list[Task] = []
        self.reference: Reference | None = None
        self.disk: dict[str, int] = {}
        self.unreached: str | None = None
        entries = self._entries()
        self.learned = sum(1 if isinstance(entry, Task) else entry.task_count for _, entry in entries)
        self._settings(whole=not self.problems)
        for problem in self.problems:
            # Known at once; the table comes after what may be downloaded.
            self.say(f"{problem.subject}: {problem.what}")
        if on_hub(stream.model_name_or_path) or hub_data(stream, entries):
            self.unreached = on_main_process(self.accelerator, out_of_reach, share=True)
        if self.unreached is not None:
            self.say(f"{self.unreached}; looking at what is in the cache")
        with caches_alone(self.unreached is not None):
            self._model()
            with passing_bars(), sampled(None if every else LOOKED_AT):
                self.tasks, self.reference = main_process_first(self.accelerator, lambda: self._data(entries))
        with self.problems.noted("stream"):
            check_unique(self.tasks)
        self._prompts()
        self.free = free_space(config.output_dir)
        self._room()
        self.problems = Problems(gather_object([*self.problems]))
        if self.unreached is not None:
            self.problems = without_absent(self.problems, self.unreached)

    def say(self, what: str) -> None:
        """What is being done, where no result goes."""
        if self.accelerator.is_main_process:
            print(what, file=sys.stderr, flush=True)

    @cached_property
    def stages(self) -> Sequence[Task]:
        """What is learned one after another."""
        if self.objective.learns == "each":
            return self.tasks
        return [union(self.tasks)] if self.objective.learns == "all" and self.tasks else []

    @property
    def references(self) -> int:
        """Images in the reference set."""
        return len(self.reference.images) if self.reference and self.reference.images is not None else 0

    def steps(self, stage: Task) -> int:
        """Optimizer steps of a stage."""
        return steps_of(stage, self.config)

    # What is looked at

    @property
    def _texts_given(self) -> str | None:
        return next((name for name in TEXT_FIELDS if getattr(self.stream, name) is not None), None)

    def _entries(self) -> list[tuple[str, TaskConfig | Task]]:
        """The tasks' entries that can be read, by name."""
        entries = list[tuple[str, TaskConfig | Task]]()
        for position, spec in enumerate(self.stream.tasks, start=1):
            name = spec.name if isinstance(spec, Task) else _named(spec, position)
            with self.problems.noted(name):
                entries.append((name, spec if isinstance(spec, Task) else TaskConfig.from_dict(spec, position)))
        return entries

    def _settings(self, whole: bool) -> None:
        """Those of the run; `whole`: every entry could be read."""
        stream, config = self.stream, self.config
        checks: list[Callable[[], Any]] = [
            partial(
                check_reference, config.method, self.objective, stream.reference_dataset is not None, self._texts_given
            ),
            *([partial(check_selection, stream, config)] if whole else []),
            partial(check_trackers, config.report_to),
            partial(check_crops, config, stream.random_resized_crop),
            partial(check_output, Path(config.output_dir)),
        ]
        for check in checks:
            with self.problems.noted("settings"):
                check()

    def _model(self) -> None:
        named = self.stream.model_name_or_path, self.stream.model_revision
        self.say(f"looking at the model {self.stream.model_name_or_path}")
        with self.problems.noted("model"):
            self.processor = load_processor(*named)
            self.model = load_finite(*named, pickled=self.stream.pickled_weights)
            adaptation_of(self.config).check(self.model, self.config, self.objective)

    def _data(self, entries: Sequence[tuple[str, TaskConfig | Task]]) -> tuple[list[Task], Reference | None]:
        tasks, reference = list[Task](), None
        validation = self.config.eval_strategy != IntervalStrategy.NO
        refused = self._without_room(entries)
        for number, (name, entry) in enumerate(entries, start=1):
            self.say(f"looking at task {number} of {len(entries)}, {name}: {entry.dataset or 'in memory'}")
            with self.problems.noted(name):
                if isinstance(entry, Task):
                    tasks.append(checked_task(entry, self.stream))
                elif name not in refused:
                    tasks += load_task(entry, self.stream, validation, partial(self.problems.noted, name))
        if REFERENCE not in refused:
            if any(getattr(self.stream, name) is not None for name in ("reference_dataset", *TEXT_FIELDS)):
                self.say("looking at the reference set")
            with self.problems.noted(REFERENCE):
                reference = load_reference(self.stream)
        return tasks, reference

    def _without_room(self, entries: Sequence[tuple[str, TaskConfig | Task]]) -> set[str]:
        """Those whose data don't fit beside the others'; nothing is downloaded before this is known of all."""
        cache, refused, taken = datasets.config.HF_DATASETS_CACHE, set(), 0
        free = free_space(cache)
        for name, dataset, others in hub_data(self.stream, entries):
            self.say(f"looking at what {dataset} takes on the disk")
            size = download_size(dataset, *others)
            if taken + size <= free:
                taken += size
                continue
            refused.add(name)
            what = f"needs {gigabytes(size)} to download and unpack, {gigabytes(free - taken)} are free for it"
            advice = f"free as much on the disk of {cache}, or set HF_HOME to a folder on a larger one"
            self.problems.add(Problem(name, f"dataset {dataset!r}", what, advice))
        return refused

    def _prompts(self) -> None:
        if self.processor is None:
            return
        for task in self.tasks:
            with self.problems.noted(task.name):
                check_task(task, self.processor, self.config)
        with self.problems.noted(REFERENCE):
            check_texts(self.reference.texts if self.reference else (), self._texts_given, self.processor)

    def _room(self) -> None:
        if self.model is None or self.processor is None:
            return
        learns = self.objective.learns
        learned = self.learned if learns == "each" else int(learns == "all")
        counts = self.stages, self.tasks, self.references, learned
        self.disk = run_size(self.stream, self.config, self.objective, self.model, *counts)
        needed = sum(self.disk.values())
        if needed > self.free:
            what = f"the run needs {gigabytes(needed)} ({listed(self.disk)}), {gigabytes(self.free)} are free"
            advice = "free as much or choose another output_dir; keep_checkpoints last and save_strategy no take less"
            self.problems.add(Problem("disk", f"output_dir {self.config.output_dir!r}", what, advice))


@contextmanager
def sampled(images: int | None) -> Iterator[None]:
    """Inside the block so many images of each dataset are decoded to check them; None: all."""
    token = SAMPLE.set(images)
    try:
        yield
    finally:
        SAMPLE.reset(token)


def _named(spec: Any, position: int) -> str:
    name = spec.get("name") if isinstance(spec, dict) else None
    return name if isinstance(name, str) else f"entry {position}"
