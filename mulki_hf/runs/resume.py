"""May a run go on, and from what? Every reason for `--resume` to refuse is here."""

import dataclasses
import logging
from dataclasses import dataclass
from pathlib import Path
from types import SimpleNamespace
from typing import Any

from ..config import MulKIConfig, StreamConfig
from ..config.paths import shareable_settings
from ..config.recipes import decisive, settled_defaults
from ..data.task_config import TaskConfig
from ..data.tasks import Task
from ..data.unlabelled import Reference
from ..embedded import EMBEDDED_MODELS
from ..errors import ConfigurationError, shown
from ..evaluation.protocols import PROTOCOLS
from ..hub.fetch import fetch_file, pinned
from ..manifest import manifest_fault
from ..objectives import FORMER_SETTINGS, find_objective, objective_of
from ..records import ReferenceRecord, TaskRecord
from ..results import StreamResults, task_folder
from .batches import PROCESSES, SHARES, check_batches
from .checkpoints import check_finished, lost_rows
from .disk import check_output
from .folder import UNFINISHED, all_taken_up, finished_tasks, half_cleared, holds_run, named_folders, results_file
from .lock import check_free
from .records import describe_base, describe_method, new_results, reference_record, task_record
from .sources import Run


logger = logging.getLogger(__name__)

TASK_DEFAULTS = {
    field.name: field.default for field in dataclasses.fields(TaskConfig) if field.default is not dataclasses.MISSING
}
"""What a task's entry says by not naming a field."""


@dataclass
class Earlier:
    """What a run goes on from.

    Attributes:
        results (*optional*): of the run so far.
        source (*optional*): the checkpoint on the Hub that they are of, with its commit, when they come from there.
        found (*optional*): `results.json` of the output folder as this run found it.
        clear: what the folder holds is to be deleted, as told, or as a run was told that did not come to its end.
    """

    results: StreamResults | None = None
    source: str | None = None
    found: bytes | None = None
    clear: bool = False


def find_earlier(output: Path, stream: StreamConfig, token: str | None) -> Earlier:
    """What there is to go on from, if anything; refuses a folder in use unless told to resume or overwrite.

    Told to resume where nothing was written yet, the stream begins.
    """
    check_output(output)
    check_free(output / UNFINISHED)
    found = results_file(output)
    clear = stream.overwrite or (stream.resume and half_cleared(output))
    if stream.resume and not clear:
        if found is not None:
            return Earlier(StreamResults.load(output), found=found)
        finished = [folder.name for folder in finished_tasks(output)]
        # What comes from the Hub is there before it is recorded, and comes again.
        if finished and not (stream.resume_from_hub and all_taken_up(output, finished)):
            raise ConfigurationError(
                f"resume: output_dir {str(output)!r} holds finished tasks ({', '.join(finished)}) but no "
                f"{StreamResults.FILE}, which says of what: put it back, or start anew in another output_dir or with "
                "--overwrite"
            )
        if not holds_run(output):
            logger.warning(f"resume: output_dir {str(output)!r} holds no run yet; the stream begins")
    elif holds_run(output):
        if not clear:
            raise ConfigurationError(
                f"output_dir {str(output)!r} holds the results of a run: choose another, go on with --resume, "
                "or delete them with --overwrite"
            )
        try:
            named_folders(output)
        except ConfigurationError as error:
            raise ConfigurationError(
                f"overwrite: {error}; what is the run's in output_dir {str(output)!r} can't be told: delete the folder "
                "by hand, or choose another"
            ) from error
    if stream.resume_from_hub is None:
        return Earlier(found=found, clear=clear)
    source = pinned(stream.resume_from_hub, token)
    results = StreamResults.load(fetch_file(source, StreamResults.FILE, token).parent)
    base = stream.model_name_or_path
    if results.base.hub_id is None and base not in EMBEDDED_MODELS and not Path(base).exists():
        raise ConfigurationError(
            f"resume_from_hub {stream.resume_from_hub!r}: the stream started from {base!r}, a folder on another "
            "machine; give it with model_name_or_path"
        )
    return Earlier(results, source, found, clear)


def start_results(
    earlier: Earlier, stream: StreamConfig, config: MulKIConfig, tasks: list[Task], reference: Reference | None
) -> StreamResults:
    """New results, or the earlier ones, the stream being configured the same."""
    settings = stream.to_dict() | config.to_dict() | {PROCESSES: config.world_size}
    results, images = earlier.results, reference_record(reference)
    if results is None:
        base = describe_base(stream.model_name_or_path, stream.model_revision, config.license)
        return new_results(settings, tasks, base, images)
    records = [task_record(task) for task in tasks]
    check_unchanged(results, earlier.source, settings, [task.name for task in tasks])
    check_data(results, earlier.source, records[: len(results.tasks)], images)
    stale = [name for name, protocol in PROTOCOLS.items() if protocol.of_all_tasks and name in results.protocols]
    if len(records) > len(results.tasks) and results.finished and stale and not stream.fill_rows:
        logger.warning(
            f"fill_rows is false: by {', '.join(stale)} the classes of appended tasks compete for every image, so that "
            "no cell of earlier rows means what it meant; they are left empty. What they were stands in the results of "
            f"the folder of task {results.stage_names[results.finished - 1]!r}"
        )
    results.append(records[len(results.tasks) :], stale)
    if config.license is not None:
        results.base.license = config.license
    # From here on a run from the Hub has this machine's settings; any other has its own, and those that are new.
    results.config = settings if earlier.source else settings | results.config
    results.config |= {"tasks": settings["tasks"], "protocols": results.protocols}
    results.config |= {name: settings[name] for name in SHARES}
    describe_method(results)
    return results


def damaged_tasks(results: StreamResults, output: Path) -> int:
    """How many of the last finished tasks are damaged, and to be learned again before the stream goes on.

    Raises:
        ConfigurationError: the task that the next one starts from is not there, or damaged where the one before it is
            not there either.
    """
    artefact, damaged = results.artefact.folder if results.artefact else None, 0
    while results.finished - damaged > 0 and results.finished < len(results.learned):
        last, *before = (
            task_folder(output, results.stage_names, position)
            for position in reversed(range(results.finished - damaged))
        )
        fault = manifest_fault(last, f"{artefact}/" if artefact else "") if last.is_dir() else None
        if fault is None or (before and not before[0].is_dir()):
            check_finished(last, artefact)
            break
        logger.warning(f"{fault}: task {last.name.partition('-')[2]!r} is learned again")
        damaged += 1
    return damaged


def check_unchanged(results: StreamResults, source: str | None, settings: dict[str, Any], names: list[str]) -> None:
    """Raise `ConfigurationError` unless `results` are of this stream and, from the Hub, leave something to learn."""
    where = "resume_from_hub" if source else "resume"
    # What comes from the Hub was made shareable there.
    now = decisive(shareable_settings(settings) if source else settings)
    # A setting that came after the run began has its default: nobody could ask for another.
    was = decisive(settled_defaults(settings) | results.config)
    former = [name for name in FORMER_SETTINGS.get(results.method, ()) if name in results.config]
    if former and results.finished < len(results.learned):
        raise ConfigurationError(
            f"{where}: the run began with {results.method} as an older version had it, with {former[0]} and other "
            "equations; go on with that version, or start anew"
        )
    # How many processes there were is unknown of older runs.
    batches = {PROCESSES: settings[PROCESSES]} | results.config
    shares: set[str] = set()
    if int(batches[PROCESSES]) != settings[PROCESSES]:
        check_batches(batches, settings, objective_of(SimpleNamespace(**settings)), where)
        shares = {*SHARES}
    if results.protocols[0] != settings["protocols"][0] or not {*settings["protocols"]} <= {*results.protocols}:
        raise ConfigurationError(
            f"{where}: protocols were {', '.join(results.protocols)} and are now {', '.join(settings['protocols'])}; a "
            "stream goes on with its headline, the first, and those that it has: `mulki-hf evaluate` adds others"
        )
    for name in sorted((was.keys() & now.keys()) - {"tasks", "protocols"} - shares):
        if was[name] != now[name]:
            raise ConfigurationError(
                f"{where}: {name} was {was[name]!r} and is now {settings[name]!r}; a stream can only go on as it began"
            )
    check_appended(was["tasks"], now["tasks"], results.method, where)
    if results.names != names[: len(results.tasks)]:
        raise ConfigurationError(f"{where}: the results are of the tasks {results.names}, the stream's are {names}")
    if source and not 0 < results.finished < len(names):
        raise ConfigurationError(
            f"resume_from_hub {source.partition('@')[0]!r}: {results.finished} of the stream's {len(names)} "
            "tasks are learned there; nothing to go on with"
        )


def check_appended(was: list[dict[str, Any]], now: list[dict[str, Any]], method: str, where: str) -> None:
    """Raise `ConfigurationError` unless the tasks of a stream are those that it began with, or more behind them.

    Args:
        was, now: the entries of `tasks`.
        method: of the stream.
        where: who asks, for the message.
    """
    names = [[str(task["name"]) for task in tasks] for tasks in (was, now)]
    if names[1][: len(was)] != names[0]:
        gone = [name for name in names[0] if name not in names[1]]
        what = f"{', '.join(gone)} went" if gone else "they come in another order, or with others between them"
        raise ConfigurationError(
            f"{where}: the stream began with the tasks {', '.join(names[0])}, and now they are {', '.join(names[1])}: "
            f"{what}; new tasks can only be appended"
        )
    for before, after in zip(was, now, strict=False):
        task = [TASK_DEFAULTS | entry for entry in (before, after)]
        for name in sorted(task[0].keys() | task[1].keys()):
            values = [entry.get(name) for entry in task]
            if values[0] != values[1]:
                raise ConfigurationError(
                    f"{where}: {name} of task {before['name']!r} was {shown(values[0])} and is now {shown(values[1])}; "
                    "a stream can only go on as it began, with new tasks behind those that it has"
                )
    if len(now) > len(was) and find_objective(method, load=False).learns == "all":
        raise ConfigurationError(
            f"{where}: method {method!r} learns all tasks at once, so none can be appended to the {len(was)} that the "
            "run began with; start anew in another output_dir"
        )


def check_rows(run: Run) -> None:
    """Refuse a stream with empty cells in the rows of earlier tasks whose models can't be measured any more.

    Raises:
        ConfigurationError: a checkpoint is missing or damaged; names the task.
    """
    results = run.results
    for position, fault in lost_rows(run, filter(results.unmeasured, range(results.finished))).items():
        raise ConfigurationError(
            f"fill_rows: {fault}; the accuracy on appended tasks after task {results.stage_names[position]!r} can't be "
            "measured: bring it back, or leave those cells empty with --fill_rows false"
        )


def check_data(
    results: StreamResults, source: str | None, tasks: list[TaskRecord], reference: ReferenceRecord | None
) -> None:
    """Raise `ConfigurationError` unless tasks and reference images are those that `results` are of."""
    where = "resume_from_hub" if source else "resume"
    pairs: list[tuple[str, Any, Any]] = [
        (f"task {was.name!r} is", was, now) for was, now in zip(results.tasks, tasks, strict=True)
    ]
    if results.reference is not None and reference is not None:
        pairs.append(("the reference images are", results.reference, reference))
    for what, was, now in pairs:
        change = changed_data(was, now)
        if change is not None:
            raise ConfigurationError(
                f"{where}: {what} not what the run began with: {change}; give it the old data, or start anew"
            )


def changed_data(was: TaskRecord | ReferenceRecord, now: TaskRecord | ReferenceRecord) -> str | None:
    """What differs between the records of one set of data, shortened; None: nothing, so far as it was recorded."""
    for name in ("class_names", "templates"):
        old, new = getattr(was, name, []), getattr(now, name, [])
        if old != new:
            gone, come = ([entry for entry in one if entry not in other] for one, other in ((old, new), (new, old)))
            if not gone and not come:
                return f"{name} come in another order"
            return f"of its {name} {_listed(gone)} went and {_listed(come)} came"
    for name in ("settings", "eval_templates"):
        old, new = getattr(was, name, None), getattr(now, name, None)
        if old != new:
            return f"its own {name} were {shown(old)} and are now {shown(new)}"
    for name in ("training_images", "evaluation_images", "images", "texts"):
        counts = getattr(was, name, None), getattr(now, name, None)
        if counts[0] != counts[1]:
            return f"{name} were {counts[0]} and are now {counts[1]}"
    # What stands behind a dash is not always read: validation data, for one, only where there are evaluations on them.
    fingerprints = zip((was.fingerprint or "").split("-"), (now.fingerprint or "").split("-"), strict=False)
    if any(old and new and old != new for old, new in fingerprints):
        what = "images and texts" if isinstance(now, ReferenceRecord) and now.texts else "images"
        return f"as many {what}, but other ones, with other labels or in another order"
    return None


def _listed(entries: list[str]) -> str:
    more = f", ... ({len(entries)} in all)" if len(entries) > 5 else ""
    return ", ".join(map(shown, entries[:5])) + more or "none"
