"""Models measured on a stream's tasks without any training: what `mulki_hf.evaluate` does, from settings to files."""

import argparse
import re
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from dataclasses import dataclass
from functools import partial
from pathlib import Path
from typing import Any

from huggingface_hub import get_token

from .config import MulKIConfig, StreamConfig
from .config.evaluating import evaluation_settings, hub_settings, run_settings
from .data.task import Task
from .data.tasks import load_stream
from .errors import ConfigurationError, shown
from .evaluation.confusion import ConfusionCounts
from .evaluation.evaluator import StreamEvaluator
from .models.loading import load_processor
from .report.benchmarks import zero_shot_warnings
from .report.checkpoint import draw
from .report.classes import FOLDER, Confusion, class_table, plot_confusion, write_classes, write_counts
from .report.tables import average, full_tables, percent
from .results import StreamResults
from .runs.batches import PROCESSES
from .runs.checks import check_task
from .runs.evaluations import (
    absent_rows,
    add_protocols,
    check_checkpoint,
    check_folder,
    check_inside,
    check_run,
    check_same_data,
    default_output,
    run_results,
    same_tasks,
    single_results,
)
from .runs.folder import RunFolder, results_file
from .runs.passes import Passes
from .runs.provenance import library_versions, provenance
from .runs.ranks import accelerator_of, main_process_first, on_main_process
from .runs.records import encoder_record, look_up_licences, task_record
from .runs.subjects import MODEL, Subject, find_subject
from .runs.terminal import quieten


@dataclass(frozen=True)
class Row:
    """What is asked of one of the models.

    Attributes:
        protocols: by which it is measured; none: it is not loaded.
        gaps: those of them by which the row has empty cells.
        only: positions of the tasks to evaluate on.
        learned: how many tasks count as learned; after the first, those of a model that stays as it is.
        looked_at: for which class each image was taken is counted, by the first protocol.
    """

    protocols: list[str]
    gaps: list[str]
    only: list[int]
    learned: list[int]
    looked_at: bool


class Evaluation:
    """A subject's models, each in one pass over the images of a stream's tasks.

    Args:
        subject ([`Subject`]): what is evaluated.
        stream ([`StreamConfig`]), config ([`MulKIConfig`]): tasks and protocols; precision, batches and workers.
        args: `per_class` and `confusion`, names of tasks, and `checkpoint`, which one of a run they are of;
            `output_dir` and `overwrite`.
        argv (*optional*): the command's words, for the results.

    Raises:
        ConfigurationError: something the user gave can't be used; nothing was written.
    """

    def __init__(
        self,
        subject: Subject,
        stream: StreamConfig,
        config: MulKIConfig,
        args: argparse.Namespace,
        argv: list[str] | None = None,
    ):
        self.subject, self.stream, self.config = subject, stream, config
        self.per_class, self.confusion, self.overwrite = args.per_class, args.confusion, args.overwrite
        self.row = check_checkpoint(subject, args.checkpoint, bool(self.per_class or self.confusion))
        names = stream_names(stream)
        self.looked_at = sorted({names.index(name) for name in (*self.per_class, *self.confusion) if name in names})
        for option, asked in {"per_class": self.per_class, "confusion": self.confusion}.items():
            if unknown := [name for name in asked if name not in names]:
                raise ConfigurationError(
                    f"{option}: the stream has no task {shown(unknown[0])}, only {', '.join(names)}"
                )
        self.own = same_tasks(subject, names)
        check_run(subject, self.own, stream.protocols)
        run = subject.run.results if subject.run else None
        self.inside = args.output_dir is None and subject.whole and self.own and run is not None and run.names == names
        self.accelerator = accelerator_of(config)
        quieten(config, self.accelerator.is_main_process)
        place = subject.run.folder if self.inside and subject.run else config.output_dir
        self.folder = RunFolder(str(place), self.accelerator)
        self.found = self.on_main(self._look)
        processor = load_processor(*subject.clip, MODEL)
        self.tasks = main_process_first(self.accelerator, lambda: load_stream(stream))
        for task in self.tasks:
            check_task(task, processor, config)
        self.results = self._results(argv)
        known = self.results.protocols if self.results.zero_shot else []
        missing = [name for name in stream.protocols if name not in known]
        stages = range(run.finished) if run is not None and subject.whole else range(0)
        add_protocols(self.results, missing, len(stages))
        towers = run.config.get("train_towers") if run is not None and subject.whole else None
        self.evaluator = StreamEvaluator.of_run(
            self.tasks, processor, self.accelerator, config, self.folder.cache, towers or "both"
        )
        self.plan = {row: plan for row in (None, *stages) if (plan := self._plan(row)).protocols}
        rows = [row for row in self.plan if row is not None]
        # What has only gaps to fill may stay as it is.
        needed = [row for row in rows if missing or self.plan[row].looked_at]
        self.absent = self.on_main(partial(absent_rows, subject.run, rows, needed)) if subject.run else {}
        for row in self.absent:
            rows.remove(row)
            del self.plan[row]
        loads = main_process_first(self.accelerator, partial(subject.checkpoints, rows))
        self.loads = {None: subject.original, **dict(zip(rows, loads, strict=True))}
        self.counts: ConfusionCounts | None = None
        self.standing = "nothing was written; start again"

    @classmethod
    def open(cls, args: argparse.Namespace, options: list[str], argv: list[str] | None = None) -> "Evaluation":
        """From the command's own `args` and its `options` about a stream; see [`mulki_hf.evaluate.make_parser`]."""
        subject = find_subject(args.model, args.base, args.hub_token, args.pickled_weights)
        run, earlier = subject.run, None
        if run is not None and run.repository is not None:
            earlier = partial(hub_settings, run.repository, args.hub_token, args.data_root, MODEL)
        elif args.data_root is not None:
            raise ConfigurationError("data_root is for the tasks of a checkpoint on the Hub")
        elif run is not None:
            earlier = partial(run_settings, run.results.config, run.source)
        output = args.output_dir or default_output(args.model)
        stream, config = evaluation_settings(options, earlier, args.model, (subject.source, subject.revision), output)
        return cls(subject, stream, config, args, argv)

    def on_main(self, action: Callable[[], Any]) -> Any:
        """See [`on_main_process`]; every rank gets the value."""
        return on_main_process(self.accelerator, action, share=True)

    def _look(self) -> bytes | None:
        """Refuse a folder that can't take the results; `results.json` as it stands there."""
        if self.inside:
            check_inside(self.folder.path, self.subject, self.stream.protocols, self.config)
        else:
            check_folder(self.folder.path, self.overwrite)
        return results_file(self.folder.path)

    def _results(self, argv: list[str] | None) -> StreamResults:
        run = self.subject.run.results if self.subject.run else None
        if self.inside and run is not None:
            check_same_data(run, [task_record(task) for task in self.tasks], whole=True)
            return run
        settings = self.stream.to_dict() | self.config.to_dict() | {PROCESSES: self.config.world_size}
        if self.subject.whole:
            results = run_results(self.subject, self.own, settings, self.tasks)
        else:
            results = single_results(self.subject, settings, self.tasks)
        secrets = [self.subject.token, get_token()]
        results.provenance = provenance(self.accelerator, argv, secrets, results.method, "mulki_hf.evaluate")
        results.versions = library_versions()
        return results

    def _plan(self, row: int | None) -> Row:
        looked_at = self.looked_at if row == self.row else []
        owns = {name: self.results.of(name) for name in self.results.protocols}
        rows = {name: own.zero_shot if row is None else own.accuracy[row] for name, own in owns.items()}
        gaps = [name for name, cells in rows.items() if None in cells]
        headline = [self.results.protocol] if looked_at else []
        asked = list(dict.fromkeys([*headline, *gaps]))
        count, run = len(self.tasks), self.subject.run.results if self.subject.run else None
        position = row if self.subject.whole else self.subject.position
        learned = 0
        if self.own and run is not None and position is not None:
            learned = count if run.stages is not None else position + 1
        # A model that stays as it is counts as the one after each of the tasks, on all of them.
        columns = self.results.unmeasured(row) if self.results.learned or not gaps else range(count)
        only = sorted({*columns, *looked_at})
        later = () if self.results.learned else range(1, count + 1)
        return Row(asked, gaps, only, [learned, *later], bool(looked_at))

    # The life

    @contextmanager
    def begin(self) -> Iterator[None]:
        """Make the folder. Inside the block nobody else can write there; one that stays empty is gone after it."""
        new = not self.folder.path.exists()
        self.on_main(lambda: self.folder.take(self.found))
        try:
            yield
        except BaseException as error:
            error.add_note(self.standing)
            raise
        finally:
            if self.accelerator.is_main_process:
                # What an unfinished run has computed there, it goes on with.
                if len(self.results.accuracy) == len(self.results.learned) or not self.inside:
                    self.folder.finish([])
                self.folder.lock.release()
                if new:
                    with suppress(OSError):  # it holds something
                        self.folder.path.rmdir()

    def measure(self) -> None:
        """Evaluate the models that have cells to fill, in order."""
        tasks, by = ", ".join(self.results.names), ", ".join(self.stream.protocols)
        processes = f"{self.accelerator.num_processes} process(es), {self.accelerator.device.type}"
        self.accelerator.print(f"{self.subject.source} on {tasks}; by {by}; on {processes}")
        with Passes(self.config, self.accelerator.is_main_process, len(self.plan)) as passes:
            for number, (row, plan) in enumerate(self.plan.items(), start=1):
                self._measure(row, plan, passes)
                if self.inside and plan.gaps:
                    self.on_main(lambda: self.results.save(self.folder.path))
                    self.standing = (
                        f"{number} of {len(self.plan)} models are measured, and in the results in {self.folder.path}; "
                        "the same command goes on"
                    )

    def _measure(self, row: int | None, plan: Row, passes: Passes) -> None:
        name = self.name(row)
        seen = ConfusionCounts(self.evaluator, self.looked_at) if plan.looked_at else None
        model = self.loads[row]()
        self.results.base.encoder = encoder_record(model)
        with passes.evaluating(name):
            cells = self.evaluator.cells(model, plan.learned, name, plan.protocols, plan.only, seen)
        self.counts = seen or self.counts
        self.results.fill(row, {protocol: cells[protocol][0] for protocol in plan.gaps})
        if row is None:
            self.results.warn(zero_shot_warnings(self.results))
        if not self.results.learned:
            self.results.stayed({protocol: cells[protocol][1:] for protocol in plan.gaps})
        if len(plan.only) == len(self.tasks):
            means = ", ".join(f"{percent(average(cells[name][0]))} % ({name})" for name in plan.protocols)
            self.accelerator.print(f"{name}: {means} on average")

    def close(self) -> None:
        """Write and print the results."""
        shown = [self._confusion(position) for position in self.looked_at] if self.counts else []
        self.on_main(lambda: self._put(shown))
        print_ = self.accelerator.print
        print_(f"\n{full_tables(self.results)}")
        for confusion in shown:
            if confusion.task in self.per_class:
                print_(f"\n{confusion.task}, {confusion.protocol}: {confusion.model}\n\n{class_table(confusion)}")
        if self.absent:
            names = ", ".join(map(self.name, self.absent))
            print_(f"\nLeft empty after {names}, for want of a checkpoint: {next(iter(self.absent.values()))}")
        elif not self.plan:
            print_(f"\n{self.folder.path} has all of these already; with --output_dir they are measured again")
        print_(f"\nResults and pictures: {self.folder.path}")

    def name(self, row: int | None) -> str:
        """Of a model, as the table's row has it."""
        return self.results.first_row if row is None else self.results.stage_names[row]

    def _confusion(self, position: int) -> Confusion:
        assert self.counts is not None
        words = self.name(self.row) if self.row is None else f"after {self.name(self.row)}"
        return Confusion.of(self.results, position, words, self.counts.tables[position].tolist())

    def _put(self, shown: list[Confusion]) -> None:
        path = self.folder.path
        if self.inside:
            self.standing = f"the figures are in {path}, but not yet all pictures; the same command draws them"
            self._write(path, shown)
            return
        look_up_licences(self.results, self.subject.token)
        with self.folder.replacing() as new:
            self.results.save(new)
            self._write(new, shown)
            self.standing = f"the new results were on their way into {path}; start again with --overwrite"

    def _write(self, path: Path, shown: list[Confusion]) -> None:
        draw(self.results, path)
        stage = "" if self.row is None else f"task{self.row + 1}-"
        model = re.sub(r"[^\w.+-]", "-", f"{stage}{self.name(self.row)}")
        for confusion in shown:
            (path / FOLDER).mkdir(exist_ok=True)
            if confusion.task in self.per_class:
                write_classes(confusion, path / FOLDER / f"per_class_{confusion.task}_{model}.csv")
            if confusion.task in self.confusion:
                write_counts(confusion, path / FOLDER / f"confusion_{confusion.task}_{model}.csv")
                plot_confusion(confusion, path / FOLDER / f"confusion_{confusion.task}_{model}.png")


def stream_names(stream: StreamConfig) -> list[str]:
    """The names of a stream's tasks, told without their data."""
    names = []
    for task in stream.task_configs():
        names += [task.name] if isinstance(task, Task) else task.task_names
    return names
