"""Finished runs as records, which a JSON file keeps a line each: all that tables and picture are made of."""

import json
from collections.abc import Sequence
from dataclasses import asdict, dataclass, replace
from pathlib import Path
from typing import Any

from grid import STAGES, Grid, Run
from one_run import OWN

from mulki_hf.config.paths import shareable_settings
from mulki_hf.config.recipes import decisive
from mulki_hf.errors import ConfigurationError
from mulki_hf.fields import instance
from mulki_hf.report.comparison.versions import changed_versions, versions_of
from mulki_hf.results import StreamResults


@dataclass
class Record:
    """One finished run.

    Attributes:
        stage, label, trial: see [`Run`].
        method: value of `--method`.
        order, seed: where one stands for all, those of the one.
        settings: all that the result depends on, resolved, whoever gave it; without method and seed, the tasks by name.
        tasks: their names, in order.
        steps, seconds: of training, evaluations between tasks included; None where nothing is trained.
        zero_shot (`T`), accuracy: in percent, two decimals; a row for each thing learned.
        metrics: by name, four decimals; None where one is not defined.
        versions: of the libraries, and this package's `git_commit`; see [`versions_of`].
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
    versions: dict[str, str | None]
    data: dict[str, str | None]

    @classmethod
    def of(cls, run: Run, results: StreamResults) -> "Record":
        """What is kept of a run."""
        steps = [part.steps for part in results.learned if part.steps is not None]
        seconds = [part.seconds for part in results.learned if part.seconds is not None]
        settings = decisive(shareable_settings(results.config))
        return cls(
            run.stage,
            run.label,
            run.trial,
            results.method,
            run.order,
            run.seed,
            {name: value for name, value in settings.items() if name not in ("method", "seed", "tasks")}
            | {"tasks": {task["name"]: task for task in settings.get("tasks", ())}},
            results.names,
            sum(steps) if steps else None,
            round(sum(seconds), 1) if seconds else None,
            [round(value, 2) for value in results.zero_shot],
            [[round(value, 2) for value in row] for row in results.accuracy],
            {name: value and round(value, 4) for name, value in results.metrics.items()},
            versions_of(results),
            {part.name: part.fingerprint and part.fingerprint[:12] for part in results.tasks}
            | ({"reference": (results.reference.fingerprint or "")[:12]} if results.reference else {}),
        )

    def over(self, other: "Record") -> dict[str, Any]:
        """Settings that `other` has not so, but for what the grid gives each run itself."""
        own, its = ({"method": run.method} | run.settings for run in (self, other))
        return {name: value for name, value in own.items() if name not in OWN and value != its.get(name)}


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

    def changed_versions(self) -> list[str]:
        """What was not the same in all runs, with the number of runs: `torch (2.12 in 3 runs, 2.13 in 1)`."""
        return changed_versions([run.versions for run in self.runs])

    def warnings(self) -> list[str]:
        """Why the runs may not be compared as they are, a sentence each."""
        found = []
        if data := self.changed_data():
            found.append(f"Not all runs saw the same data: {', '.join(data)} changed between them.")
        if versions := self.changed_versions():
            found.append(f"Not all runs were made with the same versions: {', '.join(versions)}.")
        return found

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
            records = instance(File, content, str(path)).records()
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
        content = asdict(File.of_records(self))
        lines = ",\n".join(f"  {_json(run)}" for run in content.pop("runs"))
        head = "".join(f"{_json(name)}: {_json(value)},\n" for name, value in content.items())
        path.write_text(f'{{{head}"runs": [\n{lines}\n]}}\n', encoding="utf-8")


@dataclass
class File:
    """What the JSON file holds: settings and versions once where all runs have them, and beside each run the others."""

    of: str
    settings: dict[str, Any]
    versions: dict[str, str | None]
    runs: list[Record]

    @classmethod
    def of_records(cls, records: Records) -> "File":
        """What is the same in all runs is taken out of them."""
        settings = _shared([run.settings for run in records.runs])
        versions = _shared([run.versions for run in records.runs])
        runs = [
            replace(run, settings=_without(run.settings, settings), versions=_without(run.versions, versions))
            for run in records.runs
        ]
        return cls(records.of, settings, versions, runs)

    def records(self) -> Records:
        """With each run whole."""
        runs = [
            replace(run, settings=self.settings | run.settings, versions=self.versions | run.versions)
            for run in self.runs
        ]
        return Records(runs, self.of)


def _shared(mappings: Sequence[dict[str, Any]]) -> dict[str, Any]:
    first, *others = mappings
    return {
        name: value for name, value in first.items() if all(name in other and other[name] == value for other in others)
    }


def _without(mapping: dict[str, Any], shared: dict[str, Any]) -> dict[str, Any]:
    return {name: value for name, value in mapping.items() if name not in shared}


def _json(value: Any) -> str:
    return json.dumps(value, ensure_ascii=False)
