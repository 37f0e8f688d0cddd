"""Which rows a sample of a task's images holds, in a file: others train on exactly these."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from itertools import chain
from pathlib import Path

from ..errors import ConfigurationError, shown
from ..fields import check_keys, instance
from .checked import DIGEST_VERSION
from .rows import dataset_name
from .sampling import Chosen
from .task import Task


CHOSEN_BY = {
    "train": ("shots", "max_train_samples"),
    "evaluation": ("max_eval_samples",),
    "validation": ("max_eval_samples",),
}
"""What chooses rows of a task's parts, by the field of [`TaskConfig`]."""


@dataclass(frozen=True)
class RowFile:
    """What a file of rows holds.

    Attributes:
        task: whose rows they are.
        dataset: where they come from: a Hub id, `embedded:NAME` or `local files`.
        limits: what was asked of the sample, by the field of [`TaskConfig`].
        digest_version: of the digests.
        parts: by `train`, `evaluation` and `validation`; only those of which images were left out.
    """

    task: str
    dataset: str
    limits: dict[str, int]
    digest_version: int
    parts: dict[str, Chosen]


def file_name(task: str) -> str:
    """What the file of a task's rows is called."""
    return f"rows_{task}.json"


def write_rows(task: Task, folder: Path) -> None:
    """Into `folder` a file of each task that `task` is made of and that uses some of its images alone."""
    for part in task.parts:
        if part.chosen:
            limits = {name: part.limits[name] for name in part.limits if not name.endswith("_images")}
            content = RowFile(part.name, dataset_name(part.dataset), limits, DIGEST_VERSION, part.chosen)
            text = json.dumps(asdict(content), indent=1, ensure_ascii=False) + "\n"
            (folder / file_name(part.name)).write_text(text, encoding="utf-8")


def read_rows(paths: str | Sequence[str], where: str) -> RowFile:
    """What files of rows hold, those of several tasks (a `class_incremental` entry's) put together.

    Args:
        paths: of the files.
        where: the task, for messages.

    Raises:
        ConfigurationError: one can't be read, is none, or was written by another version; or they don't go together.
    """
    first, *others = [_read(path, where) for path in ([paths] if isinstance(paths, str) else paths)]
    parts = dict(first.parts)
    for one in others:
        if one.limits != first.limits or one.parts.keys() != parts.keys():
            raise ConfigurationError(
                f"{where}: rows of {first.task!r} and {one.task!r} were chosen by other limits, {first.limits} and "
                f"{one.limits}"
            )
        parts = {name: Chosen(chosen.split, chosen.rows | one.parts[name].rows) for name, chosen in parts.items()}
    return replace(first, parts=parts)


def _read(path: str, where: str) -> RowFile:
    where = f"{where}: can't read rows from {shown(path)}"
    try:
        content = json.loads(Path(path).read_text(encoding="utf-8"))
    except (OSError, ValueError, RecursionError) as error:
        raise ConfigurationError(f"{where}: {error}") from error
    found = instance(RowFile, content, where)
    if found.digest_version != DIGEST_VERSION:
        raise ConfigurationError(
            f"{where}: its digests are of version {found.digest_version}, and here they are of {DIGEST_VERSION}; use "
            "the version of mulki-hf that wrote it"
        )
    check_keys(found.parts, CHOSEN_BY, f"{where}: parts")
    check_keys(found.limits, {"sample_seed", *chain(*CHOSEN_BY.values())}, f"{where}: limits")
    for name in found.parts:
        if not {*CHOSEN_BY[name]} & {*found.limits}:
            raise ConfigurationError(
                f"{where}: limits must say by which of {', '.join(CHOSEN_BY[name])} the rows of {name} were chosen"
            )
    if not found.parts or not all(chosen.rows for chosen in found.parts.values()):
        empty = [name for name, chosen in found.parts.items() if not chosen.rows]
        raise ConfigurationError(f"{where}: it holds no rows" + (f" of {', '.join(empty)}" if empty else ""))
    return found
