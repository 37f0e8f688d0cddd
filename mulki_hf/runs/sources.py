"""Where a stream lies: a run's folder, a finished task's in it, a file of results, or the Hub. Needs no torch."""

import re
from dataclasses import dataclass
from functools import cached_property
from pathlib import Path

from ..embedded import EMBEDDED_MODELS
from ..errors import ConfigurationError, shown
from ..hub.fetch import fetch_checkpoint, fetch_file, pinned
from ..hub.outbox import recorded_pushes
from ..manifest import manifest_fault
from ..results import StreamResults, task_folder


HUB_ID = re.compile(r"\w[\w.-]*/\w[\w.-]*(?:@\w[\w./-]*)?")
CHECKPOINT = "checkpoint"
LAST, ZERO_SHOT = "last", "zero-shot"
"""What `--checkpoint` calls the model after the last finished task, and the one before any training."""
_NUMBERED = re.compile(r"(?P<stem>.+)-task(?P<number>\d+)")


@dataclass(frozen=True)
class Run:
    """A stream that was learned, wholly or in part, and where its models are.

    Attributes:
        source: as it was given.
        results: of the stream as far as `source` knows it: a task's folder, and a repository, that of the time when
            the task was finished.
        folder (*optional*): the run's, where it is on this machine.
        repository (*optional*): of the last finished task, `org/mulki-task5@COMMIT`, where it came from the Hub.
        token (*optional*): for the Hub.
    """

    source: str
    results: StreamResults
    folder: Path | None = None
    repository: str | None = None
    token: str | None = None

    @cached_property
    def checkpoints(self) -> list[str | None]:
        """By finished stage where its model is: a folder, else `org/mulki-task2@REVISION`; None: nobody knows.

        That a repository is there shows when it is asked.
        """
        return [self._checkpoint(position) for position in range(self.results.finished)]

    def _checkpoint(self, position: int) -> str | None:
        if self.folder is not None:
            place = task_folder(self.folder, self.results.stage_names, position)
            if (place / StreamResults.FILE).is_file():
                return str(place)
        return self.pushed(position)

    def pushed(self, position: int) -> str | None:
        """Where on the Hub the model after a stage is, by the run's record of pushes; None: it did not go there."""
        if self.folder is None:
            return sibling(self.repository, position) if self.repository else None
        stages = range(position, self.results.finished)
        own, *later = (task_folder(self.folder, self.results.stage_names, number).name for number in stages)
        recorded = {push.folder: push for push in recorded_pushes(self.folder)}
        if own in recorded:
            return f"{recorded[own].repo_id}@{recorded[own].commit}" if recorded[own].commit else None
        # What the stream was taken up from is one of a row of repositories; its own pushes are on record, each.
        taken_up = [recorded[name] for name in later if name in recorded and recorded[name].taken_up]
        return sibling(f"{taken_up[0].repo_id}@{taken_up[0].commit}", position) if taken_up else None

    def check(self, position: int) -> str:
        """Where the model after a stage is: one of `checkpoints`, which was looked for, but not loaded.

        Raises:
            ConfigurationError: it is not there, or of another stream.
        """
        name, place = self.results.stage_names[position], self.checkpoints[position]
        if place is None:
            raise ConfigurationError(
                f"{self.source!r} has no checkpoint of task {position + 1}, {shown(name)}, neither in the run's folder "
                "nor, by its record of pushes, on the Hub"
            )
        if Path(place).is_dir():
            return place
        there = StreamResults.read(fetch_file(place, StreamResults.FILE, self.token, CHECKPOINT))
        if there.finished != position + 1 or not same_stream(there, self.results):
            raise ConfigurationError(
                f"{place} on the Hub holds no checkpoint of task {position + 1}, {shown(name)}, of the stream of "
                f"{self.source!r}"
            )
        return place

    def checkpoint(self, position: int) -> Path:
        """The checkpoint after a stage as a folder, fetched if it is on the Hub; raises as [`check`], or if damaged."""
        place = self.check(position)
        if not Path(place).is_dir():
            return fetch_checkpoint(place, self.token, CHECKPOINT)
        if (fault := manifest_fault(Path(place))) is not None:
            raise ConfigurationError(f"{self.source!r}: {fault}")
        return Path(place)

    @property
    def whole(self) -> "Run":
        """The run as its own folder knows it, of one that a task's folder knows only up to there."""
        if not self.results.finished or self.folder is None or not (self.folder / StreamResults.FILE).is_file():
            return self
        whole = find_run(str(self.folder))
        last = task_folder(self.folder, self.results.stage_names, self.results.finished - 1)
        return whole if last.is_dir() and same_stream(self.results, whole.results) else self

    @property
    def base(self) -> tuple[str, str]:
        """Name, folder or Hub id of the model that the stream started from, and its revision.

        Raises:
            ConfigurationError: it is a folder that is not on this machine.
        """
        base = self.results.base
        if base.hub_id is not None or base.embedded or base.name in EMBEDDED_MODELS:
            return base.hub_id or base.name, base.revision or "main"
        # A task's folder is ready for the Hub, and does not say where on this machine the stream began; the run's does.
        settings = [self.results.config, self.whole.results.config]
        places = [str(config.get("model_name_or_path", base.name)) for config in settings]
        place = next((place for place in places if Path(place).is_dir()), None)
        if place is None:
            raise ConfigurationError(
                f"{self.source!r} started from the folder {places[-1]!r}, which is not on this machine"
            )
        return place, "main"

    def row(self, asked: str) -> int | None:
        """The row of the model that `--checkpoint` calls `last`, `zero-shot`, or by a task's number or name.

        None: zero-shot, before any training.

        Raises:
            ConfigurationError: there is no such one.
        """
        finished = self.results.stage_names[: self.results.finished]
        names = {name: row for row, name in enumerate(finished)}
        numbers = {str(row + 1): row for row in range(len(finished))}
        rows = {LAST: len(finished) - 1 if finished else None, ZERO_SHOT: None} | names | {"0": None} | numbers
        if asked not in rows:
            there = ", ".join([f"0 ({ZERO_SHOT})", *(f"{row + 1} ({name})" for name, row in names.items())])
            raise ConfigurationError(f"checkpoint {asked!r}: {self.source!r} has {LAST}, {ZERO_SHOT}, {there}")
        return rows[asked]


def find_run(source: str, token: str | None = None, asked_by: str = "run") -> Run:
    """The stream that `source` names; reads its results alone.

    Args:
        source: a run's `output_dir`, the folder of one of its tasks, a file of results, or a task's repository on the
            Hub, `org/mulki-task5` or `org/mulki-task5@REVISION`.
        token (*optional*): for the Hub.
        asked_by: the field or option, for messages.

    Raises:
        ConfigurationError: it names no stream, or its results can't be read.
    """
    path = Path(source)
    if path.is_file():
        return Run(source, StreamResults.read(path), folder=path.absolute().parent)
    if path.is_dir():
        if not (path / StreamResults.FILE).is_file():
            raise ConfigurationError(
                f"{asked_by}: the folder {source!r} holds no {StreamResults.FILE}, as a run's does"
            )
        results, folder = StreamResults.load(path), path.absolute()
        own = results.finished and task_folder(folder.parent, results.stage_names, results.finished - 1)
        return Run(source, results, folder=folder.parent if own == folder else folder)
    if not HUB_ID.fullmatch(source):
        raise ConfigurationError(
            f"{asked_by}: {source!r} is no folder, no file, and no repository on the Hub (`org/name`)"
        )
    place = pinned(source, token, asked_by)
    results = StreamResults.read(fetch_file(place, StreamResults.FILE, token, asked_by))
    return Run(source, results, repository=place, token=token)


def sibling(repository: str, position: int) -> str | None:
    """The repository of another task of the stream, at its newest: of `org/mulki-task5@COMMIT` `org/mulki-task2`.

    None where the name has no number; of its own position the repository itself.
    """
    name, _, _ = repository.partition("@")
    numbered = _NUMBERED.fullmatch(name)
    if numbered is None:
        return None
    return repository if int(numbered["number"]) == position + 1 else f"{numbered['stem']}-task{position + 1}"


def same_stream(earlier: StreamResults, results: StreamResults) -> bool:
    """Whether `earlier` are results of the same stream, from when it was shorter."""

    def told(of: StreamResults) -> list[object]:
        tasks = [(task.name, task.class_names, task.fingerprint) for task in of.tasks[: len(earlier.tasks)]]
        return [of.method, of.base.name, of.config.get("seed"), tasks]

    return len(earlier.tasks) <= len(results.tasks) and told(earlier) == told(results)
