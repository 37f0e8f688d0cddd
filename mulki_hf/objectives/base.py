"""What a method is to the trainer: features in, named loss parts out.

An objective never sees a model, a rank or a dataset. The trainer encodes the batch, fills a `FeatureBatch`, and the
objective returns a dict of weighted scalars that are summed into the loss and logged by name.
"""

from abc import ABC, abstractmethod
from dataclasses import dataclass
from typing import ClassVar

import torch
import torch.nn.functional as F
from torch import Tensor


@dataclass(frozen=True)
class Prototypes:
    """One teacher's prototypes of the task's `C` classes, all L2-normalised.

    Attributes:
        textual (`(C, d)`): the class's text feature, averaged over the templates.
        visual (`(K, d)`): mean image feature of the `K <= C` classes that have at least one training image.
        classes (`(K,)`, long): which class each row of `visual` stands for, ascending.
    """

    textual: Tensor
    visual: Tensor
    classes: Tensor

    def position(self, labels: Tensor) -> Tensor:
        """Rows of `visual` that belong to `labels`, all of which must be among `classes`."""
        return torch.searchsorted(self.classes, labels)


@dataclass(frozen=True)
class TeacherFeatures:
    """What one frozen teacher says about the batch; parts that the objective does not read stay `None`.

    Attributes:
        image (`(B, d)`): L2-normalised features of the task's images.
        reference (`(R, d)`): L2-normalised features of the reference images.
        prototypes ([`Prototypes`]): of the task's classes.
    """

    image: Tensor | None = None
    reference: Tensor | None = None
    prototypes: Prototypes | None = None


@dataclass(frozen=True)
class FeatureBatch:
    """Everything a loss may read. All features are fp32 and L2-normalised; only the student's carry gradient.

    Attributes:
        labels (`(B,)`, long): class of each image within the task; `None` only where no loss is asked for.
        logit_scale (`float`): `exp(logit_scale)` of the original model; never trained.
        image (`(B, d)`): the student's features of the task's images.
        text (`(C, d)`): the student's features of the task's classes.
        reference (`(R, d)`, *optional*): the student's features of reference images.
        original, previous ([`TeacherFeatures`], *optional*): the two teachers; for the first task the same object.
    """

    labels: Tensor | None
    logit_scale: float
    image: Tensor
    text: Tensor
    reference: Tensor | None = None
    original: TeacherFeatures | None = None
    previous: TeacherFeatures | None = None


class Objective(ABC):
    """A continual-learning method.

    Args:
        args ([`MulKIConfig`]): the objective reads its own fields from it.

    Class attributes:
        teachers: which frozen teachers it asks, out of `"original"` and `"previous"`.
        teacher_inputs: what it reads of them, out of `"image"`, `"reference"` and `"prototypes"`.
        towers: the towers that the method trains when `--train_towers` is not given.
        arguments: dataclass of the method's own fields; they become part of `MulKIConfig` and a group of options.
        summary: the method and the source of its equations, as Markdown for the model card.
        bibtex: the paper, for the model card; empty if there is none.
    """

    teachers: ClassVar[frozenset[str]] = frozenset()
    teacher_inputs: ClassVar[frozenset[str]] = frozenset()
    towers: ClassVar[str] = "both"
    arguments: ClassVar[type | None] = None
    summary: ClassVar[str]
    bibtex: ClassVar[str] = ""

    def __init__(self, args):
        self.args = args

    @classmethod
    def needs_reference(cls) -> bool:
        """Whether the method trains with reference images beside the task's own."""
        return "reference" in cls.teacher_inputs

    @property
    def average_every(self) -> int:
        """Optimizer steps between two samples of the running weight average; 0: no averaging."""
        return 0

    @property
    def merge(self) -> tuple[str, float] | None:
        """`(teacher, alpha)`: after a task the weights become `(1 - alpha) * student + alpha * teacher`."""
        return None

    def __call__(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """Weighted loss parts by name, each a scalar; their sum is the loss."""
        return {"task": task_loss(batch, self.args.label_smoothing_factor)} | self.retention(batch)

    @abstractmethod
    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """The weighted parts that keep what the model knew."""


def task_loss(batch: FeatureBatch, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the student's zero-shot classifier over the task's classes, mean over the batch."""
    return F.cross_entropy(
        class_logits(batch.image, batch.text, batch.logit_scale), batch.labels, label_smoothing=label_smoothing
    )


def class_logits(features: Tensor, anchors: Tensor, logit_scale: float) -> Tensor:
    """`s * features @ anchors.T`: `(N, d)` and `(M, d)` to `(N, M)`."""
    return logit_scale * features @ anchors.T


def distillation(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """Knowledge distillation per row: `T^2 * CE(softmax(teacher / T), log softmax(student / T))`, `(N, M)` to `(N,)`.

    Cross-entropy, not KL, as in the official ZSCL code: the gradient is the same.
    """
    target = (teacher_logits / temperature).softmax(dim=-1)
    return -(temperature**2) * (target * (student_logits / temperature).log_softmax(dim=-1)).sum(dim=-1)


def discrepancy_gate(original: Tensor, previous: Tensor) -> Tensor:
    """Share of the previous teacher per sample, `sigmoid(6 * (||v_O - v_P|| - 0.2))`: `(N, d)` twice to `(N,)`.

    Where the two teachers' features differ, the sample resembles what was learned since; where they agree, the
    original teacher keeps it. Constants of the official Select-and-Distill code.
    """
    return torch.sigmoid(6.0 * ((original - previous).norm(dim=-1) - 0.2))
