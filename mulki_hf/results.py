"""A stream's results: the accuracy matrix as it grows, on disk after every task."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path

from .errors import ConfigurationError
from .metrics import continual_metrics


@dataclass
class StreamResults:
    """What `results.json` holds; all accuracies in percent.

    Attributes:
        method, protocol: as configured.
        tasks: the `T` task names in order.
        zero_shot (`T`, or empty before it was measured): accuracy of the model before any training.
        accuracy (`t x T`): a row for each finished task, a column for each task.
        metrics: see [`mulki_hf.metrics.continual_metrics`]; empty until every task is finished.
        config: the resolved configuration.
        versions: of the libraries that made the results.
    """

    method: str
    protocol: str
    tasks: list[str]
    zero_shot: list[float] = field(default_factory=list)
    accuracy: list[list[float]] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)
    config: dict = field(default_factory=dict)
    versions: dict[str, str] = field(default_factory=dict)

    FILE = "results.json"

    @property
    def finished(self) -> int:
        """Number of finished tasks."""
        return len(self.accuracy)

    def add(self, row: list[float]) -> None:
        """Add the accuracies after one more task; with the last task come the metrics."""
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
            return cls(**json.loads(path.read_text(encoding="utf-8")))
        except (OSError, ValueError, TypeError) as error:
            raise ConfigurationError(f"can't read results from {path}: {error}") from error

    def table(self) -> str:
        """The accuracy matrix and the metrics as Markdown tables, aligned for a terminal."""
        rows = [["after", *self.tasks]]
        if self.zero_shot:
            rows.append(["zero-shot", *map(_percent, self.zero_shot)])
        rows += [[name, *map(_percent, row)] for name, row in zip(self.tasks, self.accuracy, strict=False)]
        tables = [markdown_table(rows)]
        if self.metrics:
            tables.append(markdown_table([[*self.metrics], [*map(_percent, self.metrics.values())]]))
        return "\n\n".join(tables)


def _percent(value: float | None) -> str:
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
