"""`Stream`: a stream's life, task after task, in its folder."""

import copy
import gc
import time
from collections.abc import Callable, Collection, Iterator, Sequence
from contextlib import contextmanager, suppress
from functools import partial
from pathlib import Path
from typing import Any

import numpy as np
from accelerate import Accelerator
from huggingface_hub import get_token
from transformers import CLIPModel, CLIPProcessor, IntervalStrategy

from .adaptation import Adaptation, adaptation_of
from .config import MulKIConfig, StreamConfig
from .config.recipes import RECIPE_FILE, write_recipe
from .data.captions import TEXT_FIELDS
from .data.epochs import check_crops, data_seed
from .data.own_settings import settings_of, warn_of_settings
from .data.row_files import write_rows
from .data.tasks import Task, load_stream
from .data.union import union
from .data.unlabelled import Reference, load_reference
from .durable import copy_file
from .errors import ConfigurationError
from .evaluation.evaluator import StreamEvaluator
from .features.prototypes import PROTOTYPES_FILE, save_prototypes
from .hub.fetch import fetch_checkpoint
from .hub.outbox import recorded_pushes
from .models.loading import load_finite, load_model, load_processor, save_model
from .objectives import check_reference, objective_of
from .report.benchmarks import zero_shot_warnings
from .report.checkpoint import describe_checkpoint, draw, picture_names
from .report.published.beside import standing_text
from .report.tables import average, percent, progress_line, results_table
from .results import StreamResults
from .runs.callbacks import callbacks_of_task, check_callbacks, stops_early
from .runs.checkpoints import check_fetched, check_finished
from .runs.checks import check_selection, check_task, check_texts
from .runs.folder import RunFolder, standing
from .runs.progress import Progress
from .runs.provenance import library_versions, provenance
from .runs.ranks import accelerator_of, main_process_first, on_main_process
from .runs.records import encoder_record, look_up_licences, shareable_results
from .runs.resume import Earlier, check_rows, damaged_tasks, find_earlier, start_results
from .runs.room import check_room, run_size
from .runs.sources import Run
from .runs.terminal import passing_bars, quieten
from .runs.trackers import Trackers, check_trackers
from .trainer import MulKITrainer


class Stream:
    """Tasks that a CLIP learns one after another, and what is known of them so far.

    Made by [`Stream.open`]; then, inside `begin`, `measure`, `learn` for each position of `remaining`, `close`.

    Args:
        stream ([`StreamConfig`]), config ([`MulKIConfig`]): the settings.
        accelerator ([`Accelerator`]): device, precision and ranks.
        processor ([`CLIPProcessor`]): of the model that the stream starts from.
        tasks: in order.
        reference ([`Reference`], *optional*): the reference images.
        earlier ([`Earlier`]): what it goes on from.
        results ([`StreamResults`]): the earlier ones, or empty.
        original ([`CLIPModel`]): the model that it starts from; let go when it was measured.
        callbacks: of every task's trainer, see [`callbacks_of_task`].
    """

    def __init__(
        self,
        stream: StreamConfig,
        config: MulKIConfig,
        accelerator: Accelerator,
        processor: CLIPProcessor,
        tasks: list[Task],
        reference: Reference | None,
        earlier: Earlier,
        results: StreamResults,
        original: CLIPModel,
        callbacks: Sequence[Any] = (),
    ):
        self.stream, self.config = stream, config
        self.accelerator, self.processor = accelerator, processor
        self.tasks, self.reference = tasks, reference
        self.curriculum: Sequence[Task] = tasks
        if objective_of(config).learns == "all":
            self.curriculum = [union(tasks)]
            warn_of_settings(tasks, config.method)
        self.earlier, self.results = earlier, results
        self.folder = RunFolder(config.output_dir, accelerator)
        self.callbacks = callbacks
        # Where the models of finished tasks are; of what is taken up from the Hub, earlier ones stay there.
        place = {"repository": earlier.source} if earlier.source else {"folder": self.folder.path}
        self.run = Run(earlier.source or str(self.folder.path), results, token=config.hub_token, **place)
        self.trackers = Trackers(self.folder.path)
        self.progress = Progress(config, accelerator, self.curriculum, tasks, results, stream.fill_rows)
        self.unlearned = 0  # finished tasks that are learned again, since their folders are damaged
        self._original: CLIPModel | None = original
        self._evaluator: StreamEvaluator | None = None

    @classmethod
    def open(
        cls,
        stream: StreamConfig,
        config: MulKIConfig,
        argv: list[str] | None = None,
        callbacks: Sequence[Any] = (),
    ) -> "Stream":
        """Load and check everything; writes nothing.

        Args:
            stream, config: the settings.
            argv (*optional*): options of the command, for the model cards.
            callbacks: of every task's trainer, see [`callbacks_of_task`].

        Raises:
            ConfigurationError: something the user gave can't be used.
        """
        objective = objective_of(config)
        texts_given = next((name for name in TEXT_FIELDS if getattr(stream, name) is not None), None)
        check_reference(config.method, objective, stream.reference_dataset is not None, texts_given)
        if objective.learns == "none" and config.push_to_hub:
            raise ConfigurationError(f"push_to_hub: method {config.method!r} trains no model that could be pushed")
        if objective.learns != "each" and stream.resume_from_hub is not None:
            raise ConfigurationError(
                f"resume_from_hub: method {config.method!r} learns no task after another, so that none can follow a "
                "checkpoint"
            )
        if config.resume_from_checkpoint is not None:
            raise ConfigurationError(
                "resume_from_checkpoint: a stream goes on with --resume, which finds the checkpoint"
            )
        check_callbacks(callbacks, config)
        check_selection(stream, config, callbacks)
        accelerator = accelerator_of(config)
        quieten(config, accelerator.is_main_process)
        check_trackers(config.report_to)
        check_crops(config, stream.random_resized_crop)
        find = partial(find_earlier, Path(config.output_dir), stream, config.hub_token)
        earlier = on_main_process(accelerator, find, share=True) or Earlier()
        processor = load_processor(stream.model_name_or_path, stream.model_revision)
        validation = config.eval_strategy != IntervalStrategy.NO
        with passing_bars():
            tasks, reference = main_process_first(
                accelerator, lambda: (load_stream(stream, validation), load_reference(stream))
            )
        for task in tasks:
            check_task(task, processor, config)
        check_texts(reference.texts if reference else (), texts_given, processor)
        results = start_results(earlier, stream, config, tasks, reference)
        look = partial(damaged_tasks, results, Path(config.output_dir))
        unlearned = 0 if earlier.source else on_main_process(accelerator, look, share=True) or 0
        for _ in range(unlearned):
            results.unlearn_last()
        results.provenance = provenance(accelerator, argv, [config.hub_token, get_token()], config.method)
        results.versions = library_versions()
        original = load_finite(stream.model_name_or_path, stream.model_revision, pickled=stream.pickled_weights)
        results.base.encoder = encoder_record(original)
        adaptation_of(config).check(original, config, objective)
        accelerator.wait_for_everyone()
        life = cls(stream, config, accelerator, processor, tasks, reference, earlier, results, original, callbacks)
        life.unlearned = unlearned
        if stream.fill_rows:
            life.on_main(lambda: check_rows(life.run))
        # What comes from the Hub takes the place of the last finished task.
        written = range(results.finished - (earlier.source is not None), life.remaining().stop)
        life.on_main(lambda: life.folder.check_untaken(results.stage_names, written, results.protocols, earlier.clear))
        life.on_main(life.check_room)
        return life

    def check_room(self) -> None:
        """Refuse to begin where what is still to be written does not fit on the disk, or say so; for one process."""
        first, last = self.remaining().start, self.remaining().stop
        # What is taken up from the Hub is written, too.
        finished = first - (self.earlier.source is not None)
        images = self.reference.images if self.reference else None
        references = 0 if images is None else len(images)
        parts = (self.stream, self.config, objective_of(self.config), self._original, self.curriculum[first:])
        sizes = run_size(*parts, self.tasks, references, last, finished) if first < last else {}
        check_room(self.folder.path, sizes, self.folder.held(self.earlier.clear), self.stream.check_space)

    def on_main(self, action: Callable[[], Any]) -> Any:
        """See [`on_main_process`]."""
        return on_main_process(self.accelerator, action)

    # The life

    @contextmanager
    def begin(self) -> Iterator[None]:
        """Make the folder: cleared when told to overwrite, with the checkpoint from the Hub to go on from.

        Inside the block no other run can write there; what ends it is told what is safe.
        """
        try:
            self.on_main(self._begin)
            with self.progress:
                yield
        except BaseException as error:
            # Also of what a library's clean-up made of an interruption.
            with suppress(ConfigurationError, OSError):
                error.add_note(standing(self.folder.path))
            raise
        finally:
            self.folder.lock.release()

    def _begin(self) -> None:
        source = self.earlier.source
        checkpoint = fetch_checkpoint(source, self.config.hub_token) if source else None
        if checkpoint is not None:
            check_fetched(checkpoint, self.results.artefact.folder if self.results.artefact else None, str(source))
        self.folder.take(self.earlier.found)
        if self.earlier.clear:
            self.folder.clear()
        elif self.unlearned:
            self.results.save(self.folder.path)
        self.folder.clear_leftovers(self.results.stage_names, self.results.finished, self.results.protocols)
        if source is not None and checkpoint is not None:
            self.folder.take_up(checkpoint, self.results, source)
            self.save()
        look_up_licences(self.results, self.config.hub_token)

    def measure(self) -> None:
        """Evaluate the model before any training, unless that was done; fill the cells of tasks that came later."""
        results, count = self.results, len(self.tasks)
        if not results.zero_shot:
            results.measured({name: [None] * count for name in results.protocols})
        if columns := results.unmeasured(None):
            self._fill(None, self._original, [0], "zero-shot evaluation", columns)
            if not results.learned:
                rows = self.evaluate(self._original, range(1, count + 1), "zero-shot evaluation after each task")
                results.stayed(rows)
            for warning in results.warn(zero_shot_warnings(results)):
                self.accelerator.print(f"\nWARNING: {warning}\n")
            self._saved()
        # Each task loads what it needs, when it needs it.
        self._original = None
        for position in range(results.finished) if self.stream.fill_rows else ():
            if columns := results.unmeasured(position):
                # From the Hub one rank fetches for those beside it.
                checkpoint = main_process_first(self.accelerator, partial(self.run.checkpoint, position))
                description = f"{results.stage_names[position]}: evaluation on what came later"
                self._fill(position, self.load(checkpoint), [position + 1], description, columns)
                self._saved()
        self.accelerator.print(
            f"{self.config.method} on {self.accelerator.num_processes} process(es), {self.accelerator.device.type}; "
            f"zero-shot {percent(average(self.results.zero_shot))} % on average over {len(self.tasks)} tasks"
        )

    def _fill(
        self, row: int | None, model: CLIPModel | None, learned: Sequence[int], description: str, columns: list[int]
    ) -> None:
        self.progress.fill(row)
        cells = self.evaluate(model, learned, description, columns)
        self.results.fill(row, {name: values for name, (values,) in cells.items()})

    def _saved(self) -> None:
        if self.accelerator.is_main_process:
            self.save()

    def remaining(self) -> range:
        """Positions of the tasks that are still to be learned."""
        return range(self.results.finished, len(self.results.learned))

    def learn(self, position: int) -> Path:
        """Learn a stage, mostly a task, evaluate on all tasks, and leave its checkpoint; returns its folder."""
        task, began = self.curriculum[position], time.monotonic()
        adaptation = self.adaptation(position)
        trainer = MulKITrainer(
            adaptation,
            self.arguments(position),
            task,
            self.processor,
            reference_dataset=self.reference.images if self.reference else None,
            reference_texts=self.reference.texts if self.reference else (),
            earlier_tasks=self.tasks[:position],
            random_resized_crop=self.stream.random_resized_crop,
            cache_dir=self.folder.cache,
            callbacks=callbacks_of_task(self.callbacks),
        )
        self.trackers.follow(trainer, self.results, position)
        self.progress.follow(trainer, position)
        trainer.train(resume_from_checkpoint=self.checkpoint(position))
        with self.folder.writing(self.results.stage_names, position) as folder:
            if self.accelerator.is_main_process:
                adaptation.save(folder, self.results.base.name, self.results.base.revision)
            model = adaptation.finish()
            learned = len(self.tasks) if task.parts != (task,) else position + 1
            matrices = self.evaluate(model, [learned], f"{task.name}: evaluation on every task")
            rows = {name: row for name, (row,) in matrices.items()}
            # One more pass over the training images, for methods that have a use for it.
            prototypes = trainer.features.prototypes(model) if trainer.objective.needs_prototypes() else None
            facts = adaptation.facts() | trainer.left_out.facts()
            note, steps = adaptation.note(self.config, facts), trainer.state.global_step
            self.results.add(rows, time.monotonic() - began, facts, note, steps)
            self.results.warn(trainer.left_out.sentences(steps))
            self.trackers.report(trainer, self.results, model)
            if self.accelerator.is_main_process:
                save_model(folder, model, self.processor)
                write_rows(task, folder)
                if prototypes is not None:
                    save_prototypes(prototypes, folder / PROTOTYPES_FILE)
                shared = shareable_results(self.results)
                write_recipe(shared.config, folder / RECIPE_FILE)
                describe_checkpoint(folder, shared)
        folder = self.folder.task(self.results.stage_names, position)
        if self.accelerator.is_main_process:
            self.save(pictures_of=folder)
            self.folder.keep_logs(self.results.stage_names, position)
        self.accelerator.wait_for_everyone()
        self.accelerator.print(progress_line(self.results, position))
        del trainer, adaptation, model
        gc.collect()
        return folder

    def close(self) -> None:
        """Clear up and print the results; the folder is held until the end of `begin`'s block."""
        if self.accelerator.is_main_process:
            self.folder.finish(self.results.stage_names)
        self.progress.close()
        tables = "\n\n".join(filter(None, [results_table(self.results), standing_text(self.results)]))
        self.accelerator.print(f"\n{tables}\n\nResults, pictures and checkpoints: {self.folder.path}")

    def tidy(self) -> None:
        """Delete the finished tasks' folders that `keep_checkpoints` does not keep, but those still to be pushed."""
        keep, names, finished = self.stream.keep_checkpoints, self.results.stage_names, self.results.finished
        if keep == "all" or not self.accelerator.is_main_process:
            return
        last = 0 if keep == "none" and not self.remaining() else 1
        # Whoever pushed them: this run, or one before it without an answer.
        waiting = [push for push in recorded_pushes(self.folder.path) if push.commit is None]
        needed = {push.folder.partition("/")[0] for push in waiting}
        dropped = self.folder.drop(names, range(finished - last), needed)
        if dropped and not self.remaining():
            print(KEPT[keep].format(names[finished - 1]), flush=True)

    def save(self, pictures_of: Path | None = None) -> None:
        """Write the pictures, which a task's folder may have already, and `results.json`, which counts, last."""
        if pictures_of is None:
            draw(self.results, self.folder.path)
        else:
            for name in picture_names(self.results.protocols):
                copy_file(pictures_of / name, self.folder.path / name)
        self.results.save(self.folder.path)

    # A task

    def adaptation(self, position: int) -> Adaptation:
        """What is trained in the task, from the folder of the task before."""
        before = self.folder.task(self.results.stage_names, position - 1) if position else None
        if before is not None:
            artefact = self.results.artefact.folder if self.results.artefact else None
            self.on_main(partial(check_finished, before, artefact))
        return adaptation_of(self.config).start(self.load, self.config, before)

    def load(self, folder: Path | None = None) -> CLIPModel:
        """The model of a task's folder or, without one, the model that the stream starts from."""
        if folder is not None:
            # From the disk alone: `out/task1-pets` could be a name on the Hub, too.
            return load_model(folder.absolute())
        return load_model(
            self.stream.model_name_or_path, self.stream.model_revision, pickled=self.stream.pickled_weights
        )

    def arguments(self, position: int) -> MulKIConfig:
        """Trainer's arguments for the task: it works in a folder of its own and leaves the Hub to the stream."""
        arguments = settings_of(self.curriculum[position], self.config)
        arguments.output_dir = str(self.folder.training(self.results.stage_names, position))
        arguments.push_to_hub = False
        # Trainer writes into it what a second one refuses to find there.
        arguments.accelerator_config = copy.deepcopy(self.config.accelerator_config)
        # How long it has been no better counts on after an interruption.
        arguments.restore_callback_states_from_checkpoint |= stops_early(self.callbacks)
        # Orders, pairings and crops of its own: tasks of a size would see the same ones.
        seeds = np.random.SeedSequence((data_seed(self.config), position))
        arguments.data_seed = int(seeds.generate_state(1)[0])
        return arguments

    def checkpoint(self, position: int) -> str | None:
        """Trainer's checkpoint to go on from inside the task, if there is one and we were told to resume."""
        if not self.stream.resume:
            return None
        averaged = bool(objective_of(self.config).average_every)
        find = partial(self.folder.checkpoint, self.results.stage_names, position, averaged)
        return on_main_process(self.accelerator, find, share=True)

    def evaluate(
        self, model: CLIPModel, learned: Sequence[int], description: str, only: Collection[int] | None = None
    ) -> dict[str, list[list[float | None]]]:
        """Accuracy in percent on every task, by protocol, a row for each number of tasks that count as learned.

        With `only` on the tasks at those positions, and None on the others.
        """
        if self._evaluator is None:
            made_of = (self.tasks, self.processor, self.accelerator, self.config, self.folder.cache)
            self._evaluator = StreamEvaluator.of_run(*made_of, self.config.train_towers or "both")
        with self.progress.evaluating():
            return self._evaluator.cells(model, learned, description, self.results.protocols, only)


KEPT = {
    "last": "keep_checkpoints last: tasks can be appended after {!r}; the rows before it can't be measured on them any "
    "more (--fill_rows false), but from checkpoints that were pushed",
    "none": "keep_checkpoints none: no checkpoint is left in the run's folder, so no task can be appended to it; what "
    "was pushed goes on with --resume_from_hub",
}
"""What a finished stream can't do any more."""
