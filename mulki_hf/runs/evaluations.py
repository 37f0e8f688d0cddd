"""The results of an evaluation without training: new ones, or a run's own that get what they lack."""

import dataclasses
import re
from collections.abc import Collection, Iterable
from pathlib import Path
from typing import Any

from ..config import MulKIConfig
from ..config.evaluating import FIGURES
from ..data.tasks import Task
from ..errors import ConfigurationError, shown
from ..hub.outbox import Outbox
from ..records import TaskRecord
from ..report.checkpoint import picture_names
from ..report.classes import FOLDER as CLASSES
from ..results import StreamResults
from .checkpoints import lost_rows
from .disk import check_output
from .folder import UNFINISHED, begun_tasks, finished_tasks, named_pictures
from .lock import check_free
from .records import describe_base, new_results, task_record
from .resume import changed_data
from .sources import LAST, Run
from .subjects import MODEL, Subject


def same_tasks(subject: Subject, names: list[str]) -> bool:
    """Whether a stream of tasks `names` is the one that the subject learned from, or begins with it."""
    if subject.run is None:
        return False
    learned = subject.run.results
    # Of all tasks together a model of fewer has learned something else.
    known = names if learned.stages is not None else names[: len(learned.names)]
    return not learned.elsewhere and learned.names == known


def check_run(subject: Subject, own: bool, protocols: list[str]) -> None:
    """Refuse of a whole run what can't be evaluated; `own` is whether the tasks are its own.

    Raises:
        ConfigurationError: none of its tasks is finished, or a protocol has no meaning on another stream's tasks.
    """
    if not subject.whole or subject.run is None or not subject.run.results.learned:
        return
    if not subject.run.results.finished:
        raise ConfigurationError(
            f"{MODEL}: {subject.source!r} is a run none of whose tasks is finished; it has no checkpoint to evaluate"
        )
    if not own and "cil" in protocols:
        raise ConfigurationError(
            f"protocols: cil is about the tasks that a model has learned so far, and those of this stream are not what "
            f"{subject.source!r} learned: take til, xtail or both"
        )


def check_same_data(run: StreamResults, records: list[TaskRecord], whole: bool) -> None:
    """Raise `ConfigurationError` unless tasks of equal names have the classes or, with `whole`, the data of the run."""
    for was, now in zip(run.tasks, records, strict=False):
        change = changed_data(was, now) if whole or was.class_names != now.class_names else None
        if change is not None:
            raise ConfigurationError(
                f"task {was.name!r} is not what the run was evaluated on: {change}"
                + ("; give it the old data, or another output_dir" if whole else "; rename it, or give it the old ones")
            )


def single_results(subject: Subject, settings: dict[str, Any], tasks: list[Task]) -> StreamResults:
    """Results of a model as it is; nothing is measured yet."""
    base = describe_base(subject.source, subject.revision, None)
    if subject.run is not None and subject.base is not None:
        # An adapter's folder is called alike in every task's.
        base.name = f"{Path(subject.source).absolute().parent.name}/{base.name}"
    results = new_results(settings, tasks, base, None)
    results.elsewhere = True
    results.about.summary = "No training: the model was evaluated as it is. " + _origin(subject)
    results.about.settings, results.about.prototypes = {}, False
    return results


def _origin(subject: Subject) -> str:
    if subject.run is not None and subject.position is not None:
        run = subject.run.results
        name = run.stage_names[subject.position]
        return f"It is what `{run.method}` made of {run.base.name} up to stage {subject.position + 1}, {name}."
    if subject.base is not None:
        return f"It is an adapter merged into its base, {Path(subject.base[0]).name}."
    return "Whatever it was trained on before is not known here."


def run_results(subject: Subject, own: bool, settings: dict[str, Any], tasks: list[Task]) -> StreamResults:
    """Results of a run's models, a row each, on its own tasks or on others; nothing is measured yet."""
    assert subject.run is not None
    was = subject.run.results
    records = [task_record(task) for task in tasks]
    if own:
        check_same_data(was, records, whole=False)
        learning = ("seconds", "facts", "note", "steps", "provenance")
        for number, before in enumerate(was.tasks):
            told = {name: getattr(before, name) for name in learning}
            records[number] = dataclasses.replace(records[number], **told, license=before.license)
    return dataclasses.replace(
        was,
        protocol=settings["protocols"][0],
        tasks=records,
        zero_shot=[],
        accuracy=[],
        metrics={},
        others={},
        config=was.config | {name: settings[name] for name in (*FIGURES, "output_dir")},
        stages=was.stages if own else was.learned[: was.finished],
        elsewhere=not own,
    )


def add_protocols(results: StreamResults, protocols: Iterable[str], stages: int) -> None:
    """Give `results` empty cells by more protocols, for the model before training and those after `stages` stages."""
    count = len(results.tasks)
    for name in protocols:
        results.measured({name: [None] * count})
        results.of(name).accuracy = [[None] * count for _ in range(stages)]
    results.config["protocols"] = results.protocols


def absent_rows(run: Run, rows: Iterable[int], needed: Collection[int]) -> dict[int, str]:
    """Of the `rows` of a run those whose models are not at hand, and why.

    Raises:
        ConfigurationError: one of them is `needed`; says what can be evaluated in its place.
    """
    absent = lost_rows(run, rows)
    if lost := [row for row in needed if row in absent]:
        there = [place for row, place in enumerate(run.checkpoints) if place is not None and row not in absent]
        instead = f", or evaluate one that is there by itself: mulki-hf evaluate {there[-1]}" if there else ""
        raise ConfigurationError(f"{absent[lost[0]]}: bring it back{instead}")
    return absent


def check_inside(path: Path, subject: Subject, protocols: list[str], config: MulKIConfig) -> None:
    """Refuse to add figures to a run's own.

    Raises:
        ConfigurationError: somebody is writing there, something else has a picture's name, or the precision is another.
    """
    assert subject.run is not None
    run = subject.run.results
    check_output(path)
    check_free(path / UNFINISHED)
    for name in ("bf16", "fp16"):
        was, now = bool(run.config.get(name)), bool(getattr(config, name))
        if was != now:
            raise ConfigurationError(
                f"{name} was {was} in the run and is now {now}, which gives other figures: leave it, or give another "
                "output_dir"
            )
    drawn = named_pictures(path)
    added = [*run.protocols, *(name for name in protocols if name not in run.protocols)]
    if taken := [name for name in picture_names(added) if name not in drawn and (path / name).exists()]:
        raise ConfigurationError(
            f"{str(path)!r} holds {', '.join(taken)}, which the run did not draw and which this would write over: "
            "move it"
        )


def default_output(source: str) -> str:
    """Where results go that belong to no run: `evaluated-MODEL`, in the working directory."""
    name = Path(source).resolve().name if Path(source).exists() else source.partition("@")[0].rpartition("/")[2]
    return "evaluated-" + re.sub(r"[^\w.+-]", "-", name)


def check_folder(path: Path, overwrite: bool) -> None:
    """Refuse an `output_dir` that holds anything but an earlier evaluation, and that too unless told to overwrite it.

    Raises:
        ConfigurationError: names what is there.
    """
    check_output(path)
    check_free(path / UNFINISHED)
    if not path.is_dir():
        return
    if finished_tasks(path) or begun_tasks(path) or (path / Outbox.FILE).exists():
        raise ConfigurationError(
            f"output_dir {str(path)!r} holds a run that was trained: an evaluation goes to a folder of its own, or "
            "without --output_dir into the run that it is of"
        )
    results = (path / StreamResults.FILE).is_file()
    own = {StreamResults.FILE, CLASSES, UNFINISHED, *named_pictures(path)} if results else {UNFINISHED}
    there = sorted(entry.name for entry in path.iterdir())
    if foreign := [name for name in there if name not in own]:
        raise ConfigurationError(
            f"output_dir {str(path)!r} holds {', '.join(map(shown, foreign[:5]))}, which no evaluation wrote: choose "
            "another, or move it"
        )
    if results and not overwrite:
        raise ConfigurationError(
            f"output_dir {str(path)!r} holds results already: choose another, or replace them with --overwrite"
        )


def check_checkpoint(subject: Subject, asked: str | None, looked_at: bool) -> int | None:
    """The row that `--checkpoint` means: None for the first, else the position of a stage; by default the last.

    Raises:
        ConfigurationError: there is no such checkpoint, or no answers of it are `looked_at`.
    """
    if asked is not None and not looked_at:
        raise ConfigurationError("checkpoint says whose answers --per_class and --confusion show: give one of them too")
    if not subject.whole or subject.run is None:
        if asked is not None:
            raise ConfigurationError(f"checkpoint: {subject.source!r} is one model; a run's folder has several")
        return None
    return subject.run.row(asked or LAST)
