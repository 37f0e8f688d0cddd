"""How far a stream has come, as one bar: all its tasks' steps and evaluations, and the time that is left."""

from abc import ABC, abstractmethod
from collections.abc import Iterator, Sequence
from contextlib import contextmanager
from typing import Any, Self

from accelerate import Accelerator
from transformers import PrinterCallback, ProgressCallback, Trainer, TrainerCallback
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.utils.logging import set_tqdm_hook

from ..config import MulKIConfig
from ..data.own_settings import settings_of
from ..data.tasks import Task
from ..report.tables import duration
from ..results import StreamResults
from .plan import EVALUATION, FILLS, STEPS, Plan, planned_steps
from .terminal import Bar, Lines, verbose, wants_bar


class Shown(ABC):
    """Work that is shown inside its block, on the main process: see [`Bar`] and [`Lines`].

    It takes the place of every bar that is made by `transformers.utils.logging` (evaluations, tables, weights). With
    `log_level` info or debug it shows nothing, and all of those are there.

    Args:
        config ([`MulKIConfig`]): the settings.
        main_process (`bool`): whether this one shows anything.
    """

    def __init__(self, config: MulKIConfig, main_process: bool):
        self.config = config
        self.shown = main_process and not verbose(config)
        self._view: Bar | Lines | None = None
        self._hook: Any = None

    def __enter__(self) -> Self:
        if self.shown:
            self._view = Bar() if wants_bar(self.config) else Lines()
            self._hook = set_tqdm_hook(lambda factory, args, kwargs: Part(self, *args, **kwargs))
            self.mark()
        return self

    def __exit__(self, *_: object) -> None:
        self.close()

    def close(self) -> None:
        """The end of it; once is enough."""
        if self._view is not None:
            set_tqdm_hook(self._hook)
            self._view.close()
            self._view = None

    @abstractmethod
    def mark(self) -> None:
        """A piece of work begins: the time until now was none of its."""

    @abstractmethod
    def part(self, description: str, share: float) -> None:
        """A piece of work stands at `share`."""


class Progress(Shown):
    """Shows a stream's progress; Trainer's own bar and logs give way, too.

    Args:
        config ([`MulKIConfig`]): the settings.
        accelerator ([`Accelerator`]): of the run.
        curriculum: the stages.
        tasks: what is evaluated.
        results ([`StreamResults`]): what was done before.
        fill_rows (`bool`): cells that earlier rows lack are measured.
    """

    def __init__(
        self,
        config: MulKIConfig,
        accelerator: Accelerator,
        curriculum: Sequence[Task],
        tasks: Sequence[Task],
        results: StreamResults,
        fill_rows: bool = True,
    ):
        super().__init__(config, accelerator.is_main_process)
        self.names = results.stage_names
        batch = config.train_batch_size * accelerator.num_processes
        accumulation = config.gradient_accumulation_steps
        images = [len(task.train) for task, _ in zip(curriculum, self.names, strict=False)]
        plans = [settings_of(task, config) for task in curriculum]
        steps = [
            planned_steps(count, batch, accumulation, own.num_train_epochs, own.max_steps, own.dataloader_drop_last)
            for count, own in zip(images, plans, strict=False)
        ]
        evaluated = sum(len(task.evaluation) for task in tasks)
        measured = bool(results.zero_shot)
        rows = [None, *range(results.finished if fill_rows else 0)] if measured else []
        lacking = {row: columns for row in rows if (columns := results.unmeasured(row))}
        self._fills = {row: FILLS - number for number, row in enumerate(lacking)}
        fills = [sum(len(tasks[column].evaluation) for column in columns) for columns in lacking.values()]
        self.plan = Plan(images, steps, batch * accumulation, evaluated, results.finished, measured, fills)
        self._evaluating = False
        self._what: list[str] = []

    def mark(self) -> None:
        self.plan.mark()

    def follow(self, trainer: Trainer, position: int) -> None:
        """Show the training of a stage, by a callback in the place of Trainer's own."""
        if verbose(self.config):
            return
        for callback in (ProgressCallback, PrinterCallback, DEFAULT_PROGRESS_CALLBACK):
            trainer.remove_callback(callback)
        if self._view is not None:
            self.plan.end()
            self.plan.begin(position)
            self._what = []
            trainer.add_callback(Steps(self))
            self.show()

    def fill(self, row: int | None) -> None:
        """What is evaluated next fills the cells that a row lacks; None: zero-shot, which may be measured at first."""
        self.plan.begin(self._fills.get(row, -1))

    @contextmanager
    def evaluating(self) -> Iterator[None]:
        """What is counted in the block is the evaluation of the current stage."""
        self._evaluating = True
        try:
            yield
        finally:
            self._evaluating = False

    def show(self, what: list[str] | None = None, now: bool = False) -> None:
        """Say `what` is being done, by default what was said last."""
        self._what = self._what if what is None else what
        if self._view is not None:
            left, stage = self.plan.left(), self.plan.stage
            texts = [] if left is None else [f"{duration(left)} left".rjust(len("10 min 10 s left"))]
            if stage >= 0:
                texts.append(f"task {stage + 1}/{len(self.names)} {self.names[stage]}")
            self._view.show(self.plan.share, texts + self._what, now)

    def part(self, description: str, share: float) -> None:
        if self._evaluating:
            self.plan.advance(EVALUATION, share)
        name = f"{self.names[self.plan.stage]}: " if self.plan.stage >= 0 else ""
        self.show([description.removeprefix(name) + (f" {100 * share:.0f}%" if share else "")])


class Part:
    """A piece of the work that counts what it does, with the methods of `tqdm`."""

    def __init__(self, progress: Shown, iterable: Any = None, desc: str = "", total: int | None = None, **_: Any):
        self._progress, self._iterable = progress, iterable
        self._description = desc[:1].lower() + desc[1:] if desc else ""
        self._total = len(iterable) if total is None and hasattr(iterable, "__len__") else total
        self._count = 0
        if self._description:
            progress.mark()
            progress.part(self._description, 0.0)

    def update(self, count: int = 1) -> None:
        self._count += count
        if self._description and self._total:
            self._progress.part(self._description, self._count / self._total)

    def __iter__(self) -> Iterator[Any]:
        for item in self._iterable:
            yield item
            self.update()

    def __enter__(self) -> "Part":
        return self

    def __exit__(self, *_: object) -> None:
        pass

    def __getattr__(self, name: str) -> Any:
        return lambda *_, **__: None


class Steps(TrainerCallback):
    """Tells a [`Progress`] of the steps of a stage, and of its losses."""

    def __init__(self, progress: Progress):
        self.progress, self.losses, self.said = progress, list[str](), 0

    def on_train_begin(self, args, state, control, **kwargs):
        self.said = state.global_step
        self.progress.plan.set_steps(self.progress.plan.stage, state.max_steps, state.global_step)
        self._show(state)

    def on_step_end(self, args, state, control, **kwargs):
        self.progress.plan.advance(STEPS, state.global_step / state.max_steps)
        self._show(state)

    def on_log(self, args, state, control, logs=None, **kwargs):
        if "loss" in (logs or {}):
            parts = {name.removeprefix("loss_"): value for name, value in logs.items() if name.startswith("loss_")}
            summands = " + ".join(f"{name} {value:.2f}" for name, value in parts.items())
            self.losses = [f"loss {logs['loss']:.2f}" + (f" = {summands}" if len(parts) > 1 else "")]
            # A tenth of a task is worth a line, where there are lines alone.
            tenth = state.global_step - self.said >= state.max_steps / 10
            self.said = state.global_step if tenth else self.said
            self._show(state, tenth)

    def on_train_end(self, args, state, control, **kwargs):
        # Sooner than planned, where something stopped it early.
        self.progress.plan.set_steps(self.progress.plan.stage, state.global_step, state.global_step)

    def on_prediction_step(self, args, state, control, **kwargs):
        self._show(state, doing=["evaluation"])

    def _show(self, state, now: bool = False, doing: Sequence[str] = ()) -> None:
        self.progress.show([f"step {state.global_step}/{state.max_steps}", *self.losses, *doing], now)
