"""Finished runs as records, which a JSON file keeps a line each: all that tables and picture are made of."""

import json
from dataclasses import asdict, dataclass
from pathlib import Path
from typing import Any

from grid import STAGES, Grid, Run

from mulki_hf.errors import ConfigurationError
from mulki_hf.fields import instance
from mulki_hf.results import StreamResults


@dataclass
class Record:
    """One finished run.

    Attributes:
        stage, label, trial: see [`Run`].
        method: value of `--method`.
        order, seed: where one stands for all, those of the one.
        settings: over the order's recipe.
        tasks: their names, in order.
        steps, seconds: of training, evaluations between tasks included; None where nothing is trained.
        zero_shot (`T`), accuracy: in percent, two decimals; a row for each thing learned.
        metrics: by name, four decimals; None where one is not defined.
        versions: of the libraries.
        data: the start of each task's fingerprint, by name, and that of the reference images.
    """

    stage: str
    label: str
    trial: str
    method: str
    order: int
    seed: int
    settings: dict[str, Any]
    tasks: list[str]
    steps: int | None
    seconds: float | None
    zero_shot: list[float]
    accuracy: list[list[float]]
    metrics: dict[str, float | None]
    versions: dict[str, str]
    data: dict[str, str | None]

    @classmethod
    def of(cls, run: Run, results: StreamResults) -> "Record":
        """What is kept of a run."""
        steps = [part.steps for part in results.learned if part.steps is not None]
        seconds = [part.seconds for part in results.learned if part.seconds is not None]
        return cls(
            run.stage,
            run.label,
            run.trial,
            results.method,
            run.order,
            run.seed,
            {name: value for name, value in run.settings.items() if name != "method"},
            results.names,
            sum(steps) if steps else None,
            round(sum(seconds), 1) if seconds else None,
            [round(value, 2) for value in results.zero_shot],
            [[round(value, 2) for value in row] for row in results.accuracy],
            {name: value and round(value, 4) for name, value in results.metrics.items()},
            results.versions,
            {part.name: part.fingerprint and part.fingerprint[:12] for part in results.tasks}
            | ({"reference": (results.reference.fingerprint or "")[:12]} if results.reference else {}),
        )


@dataclass
class Records:
    """Runs, and of which row the ablation is."""

    runs: list[Record]
    of: str = "mulki"

    def stage(self, stage: str) -> list[Record]:
        """The runs of one stage, in the order of the grid."""
        return [run for run in self.runs if run.stage == stage]

    def changed_data(self) -> list[str]:
        """Names of data that are not the same in all runs on the same splits."""
        seen: dict[tuple[bool, str], set] = {}
        for run in self.runs:
            for name, fingerprint in run.data.items():
                seen.setdefault((run.stage == "tuning", name), set()).add(fingerprint)
        return list(dict.fromkeys(name for (_, name), fingerprints in seen.items() if len(fingerprints) > 1))

    @classmethod
    def load(cls, path: Path, grid: Path) -> "Records":
        """From a JSON file that `save` wrote, or from the folder of the grid's runs, finished ones alone.

        Raises:
            ConfigurationError: it is neither, holds no finished run, or runs of another grid.
        """
        if path.is_dir():
            records = cls.collect(path, Grid.load(grid))
        else:
            try:
                content = json.loads(path.read_text(encoding="utf-8"))
            except (OSError, ValueError) as error:
                raise ConfigurationError(f"can't read runs from {path}: {error}") from error
            records = instance(cls, content, str(path))
        if not records.runs:
            raise ConfigurationError(f"{path} holds no finished run of the grid")
        return records

    @classmethod
    def collect(cls, output: Path, grid: Grid) -> "Records":
        """From the runs' folders."""
        output, found = output.absolute(), []
        for stage in STAGES:
            place = output / stage
            files = [*place.glob("*/order*/results.json"), *place.glob("*/*/order*/results.json")]
            begun = {file.relative_to(place).parts[0] for file in files}
            labels = [label for label in grid.labels(stage) if label in begun]
            runs = {
                run.folder(output): run for run in (grid.runs(stage, labels) if labels else ()) if run.stage == stage
            }
            for file in files:
                if file.parent not in runs:
                    raise ConfigurationError(f"{file.parent} is no run of the grid: name it there, or move it away")
            results = {run: run.finished(output) for run in runs.values()}
            found += [Record.of(run, result) for run, result in results.items() if result is not None]
        return cls(found, grid.ablation.of if grid.ablation else "mulki")

    def save(self, path: Path) -> None:
        """Write the JSON file, a run a line."""
        lines = ",\n".join(f"  {json.dumps(asdict(run), ensure_ascii=False)}" for run in self.runs)
        path.write_text(f'{{"of": {json.dumps(self.of)}, "runs": [\n{lines}\n]}}\n', encoding="utf-8")
