"""Checkpoints on disk: which of Trainer's to go on from, and whether a finished task's is whole."""

import json
import logging
import re
import zipfile
from collections.abc import Callable, Iterable
from pathlib import Path

import numpy as np
from safetensors import SafetensorError, safe_open
from transformers.trainer import OPTIMIZER_NAME, SCHEDULER_NAME, TRAINER_STATE_NAME

from ..errors import ConfigurationError


logger = logging.getLogger(__name__)

STATE = (TRAINER_STATE_NAME, OPTIMIZER_NAME, SCHEDULER_NAME)
"""What a checkpoint of Trainer's must hold beside weights for the task to end as one that was not interrupted."""


def last_checkpoint(folder: str | Path) -> str | None:
    """The newest of Trainer's checkpoints in `folder` that is complete and undamaged; says which it passes over.

    One whose writing was interrupted has no trainer state yet. Names without a number are no steps, and ignored.
    """
    steps = {
        int(number[1]): path
        for path in Path(folder).glob("checkpoint-*")
        if (number := re.fullmatch(r"checkpoint-(\d+)", path.name)) and (path / TRAINER_STATE_NAME).is_file()
    }
    passed_over: list[str] = []
    for _, path in sorted(steps.items(), reverse=True):
        fault = fault_of(path)
        if fault is None:
            if passed_over:
                logger.warning(f"{'; '.join(passed_over)}: going on from {path} instead")
            return str(path)
        passed_over.append(fault)
    if passed_over:
        logger.warning(f"{'; '.join(passed_over)}: there is no other checkpoint, so the task begins anew")
    return None


def chosen_checkpoint(resume_from_checkpoint: str | bool | None, folder: str) -> str | None:
    """What `Trainer.train`'s argument means: a checkpoint, with True the last one in `folder`; none unless asked for.

    Raises:
        ConfigurationError: there is no complete one, or it is damaged; names the file.
    """
    if not resume_from_checkpoint:
        return None
    # Trainer would also take a last one whose writing was interrupted.
    checkpoint = last_checkpoint(folder) if resume_from_checkpoint is True else resume_from_checkpoint
    if checkpoint is None or not (Path(checkpoint) / TRAINER_STATE_NAME).is_file():
        raise ConfigurationError(f"no complete checkpoint in {checkpoint or folder}: leave resume_from_checkpoint")
    if (fault := fault_of(checkpoint)) is not None:
        raise ConfigurationError(f"resume_from_checkpoint: {fault}: choose another, or leave it")
    return checkpoint


def fault_of(checkpoint: str | Path) -> str | None:
    """What is wrong with a checkpoint of Trainer's, and with which file, as far as that shows without loading it."""
    checkpoint = Path(checkpoint)
    missing = [name for name in STATE if not (checkpoint / name).is_file()]
    if missing:
        return f"{checkpoint} holds no {missing[0]}" + (" (save_only_model?)" if missing[0] == OPTIMIZER_NAME else "")
    return damage(path for path in checkpoint.rglob("*") if path.is_file())


def check_finished(folder: Path, artefact: str | None = None) -> None:
    """Refuse the checkpoint of a finished task that the next one can't start from.

    Args:
        folder: of the task.
        artefact (*optional*): folder in it that the next task starts from, not the model.

    Raises:
        ConfigurationError: it is missing or damaged; names the file.
    """
    needed = folder / artefact if artefact else folder
    config = needed / ("adapter_config.json" if artefact else "config.json")
    weights = sorted(needed.glob("adapter_model*.safetensors" if artefact else "model*.safetensors"))
    index = needed / "model.safetensors.index.json"
    if index.is_file() and damage([index]) is None:
        shards = set(json.loads(index.read_text(encoding="utf-8"))["weight_map"].values())
        weights = [needed / shard for shard in sorted(shards)]
    lacking = [path for path in (config, *weights) if not path.is_file()]
    if not needed.is_dir():
        fault: str | None = f"{needed} is missing"
    elif lacking:
        fault = f"{lacking[0]} is missing"
    else:
        fault = damage([config, *weights]) if weights else f"{needed} holds no weights"
    if fault is not None:
        raise ConfigurationError(
            f"{fault}, but the next task starts from there: put it back (if it was pushed, from the Hub), go on "
            "with --resume_from_hub in another output_dir, or start anew"
        )


def damage(files: Iterable[Path]) -> str | None:
    """Which of `files` is cut off or no file of its kind, by what is found without reading it whole; None: none."""
    for path in sorted(files):
        try:
            _READERS.get(path.suffix, _ignored)(path)
        except (OSError, ValueError, SafetensorError) as error:
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


def _open_array(path: Path) -> None:
    np.load(path, mmap_mode="r")


def _open_json(path: Path) -> None:
    json.loads(path.read_text(encoding="utf-8"))


_READERS: dict[str, Callable[[Path], None]] = {
    ".safetensors": _open_tensors,
    ".pt": _open_archive,
    ".pth": _open_archive,
    ".npy": _open_array,
    ".json": _open_json,
}
