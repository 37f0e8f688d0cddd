"""What `results.json` holds: the accuracy matrix as it grows, and all that a card says; on disk after every task."""

import json
import os
from dataclasses import asdict, dataclass, field
from pathlib import Path
from typing import Any

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
        facts: what training showed of whatever was trained, by name: with LoRA `lora_error`, the largest relative error
            of a layer when stage 4's result was cut to the rank.
        note: the same in a sentence, for the card.
    """

    name: str
    dataset: str
    class_names: list[str]
    templates: list[str]
    training_images: int
    evaluation_images: int
    license: str | None = None
    seconds: float | None = None
    facts: dict[str, Any] = field(default_factory=dict)
    note: str = ""
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
    embedded: bool = False


@dataclass
class ArtefactRecord:
    """What is saved beside a task's model, in words for the cards.

    Attributes:
        folder: its folder inside the task's.
        suffix: of its repository, `org/mulki-task3-SUFFIX`.
        kind: what it is, `A LoRA adapter`.
        trained: what of the model was trained, `LoRA adapters of rank 16`.
        details: the settings that go with it, a sentence of Markdown.
        tag: of its repository.
        bibtex: its paper, if there is one.
    """

    folder: str
    suffix: str
    kind: str
    trained: str
    details: str
    tag: str
    bibtex: str = ""


@dataclass
class MethodRecord:
    """What `results.json` says of the method, recorded when a run begins; empty in files of older versions.

    Attributes:
        summary: the method and the source of its equations, as Markdown.
        towers: the trained ones in words, `both towers`.
        bibtex: the paper; empty if there is none.
        settings: what the result depends on and is not the default, by field; tasks and model stand elsewhere.
    """

    summary: str = ""
    towers: str = ""
    bibtex: str = ""
    settings: dict[str, Any] = field(default_factory=dict)


@dataclass
class ProtocolResults:
    """Accuracies in percent by one protocol; fields as in [`StreamResults`]."""

    zero_shot: list[float] = field(default_factory=list)
    accuracy: list[list[float]] = field(default_factory=list)
    metrics: dict[str, float | None] = field(default_factory=dict)


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
        about: the method in words.
        artefact (*optional*): what every task leaves beside the model.
        others: by name, what further protocols make of the same predictions.
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
    about: MethodRecord = field(default_factory=MethodRecord)
    artefact: ArtefactRecord | None = None
    others: dict[str, ProtocolResults] = field(default_factory=dict)

    FILE = "results.json"

    @property
    def names(self) -> list[str]:
        """The names of the tasks."""
        return [task.name for task in self.tasks]

    @property
    def finished(self) -> int:
        """Number of finished tasks."""
        return len(self.accuracy)

    def of(self, protocol: str) -> "StreamResults | ProtocolResults":
        """Zero-shot row, matrix and metrics by `protocol`, which are its own for the headline's."""
        return self if protocol == self.protocol else self.others.setdefault(protocol, ProtocolResults())

    def measured(self, rows: dict[str, list[float]]) -> None:
        """Add the accuracies of the model before any training, by protocol."""
        for protocol, row in rows.items():
            self.of(protocol).zero_shot = row

    def add(
        self,
        rows: dict[str, list[float]],
        seconds: float | None = None,
        facts: dict[str, Any] | None = None,
        note: str = "",
    ) -> None:
        """Add the accuracies after one more task; with the last task come the metrics.

        Args:
            rows: by protocol.
            seconds: that learning took.
            facts, note: of its [`TaskRecord`].
        """
        task = self.tasks[self.finished]
        task.seconds, task.facts, task.note = seconds, facts or {}, note
        versions = ", ".join(f"{name} {number}" for name, number in self.versions.items())
        task.provenance = self.provenance | {"versions": versions}
        for protocol, row in rows.items():
            own = self.of(protocol)
            own.accuracy.append(row)
            if len(own.accuracy) == len(self.tasks):
                own.metrics = continual_metrics(own.accuracy, own.zero_shot or None)

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
            tasks = [_task(task) for task in content.pop("tasks")]
            base = BaseModel(**content.pop("base"))
            kinds = {"reference": ReferenceRecord, "about": MethodRecord, "artefact": ArtefactRecord}
            # An older file lacks some of them.
            parts = {name: kind(**part) for name, kind in kinds.items() if (part := content.pop(name, None))}
            others = {name: ProtocolResults(**other) for name, other in content.pop("others", {}).items()}
            return cls(tasks=tasks, base=base, others=others, **parts, **content)
        except (OSError, ValueError, TypeError, KeyError, AttributeError) as error:
            raise ConfigurationError(f"can't read results from {path}: {error}") from error


def _task(content: dict[str, Any]) -> TaskRecord:
    """As older files have it too, where the only fact had a key of its own."""
    error = content.pop("lora_error", None)
    return TaskRecord(**({"facts": {"lora_error": error}} if error is not None else {}) | content)


def task_folder(output: Path, names: list[str], position: int) -> Path:
    """Folder of a task's checkpoint, `task3-greek` for position 2."""
    return output / f"task{position + 1}-{names[position]}"
