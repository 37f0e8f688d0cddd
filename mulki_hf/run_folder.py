"""The folder of a run: refuse, resume or clear it before training, and what a finished task leaves in it."""

import dataclasses
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import TypeVar

from accelerate import Accelerator
from accelerate.utils import broadcast_object_list
from datasets import Dataset

from .command_line import RECIPE_FILE, write_recipe
from .config import CONSTANT_FIELDS, MulKIConfig, StreamConfig
from .embedded import EMBEDDED_MODELS
from .errors import ConfigurationError
from .hub import Outbox, fetch_checkpoint, fetch_file, pinned
from .model_card import ADAPTER_FOLDER, describe_base, save_card
from .plots import plot_accuracy_matrix, plot_curves
from .provenance import shareable
from .results import ReferenceRecord, StreamResults
from .tasks import Task, dataset_name


UNFINISHED = "unfinished"
T = TypeVar("T")
PICTURES = ("accuracy_matrix.png", "curves.png")


def task_folder(output: Path, names: list[str], position: int) -> Path:
    """Folder of a task's checkpoint, `task3-greek` for position 2."""
    return output / f"task{position + 1}-{names[position]}"


# Before training


def earlier_results(output: Path, stream: StreamConfig, token: str | None) -> tuple[StreamResults | None, str | None]:
    """The results to go on from, if any; refuses a folder in use unless told to resume or overwrite.

    Returns:
        The results, and the checkpoint on the Hub that they are of, with its commit, when they come from there.
    """
    if output.exists() and not output.is_dir():
        raise ConfigurationError(f"output_dir {str(output)!r} is a file, not a folder")
    holds_run = (output / StreamResults.FILE).exists() or (output / UNFINISHED).exists()
    if stream.resume:
        if not holds_run:
            raise ConfigurationError(f"resume: output_dir {str(output)!r} holds no run to go on with")
        return StreamResults.load(output) if (output / StreamResults.FILE).exists() else None, None
    if holds_run and not stream.overwrite:
        raise ConfigurationError(
            f"output_dir {str(output)!r} holds the results of a run: choose another, go on with --resume, "
            "or delete them with --overwrite"
        )
    if stream.resume_from_hub is not None:
        source = pinned(stream.resume_from_hub, token)
        earlier = StreamResults.load(fetch_file(source, StreamResults.FILE, token).parent)
        base = stream.model_name_or_path
        if earlier.base.hub_id is None and base not in EMBEDDED_MODELS and not Path(base).exists():
            raise ConfigurationError(
                f"resume_from_hub {stream.resume_from_hub!r}: the stream started from {base!r}, a folder on another "
                "machine; give it with model_name_or_path"
            )
        return earlier, source
    return None, None


def start_results(
    earlier: StreamResults | None,
    source: str | None,
    stream: StreamConfig,
    config: MulKIConfig,
    tasks: list[Task],
    reference: Dataset | None,
) -> StreamResults:
    """New results, or the earlier ones (`source`: from the Hub), the stream being configured the same."""
    settings = dataclasses.asdict(stream) | config.to_dict()
    if earlier is None:
        return StreamResults(
            config.method,
            stream.protocol,
            [task.record() for task in tasks],
            describe_base(stream.model_name_or_path, stream.model_revision, config.license),
            reference=reference_record(stream, reference),
            config=settings,
        )
    where, seen = ("resume_from_hub", shareable) if source else ("resume", lambda value: value)
    for name in sorted(CONSTANT_FIELDS):
        if earlier.config.get(name) != seen(settings[name]):
            raise ConfigurationError(
                f"{where}: {name} was {earlier.config.get(name)!r} and is now {settings[name]!r}; "
                "a stream can only go on as it began"
            )
    names = [task.name for task in tasks]
    if earlier.names != names or any(len(row) != len(names) for row in (earlier.zero_shot, *earlier.accuracy)):
        raise ConfigurationError(f"{where}: the results are of the tasks {earlier.names}, the stream's are {names}")
    if config.license is not None:
        earlier.base.license = config.license
    if source:
        if not 0 < earlier.finished < len(names):
            raise ConfigurationError(
                f"resume_from_hub {stream.resume_from_hub!r}: {earlier.finished} of the stream's {len(names)} tasks "
                "are learned there; nothing to go on with"
            )
        earlier.config = settings
    return earlier


def reference_record(stream: StreamConfig, reference: Dataset | None) -> ReferenceRecord | None:
    """What the results say of the reference images."""
    if reference is None:
        return None
    return ReferenceRecord(dataset_name(stream.reference_dataset), len(reference), reference.info.license or None)


def prepare_folder(
    output: Path,
    stream: StreamConfig,
    results: StreamResults,
    source: str | None,
    outbox: Outbox | None,
    token: str | None,
) -> None:
    """Make the folder: cleared of an earlier run when told to overwrite, with the checkpoint `source` to go on from."""
    checkpoint = fetch_checkpoint(source, token) if source else None
    output.mkdir(parents=True, exist_ok=True)
    if stream.overwrite:
        markers = ("config.json", "adapter/adapter_config.json")
        folders = {output / path.relative_to(output).parts[0] for m in markers for path in output.glob(f"task*-*/{m}")}
        for folder in [*folders, output / UNFINISHED, output / "runs"]:
            shutil.rmtree(folder, ignore_errors=True)
        for name in (StreamResults.FILE, Outbox.FILE, *PICTURES):
            (output / name).unlink(missing_ok=True)
    if checkpoint is not None:
        folder = task_folder(output, results.names, results.finished - 1)
        shutil.copytree(checkpoint, folder, ignore=shutil.ignore_patterns(".*"), dirs_exist_ok=True)
        outbox = outbox or Outbox(output)
        outbox.record_elsewhere(folder.name, source)
        if (folder / ADAPTER_FOLDER).is_dir():
            outbox.record_elsewhere(f"{folder.name}/{ADAPTER_FOLDER}", source)
        save_results(results, output)


def on_main_process(accelerator: Accelerator, action: Callable[[], T], share: bool = False) -> T | None:
    """The value of `action` on the main process, with `share` on every rank, else None there.

    An error is raised on all ranks, so that none waits for one that has stopped.
    """
    message, failure = [None, None], None
    if accelerator.is_main_process:
        try:
            message[0] = action()
        except Exception as error:
            failure, message = error, [None, (isinstance(error, ConfigurationError), str(error))]
    told = message if share or failure else [None, None]
    broadcast_object_list(told)
    if failure is not None:
        raise failure
    if told[1] is not None:
        mendable, text = told[1]
        raise ConfigurationError(text) if mendable else RuntimeError(f"on the main process: {text}")
    return told[0] if share else message[0]


# After a task


def save_results(results: StreamResults, folder: Path) -> None:
    """`results.json` and the two pictures."""
    results.save(folder)
    plot_accuracy_matrix(results, folder / PICTURES[0])
    plot_curves(results, folder / PICTURES[1])


def describe_checkpoint(folder: Path, results: StreamResults, repo_id: str | None) -> None:
    """Beside a task's weights: results so far, pictures, recipe and card, so that the folder stands by itself."""
    shared = dataclasses.replace(results, config=shareable(results.config))
    save_results(shared, folder)
    write_recipe(shared.config, folder / RECIPE_FILE)
    save_card(shared, folder, repo_id)


def keep_logs(training_dir: Path, logs: Path) -> None:
    """Delete a finished task's training state but for what `report_to` wrote there."""
    if (training_dir / "runs").is_dir():
        shutil.copytree(training_dir / "runs", logs, dirs_exist_ok=True)
    shutil.rmtree(training_dir, ignore_errors=True)
