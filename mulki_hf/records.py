"""What results say of tasks, reference data, base model, artefact and method: in words, for the cards."""

from dataclasses import dataclass, field
from typing import Any


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
            of a layer when stage 4's result was cut to the rank; `left_out`, how many steps were, if any.
        note: the same in a sentence, for the card.
        steps: optimizer steps that learning took; unknown before, and in files of older versions.
        fingerprint: of images and labels, whatever their format and place; unknown in files of older versions.
        limits: what was asked of a sample, by the field of [`TaskConfig`] (`shots`, `max_eval_samples`, ...), and of
            how many images it was drawn, as `training_images` and `evaluation_images`; empty if all were used.
        eval_templates (*optional*): those that accuracies are of, where they are others than `templates`.
        settings: training settings of its own, by name.
        benchmark: of a benchmark's dataset its `name` (`mtil:aircraft`), what was published as `zero_shot`, `notes` for
            card and table, which of `train` and `evaluation` are images `redrawn` at random in place of the published,
            and the fields `changed` with which it is that dataset no longer; None of any other.
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
    steps: int | None = None
    fingerprint: str | None = None
    limits: dict[str, int] = field(default_factory=dict)
    eval_templates: list[str] | None = None
    settings: dict[str, Any] = field(default_factory=dict)
    benchmark: dict[str, Any] | None = None
    provenance: dict[str, str | None] = field(default_factory=dict)

    @property
    def evaluation_templates(self) -> list[str]:
        """Those that accuracies are of."""
        return self.templates if self.eval_templates is None else self.eval_templates


@dataclass
class ReferenceRecord:
    """What `results.json` says of the unlabelled reference images and texts.

    Attributes:
        dataset, license: as in [`TaskRecord`], of the images.
        images, texts: how many there are.
        fingerprint: of the images; behind a dash, or without images, that of the texts.
        drawn_from: how many rows the images were drawn from; None where all are used.
        text_dataset, text_license: of the texts, where they come from a dataset of their own.
    """

    dataset: str
    images: int
    license: str | None = None
    fingerprint: str | None = None
    texts: int = 0
    drawn_from: int | None = None
    text_dataset: str | None = None
    text_license: str | None = None


@dataclass
class EncoderRecord:
    """Which kind of dual encoder a model is, in words for the cards; CLIP in files of older versions.

    Attributes:
        name: what it is called.
        model_type: of its configuration.
        architecture: the class that loads it.
        padding: of texts, as its processor takes it.
        bibtex: its paper; empty: CLIP's.
    """

    name: str = "CLIP"
    model_type: str = "clip"
    architecture: str = "CLIPModel"
    padding: str = "longest"
    bibtex: str = ""


@dataclass
class BaseModel:
    """The model that a stream started from: its name, its id if it came from the Hub, its licence where known."""

    name: str
    hub_id: str | None = None
    revision: str | None = None
    license: str | None = None
    embedded: bool = False
    encoder: EncoderRecord = field(default_factory=EncoderRecord)


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
        prototypes: whether every task's folder holds those of its model.
    """

    summary: str = ""
    towers: str = ""
    bibtex: str = ""
    settings: dict[str, Any] = field(default_factory=dict)
    prototypes: bool = True
