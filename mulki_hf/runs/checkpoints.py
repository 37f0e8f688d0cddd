"""Checkpoints on disk: which of Trainer's to go on from, and whether a finished task's is whole."""

import json
import logging
import re
import zipfile
from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import numpy as np
from safetensors import SafetensorError, safe_open
from torch.serialization import get_unsafe_globals_in_checkpoint
from transformers import TrainerState
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME
from transformers.trainer_pt_utils import safe_globals
from transformers.trainer_utils import rotate_checkpoints

from ..adaptation.averaging import MappedTensors, WeightAverage
from ..durable import remove
from ..errors import ConfigurationError
from ..manifest import has_manifest, manifest_fault, write_manifest
from .sources import Run


logger = logging.getLogger(__name__)

STATE = (TRAINER_STATE_NAME, OPTIMIZER_NAME, SCHEDULER_NAME)
"""What a checkpoint of Trainer's must hold beside weights for the task to end as one that was not interrupted."""
PICKLED = (".pt", ".pth")
"""What Trainer pickles, beside its arguments, which nobody reads."""
WEIGHTS = ("model*.safetensors", "adapter_model*.safetensors")
"""As Trainer and PEFT write what is trained. Adapters in folders of their own are frozen: the previous task's."""


def last_checkpoint(folder: str | Path, averaged: bool = False) -> str | None:
    """The newest of Trainer's checkpoints in `folder` that is complete and undamaged; says which it passes over.

    One whose writing was interrupted has no manifest yet. Names without a number are no steps, and ignored.

    Args:
        folder: where Trainer works.
        averaged (`bool`): it must hold a weight average.
    """
    passed_over: list[str] = []
    for path in reversed(steps_of(Path(folder)).values()):
        fault = _foreign(path, folder)
        fault = fault or (fault_of(path, averaged) if has_manifest(path) else f"{path} was not finished")
        if fault is None:
            if passed_over:
                logger.warning(f"{'; '.join(passed_over)}: going on from {path} instead")
            return str(path)
        passed_over.append(fault)
    if passed_over:
        logger.warning(f"{'; '.join(passed_over)}: there is no other checkpoint, so the task begins anew")
    return None


@contextmanager
def whole_checkpoint(args: Any, state: TrainerState, wait: Callable[[], None]) -> Iterator[Path]:
    """A checkpoint that Trainer fills inside the block; it counts from its manifest on, and older ones go after that.

    Args:
        args: Trainer's, of this rank.
        state ([`TrainerState`]): at the step that is saved.
        wait: for all ranks, each of which writes its own part.
    """
    checkpoint = Path(args.output_dir) / f"checkpoint-{state.global_step}"
    if args.should_save:
        remove(checkpoint)  # of a run before this one, damaged or half written
    wait()
    # Trainer deletes older ones as soon as it has written, before this one is on the disk.
    limit, args.save_total_limit = args.save_total_limit, None
    try:
        yield checkpoint
    finally:
        args.save_total_limit = limit
    wait()
    if args.should_save:
        write_manifest(checkpoint)
        rotate_checkpoints(args.output_dir, limit, state.best_model_checkpoint)


def steps_of(folder: Path) -> dict[int, Path]:
    """Trainer's checkpoints in a folder, whole or not, by their steps, in order."""
    named = ((re.fullmatch(r"checkpoint-(\d+)", path.name), path) for path in folder.glob("checkpoint-*"))
    return dict(sorted((int(number[1]), path) for number, path in named if number and path.is_dir()))


def _foreign(checkpoint: Path, folder: str | Path) -> str | None:
    """Which part of a checkpoint is a link that leads out of `folder`: what it leads to no run of ours wrote."""
    home = Path(folder).resolve()
    for path in (checkpoint, *checkpoint.rglob("*")):
        if not path.resolve().is_relative_to(home):
            return f"{path} is a link that leads out of {folder}"
    return None


def chosen_checkpoint(resume_from_checkpoint: str | bool | None, folder: str, averaged: bool = False) -> str | None:
    """What `Trainer.train`'s argument means: a checkpoint, with True the last one in `folder`; none unless asked for.

    With `averaged` it must hold a weight average.

    Raises:
        ConfigurationError: there is no complete one, or it is damaged; names the file.
    """
    if not resume_from_checkpoint:
        return None
    # Trainer would also take a last one whose writing was interrupted.
    checkpoint = last_checkpoint(folder, averaged) if resume_from_checkpoint is True else resume_from_checkpoint
    if checkpoint is None or not (Path(checkpoint) / TRAINER_STATE_NAME).is_file():
        raise ConfigurationError(f"no complete checkpoint in {checkpoint or folder}: leave resume_from_checkpoint")
    if (fault := fault_of(checkpoint, averaged)) is not None:
        raise ConfigurationError(f"resume_from_checkpoint: {fault}: choose another, or leave it")
    return checkpoint


def fault_of(checkpoint: str | Path, averaged: bool = False) -> str | None:
    """What is wrong with a checkpoint of Trainer's, and with which file, as far as that shows without loading it.

    Args:
        checkpoint: its folder.
        averaged (`bool`): a weight average belongs to it.
    """
    checkpoint = Path(checkpoint)
    missing = [name for name in STATE if not (checkpoint / name).is_file()]
    if missing:
        return f"{checkpoint} holds no {missing[0]}" + (" (save_only_model?)" if missing[0] == OPTIMIZER_NAME else "")
    average = MappedTensors(checkpoint / WeightAverage.CHECKPOINT)
    if averaged and not len(average):
        return f"{checkpoint} holds no {WeightAverage.CHECKPOINT}"
    files = [path for path in checkpoint.rglob("*") if path.is_file()]
    if has_manifest(checkpoint):
        # Whoever puts something into a pickle can write a manifest, too.
        found = manifest_fault(checkpoint) or damage(path for path in files if path.suffix in PICKLED)
    else:  # of Trainer itself, or an older version
        found = damage(files)
    if found is not None:
        return found
    weights = [path for pattern in WEIGHTS for path in _weights(checkpoint, pattern)]
    lacking = [
        *(path for path in weights if not path.is_file()),
        *(average.folder / name for name in average.lacking()),
    ]
    if not weights:
        return f"{checkpoint} holds no weights"
    return f"{lacking[0]} is missing" if lacking else None


def _weights(folder: Path, pattern: str) -> list[Path]:
    """The files that `pattern` finds in a folder; of a model in parts those that its index names, there or not."""
    indices = [path for path in folder.glob(f"{pattern}.index.json") if damage([path]) is None]
    named = [
        index.with_name(shard)
        for index in indices
        for shard in json.loads(index.read_text(encoding="utf-8"))["weight_map"].values()
    ]
    return sorted({*named} if indices else {*folder.glob(pattern)})


def check_finished(folder: Path, artefact: str | None = None) -> None:
    """Refuse the checkpoint of a finished task that the next one can't start from.

    Args:
        folder: of the task.
        artefact (*optional*): folder in it that the next task starts from, not the model.

    Raises:
        ConfigurationError: it is missing or damaged; names the file.
    """
    fault = task_fault(folder, artefact)
    if fault is not None:
        raise ConfigurationError(
            f"{fault}, but the next task starts from there (keep_checkpoints none leaves nothing to start from): "
            "put it back (if it was pushed, from the Hub), go on with --resume_from_hub in another output_dir, or "
            "start anew"
        )


def check_fetched(folder: Path, artefact: str | None, source: str) -> None:
    """The same of a checkpoint that came from `source` on the Hub, before anything is written.

    Raises:
        ConfigurationError: it is damaged or has no safetensors; names the file.
    """
    fault = task_fault(folder, artefact)
    if fault is not None:
        raise ConfigurationError(f"resume_from_hub {source!r}: {fault}; nothing but safetensors is read")


def task_fault(folder: Path, artefact: str | None = None) -> str | None:
    """What is missing or damaged of a finished task's model or artefact, and which file; arguments as above."""
    needed = folder / artefact if artefact else folder
    if needed.is_dir() and (fault := manifest_fault(folder, f"{artefact}/" if artefact else "")) is not None:
        return fault
    config = needed / ("adapter_config.json" if artefact else "config.json")
    weights = _weights(needed, "adapter_model*.safetensors" if artefact else "model*.safetensors")
    lacking = [path for path in (config, *weights) if not path.is_file()]
    if not needed.is_dir():
        return f"{needed} is missing"
    if lacking:
        return f"{lacking[0]} is missing"
    return damage([config, *needed.glob("*.index.json"), *weights]) if weights else f"{needed} holds no weights"


def lost_rows(run: Run, rows: Iterable[int]) -> dict[int, str]:
    """Of the `rows` of a run those whose models are missing or damaged, and why; of the Hub's only whether they are."""
    lost = {}
    for row in rows:
        try:
            place = Path(run.check(row))
        except ConfigurationError as error:
            lost[row] = str(error)
            continue
        if place.is_dir() and (fault := task_fault(place)) is not None:
            lost[row] = fault
    return lost


def damage(files: Iterable[Path]) -> str | None:
    """Which of `files` is cut off or no file of its kind, by what is found without reading it whole; None: none."""
    for path in sorted(files):
        try:
            _READERS.get(path.name, _READERS.get(path.suffix, _ignored))(path)
        except (OSError, ValueError, EOFError, RecursionError, SafetensorError) as error:
            return f"{path} is damaged ({' '.join(str(error).split())})"
    return None


def _ignored(path: Path) -> None:
    pass


def _open_tensors(path: Path) -> None:
    with safe_open(path, framework="numpy"):
        pass


def _open_archive(path: Path) -> None:
    # What torch.save writes is a zip archive, whose directory comes last.
    if not zipfile.is_zipfile(path):
        raise ValueError("cut off")
    # Trainer reads it with weights_only, which fails in the middle of resuming.
    with safe_globals():
        foreign = get_unsafe_globals_in_checkpoint(path)
    if foreign:
        raise ValueError(f"it holds more than tensors and plain values: {', '.join(sorted(foreign))}")


def _open_array(path: Path) -> None:
    np.load(path, mmap_mode="r")


def _open_json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


def _open_index(path: Path) -> None:
    content = json.loads(path.read_text(encoding="utf-8"))
    shards = content.get("weight_map") if isinstance(content, dict) else None
    if not isinstance(shards, dict) or not all(isinstance(shard, str) for shard in shards.values()):
        raise ValueError("it names no files")


def _open_names(path: Path) -> None:
    names = json.loads(path.read_text(encoding="utf-8"))
    if not isinstance(names, list) or not all(isinstance(name, str) for name in names):
        raise ValueError("it is no list of names")


def _open_state(path: Path) -> None:
    try:
        step = TrainerState.load_from_json(str(path)).global_step
    except TypeError as error:
        raise ValueError(str(error)) from error
    if not isinstance(step, int) or step < 1:
        raise ValueError(f"global_step is {step!r}")


_READERS: dict[str, Callable[[Path], None]] = {
    TRAINER_STATE_NAME: _open_state,
    MappedTensors.NAMES: _open_names,
    "model.safetensors.index.json": _open_index,
    ".safetensors": _open_tensors,
    ".pt": _open_archive,
    ".pth": _open_archive,
    ".npy": _open_array,
    ".json": _open_json,
}
