"""A few real steps of the trainer, and a real evaluation, timed on this machine by a sample of a stream's images."""

import copy
import gc
import statistics
import time
from collections.abc import Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from pathlib import Path
from typing import Any

import numpy as np
import psutil
import torch
from accelerate import Accelerator
from datasets import Dataset
from transformers import (
    CLIPModel,
    CLIPProcessor,
    IntervalStrategy,
    PrinterCallback,
    ProgressCallback,
    SchedulerType,
    TrainerCallback,
)
from transformers.trainer import DEFAULT_PROGRESS_CALLBACK
from transformers.trainer_utils import SaveStrategy

from ..adaptation import adaptation_of
from ..config import MulKIConfig, StreamConfig
from ..data.task import Task
from ..data.unlabelled import Reference
from ..evaluation.evaluator import StreamEvaluator
from ..models.classifier import classifier_of
from ..models.loading import load_model
from ..trainer import MulKITrainer


STEPS = 6
"""Steps that are taken of a task; the first one, in which everything is made, does not count."""
ENOUGH = 20.0
"""Seconds of them after which one process takes no more."""


@dataclass(frozen=True)
class Timed:
    """A stage whose steps are timed.

    Attributes:
        stage ([`Task`]): what is learned.
        earlier: the tasks before it.
        prompts: that a step reads.
        teachers: models that are asked.
    """

    stage: Task
    earlier: Sequence[Task]
    prompts: int
    teachers: int


@dataclass(frozen=True)
class Paces:
    """What was timed, on all processes together.

    Attributes:
        steps: what was timed, and the seconds of a step of it.
        prompt: seconds to encode a class's prompt in evaluation.
        image: seconds to decode and encode an image.
        device_bytes (*optional*): at most in use at a time on an accelerator, by one process.
        main_bytes: main memory of one process.
    """

    steps: list[tuple[Timed, float]]
    prompt: float
    image: float
    device_bytes: int | None
    main_bytes: int

    def step(self, prompts: int, teachers: int) -> float:
        """Seconds of a step that reads so many prompts and asks so many teachers."""
        known = sorted((timed.prompts, seconds) for timed, seconds in self.steps if timed.teachers == teachers)
        return float(np.interp(prompts, [count for count, _ in known], [seconds for _, seconds in known]))


class Clock(TrainerCallback):
    """Notes when steps end, on the device too, and how much main memory is in use."""

    def __init__(self, device: torch.device, alone: bool):
        self.device, self.alone = device, alone
        self.ends: list[float] = []
        self.memory = 0

    def on_step_end(self, args, state, control, **kwargs):
        if self.device.type != "cpu":
            torch.accelerator.synchronize(self.device)
        self.ends.append(time.monotonic())
        self.memory = max(self.memory, psutil.Process().memory_info().rss)
        # Ranks that look at clocks of their own would not stop at the same step.
        if self.alone and len(self.ends) > 2 and self.ends[-1] - self.ends[0] > ENOUGH:
            control.should_training_stop = True

    @property
    def seconds(self) -> float:
        """Of a step."""
        return statistics.median(np.diff(self.ends))


class Timing:
    """What the steps and evaluations of a stream take, tried in a folder that is thrown away.

    Args:
        stream ([`StreamConfig`]), config ([`MulKIConfig`]), accelerator ([`Accelerator`]): of the run.
        processor ([`CLIPProcessor`]): of the model.
        reference ([`Reference`], *optional*): its images and texts.
        folder: to work in; the same on every rank of a machine.
    """

    def __init__(
        self,
        stream: StreamConfig,
        config: MulKIConfig,
        accelerator: Accelerator,
        processor: CLIPProcessor,
        reference: Reference | None,
        folder: Path,
    ):
        self.stream, self.config, self.accelerator = stream, config, accelerator
        self.processor, self.reference, self.folder = processor, reference, folder
        self.batch = config.train_batch_size * config.gradient_accumulation_steps * accelerator.num_processes

    def load(self, folder: Path | None = None) -> CLIPModel:
        """The model that the stream starts from, in the place of that of a task before, too: it is as large."""
        return load_model(
            self.stream.model_name_or_path, self.stream.model_revision, pickled=self.stream.pickled_weights
        )

    def paces(self, stages: Sequence[Timed], tasks: Sequence[Task]) -> Paces:
        """Take some steps of each of `stages`, and evaluate on the largest of `tasks`, those of the stream."""
        on_gpu = self.accelerator.device.type == "cuda"
        if on_gpu:
            torch.cuda.reset_peak_memory_stats()
        clocks = [self._steps(one.stage, one.earlier) for one in stages]
        prompt, image = self._evaluation(max(tasks, key=lambda task: len(task.evaluation)))
        return Paces(
            [(one, clock.seconds) for one, clock in zip(stages, clocks, strict=True)],
            prompt,
            image,
            torch.cuda.max_memory_reserved() if on_gpu else None,
            max([psutil.Process().memory_info().rss, *(clock.memory for clock in clocks)]),
        )

    def _steps(self, stage: Task, earlier: Sequence[Task]) -> Clock:
        # What is left of the stage before would count as memory of this one.
        gc.collect()
        clock = Clock(self.accelerator.device, self.accelerator.num_processes == 1)
        images = self.reference.images if self.reference else None
        trainer = MulKITrainer(
            adaptation_of(self.config).start(self.load, self.config, self._before if earlier else None),
            self._arguments(stage),
            sample_of(stage, STEPS * self.batch, self.config.per_device_eval_batch_size),
            self.processor,
            reference_dataset=None if images is None else spread(images, STEPS * self.batch),
            reference_texts=self.reference.texts if self.reference else (),
            earlier_tasks=earlier,
            random_resized_crop=self.stream.random_resized_crop,
            cache_dir=self.folder / "cache",
            callbacks=[clock],
        )
        for told in (ProgressCallback, PrinterCallback, DEFAULT_PROGRESS_CALLBACK):
            trainer.remove_callback(told)
        trainer.train()
        return clock

    @cached_property
    def _before(self) -> Path:
        """What stands for the folder of a task before: with an adapter, where tasks leave one."""
        folder = self.folder / "before"
        kind = adaptation_of(self.config)
        if kind.artefact(self.config) is not None and self.accelerator.is_main_process:
            kind.start(self.load, self.config, None).save(folder, self.stream.model_name_or_path, None)
        self.accelerator.wait_for_everyone()
        return folder

    def _arguments(self, stage: Task) -> MulKIConfig:
        """The run's, for a few steps that nobody hears of."""
        arguments: Any = copy.copy(self.config)
        arguments.output_dir = str(self.folder / "trainer")
        arguments.max_steps, arguments.report_to, arguments.push_to_hub = STEPS, [], False
        arguments.save_strategy, arguments.load_best_model_at_end = SaveStrategy.NO, False
        arguments.eval_strategy = arguments.logging_strategy = IntervalStrategy.NO
        # Without a warm-up some rates would do harm that they never do in training.
        arguments.lr_scheduler_type, arguments.learning_rate = SchedulerType.CONSTANT, 0.0
        arguments.text_learning_rate, arguments.disable_tqdm = None, True
        arguments.accelerator_config = copy.deepcopy(self.config.accelerator_config)
        return arguments

    def _evaluation(self, task: Task) -> tuple[float, float]:
        """Seconds a prompt and an image, of all processes together."""
        per_rank, processes = self.config.per_device_eval_batch_size, self.accelerator.num_processes
        some = sample_of(task, 1, STEPS * per_rank * processes)
        made_of = ([some], self.processor, self.accelerator, self.config, self.folder / "cache")
        # Of the second call on, images alone are encoded.
        evaluator = StreamEvaluator.of_run(*made_of, "vision")
        model, ends = self.load(), list[float]()
        for _ in range(2):
            evaluator.cells(model, [0], "timing an evaluation", self.stream.protocols)
            ends.append(self._now())
        began = self._now()
        with torch.no_grad(), self.accelerator.autocast():
            classifier_of(model, evaluator.prompts)
        of_text = self._now() - began
        return of_text / len(evaluator.prompts[0][0]["input_ids"]), (ends[1] - ends[0]) / len(some.evaluation)

    def _now(self) -> float:
        if self.accelerator.device.type != "cpu":
            torch.accelerator.synchronize(self.accelerator.device)
        self.accelerator.wait_for_everyone()
        return time.monotonic()


def spread(rows: Dataset, count: int) -> Dataset:
    """That many of the rows at most, from all over them."""
    return rows.select(np.unique(np.linspace(0, len(rows) - 1, min(count, len(rows))).astype(int)))


def sample_of(task: Task, training: int, evaluation: int) -> Task:
    """A task with that many of its images at most."""
    parts = {"train": spread(task.train, training), "evaluation": spread(task.evaluation, evaluation)}
    return replace(task, validation=None, **parts)
