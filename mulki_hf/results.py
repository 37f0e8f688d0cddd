"""A stream's results: the accuracy matrix as it grows, on disk after every task."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import ConfigurationError
from .metrics import continual_metrics


@dataclass
class TaskRecord:
    """What `results.json` says of one task.

    Attributes:
        name: as in the stream.
        dataset: a Hub id, `embedded:NAME` or `local files`.
        class_names, templates: what the prompts are made of.
        training_images, evaluation_images: how many there are.
        license: of the data, where known.
        seconds: wall time from the task's start, or from where it was resumed, to its evaluation; unknown before.
        provenance: command, git commit, hardware and library versions of the run that learned it.
        lora_error: with LoRA, the largest relative error of a layer when stage 4's result was cut to the rank.
    """

    name: str
    dataset: str
    class_names: list[str]
    templates: list[str]
    training_images: int
    evaluation_images: int
    license: str | None = None
    seconds: float | None = None
    lora_error: float | None = None
    provenance: dict[str, str | None] = field(default_factory=dict)


@dataclass
class ReferenceRecord:
    """What `results.json` says of the unlabelled reference images; fields as in [`TaskRecord`]."""

    dataset: str
    images: int
    license: str | None = None


@dataclass
class BaseModel:
    """The CLIP that a stream started from: its name, its id if it came from the Hub, its licence where known."""

    name: str
    hub_id: str | None = None
    revision: str | None = None
    license: str | None = None


@dataclass
class StreamResults:
    """What `results.json` holds; all accuracies in percent.

    Attributes:
        method, protocol: as configured.
        tasks: the `T` tasks in order.
        base: the model before any training.
        reference: the reference images, if the method takes any.
        zero_shot (`T`, or empty before it was measured): accuracy of the model before any training.
        accuracy (`t x T`): a row for each finished task, a column for each task.
        metrics: see [`mulki_hf.metrics.continual_metrics`]; empty until every task is finished.
        config: the resolved configuration.
        provenance: command, git commit and hardware of the run.
        versions: of the libraries that made the results.
    """

    method: str
    protocol: str
    tasks: list[TaskRecord]
    base: BaseModel
    reference: ReferenceRecord | None = None
    zero_shot: list[float] = field(default_factory=list)
    accuracy: list[list[float]] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    provenance: dict[str, str | None] = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    FILE = "results.json"

    @property
    def names(self) -> list[str]:
        """The names of the tasks."""
        return [task.name for task in self.tasks]

    @property
    def finished(self) -> int:
        """Number of finished tasks."""
        return len(self.accuracy)

    def add(self, row: list[float], seconds: float | None = None) -> None:
        """Add the accuracies after one more task, learned in `seconds`; with the last task come the metrics."""
        task = self.tasks[self.finished]
        task.seconds = seconds
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        task.provenance = self.provenance | {"versions": versions}
        self.accuracy.append(row)
        if self.finished == len(self.tasks):
            self.metrics = continual_metrics(self.accuracy, self.zero_shot or None)

    def save(self, output_dir: str | Path) -> None:
        """Write `results.json`; an interruption leaves the old file or the new one, never half of one."""
        path = Path(output_dir) / self.FILE
        temporary = path.with_suffix(".json.tmp")
        temporary.write_text(json.dumps(asdict(self), indent=2, ensure_ascii=False) + "\n", encoding="utf-8")
        os.replace(temporary, path)

    @classmethod
    def load(cls, output_dir: str | Path) -> "StreamResults":
        """Read `results.json`.

        Raises:
            ConfigurationError: the file is missing or is no such file.
        """
        path = Path(output_dir) / cls.FILE
        try:
            content = json.loads(path.read_text(encoding="utf-8"))
            tasks = [TaskRecord(**task) for task in content.pop("tasks")]
            base, reference = BaseModel(**content.pop("base")), content.pop("reference")
            return cls(tasks=tasks, base=base, reference=reference and ReferenceRecord(**reference), **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(f"can't read results from {path}: {error}") from error

    def table(self) -> str:
        """The accuracy matrix and the metrics as Markdown tables, aligned for a terminal."""
        tables = [self.matrix_table()]
        if self.metrics:
            tables.append(markdown_table([[*self.metrics], [*map(percent, self.metrics.values())]]))
        return "\n\n".join(tables)

    def matrix_table(self) -> str:
        """The accuracy matrix alone."""
        rows = [["after", *self.names]]
        if self.zero_shot:
            rows.append(["zero-shot", *map(percent, self.zero_shot)])
        rows += [[name, *map(percent, row)] for name, row in zip(self.names, self.accuracy, strict=False)]
        return markdown_table(rows)


def percent(value: float | None) -> str:
    """One decimal, a dash for what is not defined."""
    return "-" if value is None else f"{value:.1f}"


def markdown_table(rows: list[list[str]]) -> str:
    """Rows of cells, the header first, as an aligned Markdown table."""
    rows = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)
