"""What `results.json` holds: the accuracy matrix as it grows, and all that a card says; on disk after every task."""

import json
import re
from collections.abc import Collection, Mapping, Sequence
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

from .durable import write_text
from .errors import ConfigurationError, shown
from .fields import instance
from .metrics import continual_metrics
from .records import ArtefactRecord, BaseModel, MethodRecord, ReferenceRecord, TaskRecord


IN_MEMORY = "in memory"
"""What settings and recipes say in place of a `dataset` where a run was given a [`Task`] in Python."""


@dataclass
class ProtocolResults:
    """Accuracies in percent by one protocol; fields as in [`StreamResults`]."""

    zero_shot: list[float | None] = field(default_factory=list)
    accuracy: list[list[float | None]] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)


@dataclass
class StreamResults:
    """What `results.json` holds; all accuracies in percent.

    Attributes:
        method: as configured.
        protocol: the headline, the first of those that were asked for.
        tasks: the `T` tasks in order.
        base: the model before any training.
        reference: the reference images, if the method takes any.
        zero_shot (`T`, or empty before it was measured): accuracy of the model before any training.
        accuracy (`t x T`): a row for each finished task, a column for each task. In both `None` is a cell that was not
            measured: of a task that came to the stream after the row was.
        metrics: see [`mulki_hf.metrics.continual_metrics`]; empty until every task is finished, and without some keys
            in files of older versions.
        config: the resolved configuration.
        provenance: command, git commit and hardware of the run.
        versions: of the libraries that made the results.
        about: the method in words.
        artefact (*optional*): what every task leaves beside the model.
        stages (*optional*): what is learned one after another, and what `accuracy` has rows of, where it is not the
            tasks: one of all tasks together, nothing, or the tasks of another stream.
        elsewhere: an evaluation of what was learned without these tasks: of a model as it is, which is `base` and has
            no stages, or of another stream's models after each of its stages.
        others: by name and in order, the same by each further protocol that was asked for.
        warnings: what makes the figures doubtful, a sentence each.
    """

    method: str
    protocol: str
    tasks: list[TaskRecord]
    base: BaseModel
    reference: ReferenceRecord | None = None
    zero_shot: list[float | None] = field(default_factory=list)
    accuracy: list[list[float | None]] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    provenance: dict[str, str | None] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)
    about: MethodRecord = field(default_factory=MethodRecord)
    artefact: ArtefactRecord | None = None
    others: dict[str, ProtocolResults] = field(default_factory=dict)
    stages: list[TaskRecord] | None = None
    elsewhere: bool = False
    warnings: list[str] = field(default_factory=list)

    FILE = "results.json"

    @property
    def names(self) -> list[str]:
        """The names of the tasks."""
        return [task.name for task in self.tasks]

    @property
    def learned(self) -> list[TaskRecord]:
        """What is learned, in order: the stages, which mostly are the tasks."""
        return self.tasks if self.stages is None else self.stages

    @property
    def tasks_learned(self) -> int:
        """Number of tasks that the model has learned; all of them with the one stage of all together."""
        if self.elsewhere:
            return 0
        return self.finished if self.stages is None else len(self.tasks) * self.finished

    @property
    def stage_names(self) -> list[str]:
        """The names of what is learned, after which folders are called."""
        return [stage.name for stage in self.learned]

    @property
    def subject(self) -> str:
        """What the figures are of, for titles: the method or, of a model as it is, its name."""
        return self.base.name if self.elsewhere and not self.stages else self.method

    @property
    def first_row(self) -> str:
        """What the row before any training is called: zero-shot or, of a model as it is, by its name."""
        return self.subject if self.elsewhere and not self.stages else "zero-shot"

    @property
    def protocols(self) -> list[str]:
        """The headline's, then those of the others."""
        return [self.protocol, *self.others]

    @property
    def finished(self) -> int:
        """Number of finished tasks."""
        return len(self.accuracy)

    def of(self, protocol: str) -> "StreamResults | ProtocolResults":
        """Zero-shot row, matrix and metrics by `protocol`, which are its own for the headline's."""
        return self if protocol == self.protocol else self.others[protocol]

    def measured(self, rows: Mapping[str, Sequence[float | None]]) -> None:
        """Add the accuracies of the model before any training, by protocol."""
        for protocol, row in rows.items():
            if protocol != self.protocol:
                self.others.setdefault(protocol, ProtocolResults())
            self.of(protocol).zero_shot = [*row]

    def unmeasured(self, row: int | None) -> list[int]:
        """Tasks of which a cell is empty by any protocol, in the row of a stage or, for None, of zero-shot."""
        rows = [own.zero_shot if row is None else own.accuracy[row] for own in map(self.of, self.protocols)]
        return [column for column in range(len(self.tasks)) if any(cells[column] is None for cells in rows if cells)]

    def fill(self, row: int | None, cells: Mapping[str, Sequence[float | None]]) -> None:
        """Put what was measured later into the empty cells of a row, by protocol; arguments as of [`unmeasured`].

        With the last of them the metrics are of the whole matrix.
        """
        for protocol, values in cells.items():
            own = self.of(protocol)
            into = own.zero_shot if row is None else own.accuracy[row]
            for column, value in enumerate(values):
                into[column] = value if into[column] is None else into[column]
            self._take_metrics(own)

    def append(self, tasks: Sequence[TaskRecord], stale: Collection[str] = ()) -> None:
        """Make the stream longer by `tasks`, whose cells in the rows that there are are empty.

        Args:
            tasks: not yet learned.
            stale: protocols by which no cell means what it meant, since the new classes compete for every image; all
                of their cells are emptied.
        """
        self.tasks = [*self.tasks, *tasks]
        for protocol in self.protocols:
            own, count = self.of(protocol), len(self.tasks)
            empty: list[float | None] = [None] * count
            own.metrics = {}
            for row in (own.zero_shot, *own.accuracy) if own.zero_shot else ():
                row[:] = empty if protocol in stale else [*row, *empty[len(row) :]]

    def warn(self, warnings: Sequence[str]) -> list[str]:
        """Record `warnings`; returns those that were not yet."""
        new = [warning for warning in warnings if warning not in self.warnings]
        self.warnings += new
        return new

    def stayed(self, rows: Mapping[str, Sequence[Sequence[float | None]]]) -> None:
        """The metrics of a model that is never trained, from its accuracies after each task, by protocol.

        They are those before any training, but that more classes compete as tasks go by (`cil`).
        """
        for protocol, matrix in rows.items():
            self.of(protocol).metrics = continual_metrics(matrix, self.of(protocol).zero_shot)

    def add(
        self,
        rows: Mapping[str, Sequence[float | None]],
        seconds: float | None = None,
        facts: dict[str, Any] | None = None,
        note: str = "",
        steps: int | None = None,
    ) -> None:
        """Add the accuracies after one more task; with the last task come the metrics.

        Args:
            rows: by protocol.
            seconds: that learning took.
            facts, note, steps: of its [`TaskRecord`].
        """
        task = self.learned[self.finished]
        task.seconds, task.facts, task.note, task.steps = seconds, facts or {}, note, steps
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        task.provenance = self.provenance | {"versions": versions}
        self.evaluated(rows)

    def unlearn_last(self) -> None:
        """Take back what [`add`] added last."""
        task = self.learned[self.finished - 1]
        task.seconds, task.facts, task.note, task.steps, task.provenance = None, {}, "", None, {}
        for protocol in self.protocols:
            own = self.of(protocol)
            own.accuracy.pop()
            own.metrics = {}

    def evaluated(self, rows: Mapping[str, Sequence[float | None]]) -> None:
        """The same of a task whose record is there already."""
        for protocol, row in rows.items():
            own = self.of(protocol)
            own.accuracy.append([*row])
            self._take_metrics(own)

    def _take_metrics(self, own: "StreamResults | ProtocolResults") -> None:
        if not self.learned or len(own.accuracy) != len(self.learned):
            return
        if self.elsewhere:
            # Nothing was learned or forgotten of these tasks: what is left is how well the last model does.
            own.metrics = {"last": continual_metrics(own.accuracy[-1:])["last"]}
        else:
            own.metrics = continual_metrics(own.accuracy, own.zero_shot or None)

    def save(self, output_dir: str | Path) -> None:
        """Write `results.json`; an interruption leaves the old file or the new one, never half of one."""
        write_text(Path(output_dir) / self.FILE, json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n")

    @classmethod
    def load(cls, output_dir: str | Path) -> "StreamResults":
        """Read `results.json`.

        Raises:
            ConfigurationError: the file is missing or is no such file.
        """
        return cls.read(Path(output_dir) / cls.FILE)

    @classmethod
    def read(cls, path: Path) -> "StreamResults":
        """The same from a file of any name."""
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
        except (OSError, ValueError, RecursionError) as error:
            raise ConfigurationError(f"can't read results from {path}: {error}") from error
        where = f"can't read results from {path}"
        results = instance(cls, _as_today(content), where)
        try:
            results.check()
        except ValueError as error:
            raise ConfigurationError(f"{where}: {error}") from error
        return results

    def check(self) -> None:
        """Raise `ValueError`, with the key, for results that no stream leaves behind."""
        names = self.names
        for name in (*names, *self.stage_names):
            if not folder_safe(name):
                raise ValueError(f"tasks: a task's name must be a folder's own, got {shown(name)}")
        if not names or len(set(names)) < len(names):
            raise ValueError(f"tasks must be at least one, with names of their own, got {shown(names)}")
        for name in (self.artefact.folder, self.artefact.suffix) if self.artefact else ():
            if not folder_safe(name):
                raise ValueError(f"artefact: folder and suffix must be names, got {shown(name)}")
        if self.config.get("method", self.method) != self.method:
            raise ValueError(f"method is {shown(self.method)}, but config.method {shown(self.config['method'])}")
        asked = self.config.get("protocols", self.protocols)
        if not isinstance(asked, list) or asked[:1] != [self.protocol]:
            raise ValueError(f"protocol is {shown(self.protocol)}, but config.protocols {shown(asked)}")
        if self.zero_shot and asked[1:] != [*self.others]:
            raise ValueError(f"others are of {[*self.others]}, but config.protocols is {shown(asked)}")
        if self.accuracy and not self.zero_shot:
            raise ValueError(f"zero_shot is empty, but accuracy has {len(self.accuracy)} rows")
        _check_rows(self, len(names), len(self.learned), "")
        for protocol, other in self.others.items():
            _check_rows(other, len(names), len(self.learned), f"others.{protocol}.")
            counts = [(len(own.zero_shot), len(own.accuracy)) for own in (self, other)]
            if counts[0] != counts[1]:
                raise ValueError(f"others.{protocol} must have as many rows as {self.protocol}")


def _check_rows(own: StreamResults | ProtocolResults, tasks: int, stages: int, key: str) -> None:
    """Raise `ValueError` for percentages that are none, or not of so many tasks."""
    if len(own.accuracy) > stages:
        raise ValueError(f"{key}accuracy has {len(own.accuracy)} rows for {stages} stages")
    rows = {f"{key}accuracy[{number}]": row for number, row in enumerate(own.accuracy)}
    if own.zero_shot:
        rows[f"{key}zero_shot"] = own.zero_shot
    for name, row in rows.items():
        if len(row) != tasks:
            raise ValueError(f"{name} must hold a number for each of the {tasks} tasks, got {len(row)}")
        for value in row:
            if value is not None and not 0 <= value <= 100:
                raise ValueError(f"{name} must hold percentages in [0, 100], got {value}")


def _as_today(content: Any) -> Any:
    """As older files have it too, where a task's only fact and the only protocol had keys of their own."""
    config = content.get("config") if isinstance(content, dict) else None
    if isinstance(config, dict) and (protocol := config.pop("protocol", None)) is not None:
        config.setdefault("protocols", [protocol])
    for task in content["tasks"] if isinstance(content, dict) and isinstance(content.get("tasks"), list) else ():
        if isinstance(task, dict) and (error := task.pop("lora_error", None)) is not None:
            task.setdefault("facts", {"lora_error": error})
    return content


def task_folder(output: Path, names: list[str], position: int) -> Path:
    """Folder of a task's checkpoint, `task3-greek` for position 2."""
    return output / f"task{position + 1}-{names[position]}"


def folder_safe(name: str) -> bool:
    """Whether a name is a folder's own: letters, digits and a few signs, nothing that leads elsewhere."""
    return re.fullmatch(r"\w[\w.+-]*", name) is not None
