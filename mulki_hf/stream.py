"""`Stream`: a stream's life, task after task, in its folder."""

import copy
import gc
import logging
import shutil
import time
from collections.abc import Callable
from functools import partial
from pathlib import Path
from typing import Any

import datasets
import transformers
from accelerate import Accelerator
from datasets import Dataset
from huggingface_hub import get_token
from transformers import CLIPModel, CLIPProcessor
from transformers.integrations import get_reporting_integration_callbacks

from .adaptation import Adaptation, adaptation_of
from .config import MulKIConfig, StreamConfig
from .config.recipes import RECIPE_FILE, write_recipe
from .data.prompts import tokenize_prompts
from .data.tables import ArrayCache
from .data.tasks import Task, load_reference, load_stream
from .errors import ConfigurationError
from .evaluation.evaluator import StreamEvaluator
from .features.prototypes import PROTOTYPES_FILE, save_prototypes
from .hub.fetch import fetch_checkpoint
from .hub.shareable import shareable
from .models.loading import load_model, load_processor, save_model
from .objectives import check_reference, objective_of
from .report.checkpoint import PICTURES, describe_checkpoint, draw
from .report.tables import results_table
from .results import StreamResults
from .runs.folder import RunFolder
from .runs.provenance import library_versions, provenance
from .runs.ranks import on_main_process
from .runs.records import look_up_licences
from .runs.resume import Earlier, find_earlier, start_results
from .trainer import MulKITrainer, last_checkpoint


class Stream:
    """Tasks that a CLIP learns one after another, and what is known of them so far.

    Made by [`Stream.open`]; then `begin`, `measure`, `learn` for each position of `remaining`, `close`.

    Args:
        stream ([`StreamConfig`]), config ([`MulKIConfig`]): the settings.
        accelerator ([`Accelerator`]): device, precision and ranks.
        processor ([`CLIPProcessor`]): of the model that the stream starts from.
        tasks: in order.
        reference ([`datasets.Dataset`], *optional*): the reference images.
        earlier ([`Earlier`]): what it goes on from.
        results ([`StreamResults`]): the earlier ones, or empty.
        original ([`CLIPModel`]): the model that it starts from; let go when it was measured.
    """

    def __init__(
        self,
        stream: StreamConfig,
        config: MulKIConfig,
        accelerator: Accelerator,
        processor: CLIPProcessor,
        tasks: list[Task],
        reference: Dataset | None,
        earlier: Earlier,
        results: StreamResults,
        original: CLIPModel,
    ):
        self.stream, self.config = stream, config
        self.accelerator, self.processor = accelerator, processor
        self.tasks, self.reference = tasks, reference
        self.earlier, self.results = earlier, results
        self.folder = RunFolder(config.output_dir, accelerator)
        self._original: CLIPModel | None = original
        self._evaluator: StreamEvaluator | None = None

    @classmethod
    def open(cls, stream: StreamConfig, config: MulKIConfig, argv: list[str] | None = None) -> "Stream":
        """Load and check everything; writes nothing.

        Args:
            stream, config: the settings.
            argv (*optional*): options of the command, for the model cards.

        Raises:
            ConfigurationError: something the user gave can't be used.
        """
        objective = objective_of(config)
        check_reference(config.method, objective, stream.reference_dataset is not None)
        if config.resume_from_checkpoint is not None:
            raise ConfigurationError(
                "resume_from_checkpoint: a stream goes on with --resume, which finds the checkpoint"
            )
        accelerator = Accelerator(mixed_precision=config.mixed_precision, cpu=config.use_cpu)
        quieten(config, accelerator.is_main_process)
        check_trackers(config)
        find = partial(find_earlier, Path(config.output_dir), stream, config.hub_token)
        earlier = on_main_process(accelerator, find, share=True) or Earlier()
        processor = load_processor(stream.model_name_or_path, stream.model_revision)
        with config.main_process_first(desc="building datasets"):
            tasks = load_stream(stream)
            reference = load_reference(stream)
        for task in tasks:
            check_task(task, processor, config)
        results = start_results(earlier, stream, config, tasks, reference)
        results.provenance = provenance(accelerator, argv, [config.hub_token, get_token()])
        results.versions = library_versions()
        original = load_model(stream.model_name_or_path, stream.model_revision)
        adaptation_of(config).check(original, config, objective)
        accelerator.wait_for_everyone()
        return cls(stream, config, accelerator, processor, tasks, reference, earlier, results, original)

    def on_main(self, action: Callable[[], Any]) -> Any:
        """See [`on_main_process`]."""
        return on_main_process(self.accelerator, action)

    # The life

    def begin(self) -> None:
        """Make the folder: cleared when told to overwrite, with the checkpoint from the Hub to go on from."""
        self.on_main(self._begin)

    def _begin(self) -> None:
        source = self.earlier.source
        checkpoint = fetch_checkpoint(source, self.config.hub_token) if source else None
        self.folder.make()
        if self.stream.overwrite:
            self.folder.clear()
        if source is not None and checkpoint is not None:
            self.folder.take_up(checkpoint, self.results, source)
            self.save()
        look_up_licences(self.results, self.config.hub_token)

    def measure(self) -> None:
        """Evaluate the model before any training, unless that was done."""
        if not self.results.zero_shot:
            self.results.measured(self.evaluate(self._original, 0, "zero-shot evaluation"))
            if self.accelerator.is_main_process:
                self.save()
        # Each task loads what it needs, when it needs it.
        self._original = None
        self.accelerator.print(
            f"{self.config.method} on {self.accelerator.num_processes} process(es), {self.accelerator.device.type}; "
            f"zero-shot {sum(self.results.zero_shot) / len(self.tasks):.1f} % on average over {len(self.tasks)} tasks"
        )

    def remaining(self) -> range:
        """Positions of the tasks that are still to be learned."""
        learned = len(self.tasks) if objective_of(self.config).learns == "each" else 0
        return range(self.results.finished, learned)

    def learn(self, position: int) -> Path:
        """Learn a task, evaluate on all of them, and leave its checkpoint; returns its folder."""
        task, began = self.tasks[position], time.monotonic()
        adaptation = self.adaptation(position)
        trainer = MulKITrainer(
            adaptation,
            self.arguments(position),
            task,
            self.processor,
            reference_dataset=self.reference,
            random_resized_crop=self.stream.random_resized_crop,
            cache_dir=self.folder.cache,
        )
        trainer.train(resume_from_checkpoint=self.checkpoint(position))
        with self.folder.writing(self.results.names, position) as folder:
            if self.accelerator.is_main_process:
                adaptation.save(folder, self.results.base.name, self.results.base.revision)
            model = adaptation.finish()
            rows = self.evaluate(model, position + 1, f"{task.name}: evaluation on every task")
            prototypes = trainer.features.prototypes(model)
            facts = adaptation.facts()
            self.results.add(rows, time.monotonic() - began, facts, adaptation.note(self.config, facts))
            if self.accelerator.is_main_process:
                save_model(folder, model, self.processor)
                save_prototypes(prototypes, folder / PROTOTYPES_FILE)
                write_recipe(shareable(self.results.config), folder / RECIPE_FILE)
                describe_checkpoint(folder, self.results)
        folder = self.folder.task(self.results.names, position)
        if self.accelerator.is_main_process:
            self.save(pictures_of=folder)
            self.folder.keep_logs(self.results.names, position)
        self.accelerator.wait_for_everyone()
        self.accelerator.print(progress_line(self.results, position))
        del trainer, adaptation, model
        gc.collect()
        return folder

    def close(self) -> None:
        """Clear up and print the results."""
        if self.accelerator.is_main_process:
            self.folder.finish()
        self.accelerator.print(
            f"\n{results_table(self.results)}\n\nResults, pictures and checkpoints: {self.folder.path}"
        )

    def save(self, pictures_of: Path | None = None) -> None:
        """Write `results.json` and the two pictures, which a task's folder may have already."""
        self.results.save(self.folder.path)
        if pictures_of is None:
            draw(self.results, self.folder.path)
        else:
            for name in PICTURES:
                shutil.copyfile(pictures_of / name, self.folder.path / name)

    # A task

    def adaptation(self, position: int) -> Adaptation:
        """What is trained in the task, from the folder of the task before."""
        before = self.folder.task(self.results.names, position - 1) if position else None
        return adaptation_of(self.config).start(self.load, self.config, before)

    def load(self, folder: Path | None = None) -> CLIPModel:
        """The model of a task's folder or, without one, the model that the stream starts from."""
        if folder is not None:
            return load_model(folder)
        return load_model(self.stream.model_name_or_path, self.stream.model_revision)

    def arguments(self, position: int) -> MulKIConfig:
        """Trainer's arguments for the task: it works in a folder of its own and leaves the Hub to the stream."""
        arguments = copy.copy(self.config)
        arguments.output_dir = str(self.folder.training(self.results.names, position))
        arguments.push_to_hub = False
        return arguments

    def checkpoint(self, position: int) -> str | None:
        """Trainer's checkpoint to go on from inside the task, if there is one and we were told to resume."""
        return last_checkpoint(str(self.folder.training(self.results.names, position))) if self.stream.resume else None

    def evaluate(self, model: CLIPModel, learned: int, description: str) -> dict[str, list[float]]:
        """Accuracy in percent on every task, by protocol."""
        if self._evaluator is None:
            config = self.config
            batch_size, workers = config.per_device_eval_batch_size, config.dataloader_num_workers
            self._evaluator = StreamEvaluator(
                self.tasks,
                self.processor,
                self.accelerator,
                batch_size=batch_size,
                num_workers=workers,
                trained_towers=config.train_towers or "both",
                image_cache=ArrayCache(self.folder.cache, self.accelerator, batch_size, workers)
                if config.cache_images
                else None,
            )
        return self._evaluator.by_protocol(model, learned, description, [self.stream.protocol])


# Before training


def quieten(config: MulKIConfig, main_process: bool) -> None:
    """No progress bars where nobody wants or sees them, no warnings twice."""
    if config.disable_tqdm or not main_process:
        datasets.disable_progress_bars()
        transformers.logging.disable_progress_bar()
    if not main_process:
        logging.getLogger("mulki_hf").setLevel(logging.ERROR)


def check_trackers(config: MulKIConfig) -> None:
    """Refuse a `report_to` whose package is missing, which the Trainer would find out after the first evaluation."""
    for callback in get_reporting_integration_callbacks(config.report_to):
        try:
            callback()
        except (RuntimeError, ImportError) as error:
            raise ConfigurationError(f"report_to {config.report_to}: {error}") from error


def check_task(task: Task, processor: CLIPProcessor, config: MulKIConfig) -> None:
    """Refuse a task whose prompts are too long, or that is too small for a single step."""
    try:
        tokenize_prompts(processor.tokenizer, task.class_names, task.templates)
    except ConfigurationError as error:
        raise ConfigurationError(f"task {task.name!r}: {error}") from error
    batch = config.train_batch_size * config.world_size
    if config.dataloader_drop_last and len(task.train) < batch:
        raise ConfigurationError(
            f"task {task.name!r}: {len(task.train)} training images are less than a batch of {batch}, and "
            "dataloader_drop_last drops the rest"
        )


def progress_line(results: StreamResults, position: int) -> str:
    """One line about the task just finished."""
    row, zero_shot = results.accuracy[position], results.zero_shot
    line = f"task {position + 1}/{len(row)} {results.names[position]}: {row[position]:.1f} % "
    line += f"(zero-shot {zero_shot[position]:.1f} %)"
    if position:
        line += f"; earlier tasks {sum(row[:position]) / position:.1f} %"
    rest = len(row) - position - 1
    if rest:
        ahead = sum(row[position + 1 :]) / rest
        line += f"; not yet learned {ahead:.1f} % (zero-shot {sum(zero_shot[position + 1 :]) / rest:.1f} %)"
    return line
