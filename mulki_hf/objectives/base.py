"""What a method is to the trainer: features in, named loss parts out.

An objective never sees a model, a rank or a dataset. The trainer encodes the batch, fills a `FeatureBatch`, and the
objective returns a dict of weighted scalars that are summed into the loss and logged by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, ClassVar, Literal, NoReturn

import torch
import torch.nn.functional as F
from torch import Tensor


LOGITS_AT_A_TIME = 2**24
"""Of classes against classes, whose whole matrix grows with the square of their number."""


# Compared by identity: what is computed of one is computed once.
@dataclass(frozen=True, eq=False)
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


# Reading a part that is not filled raises, so whoever reads one has a value.
UNFILLED: Any = None


class UndeclaredNeed(AttributeError):
    """An objective reads a part of the batch that its `needs` do not name."""


@dataclass(frozen=True)
class TeacherFeatures:
    """What one frozen teacher says about the batch. Of these only what the objective's `needs` name is filled.

    Attributes:
        image (`(B, d)`): L2-normalised features of the task's images.
        reference (`(R, d)`): L2-normalised features of the reference images.
        prototypes ([`Prototypes`]): of the task's classes.
        text (`(C, d)`): features of the task's classes.
        earlier (`(E, d)`): features of the step's prompts of earlier tasks; none in the first task.
        words (`(W, d)`): features of the step's prompts of words that name nothing.
        texts (`(Q, d)`): features of the step's reference texts.
        role: `original` or `previous`.

    Raises:
        UndeclaredNeed: a part is read that is not filled.
    """

    image: Tensor = field(default=UNFILLED, repr=False)
    reference: Tensor = field(default=UNFILLED, repr=False)
    prototypes: Prototypes = field(default=UNFILLED, repr=False)
    text: Tensor = field(default=UNFILLED, repr=False)
    earlier: Tensor = field(default=UNFILLED, repr=False)
    words: Tensor = field(default=UNFILLED, repr=False)
    texts: Tensor = field(default=UNFILLED, repr=False)
    role: str = "teacher"

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return _declared(f"{self.role}.{name}") if value is None and name in TEACHER_PARTS else value


@dataclass(frozen=True)
class FeatureBatch:
    """Everything a loss may read. All features are fp32 and L2-normalised; only the student's carry gradient.

    Attributes:
        labels (`(B,)`, long): class of each image within the task; `None` only where no loss is asked for.
        logit_scale (`float`): `exp(logit_scale)` of the original model; never trained.
        image (`(B, d)`): the student's features of the task's images.
        text (`(C, d)`): the student's features of the task's classes.
        reference (`(R, d)`): the student's features of reference images; only for who declares it.
        earlier (`(E, d)`): the student's features of the step's prompts of earlier tasks, likewise; `E = 0` in the
            first task.
        words (`(W, d)`): the student's features of the step's prompts of words that name nothing, likewise.
        groups (`(C,)`, long, *optional*): where the classes are those of several tasks, which of them each belongs to;
            an image's label competes with those of its own alone.
        original, previous ([`TeacherFeatures`]): the two teachers; for the first task they say the same.

    Raises:
        UndeclaredNeed: a part is read that is not filled.
    """

    labels: Tensor | None
    logit_scale: float
    image: Tensor
    text: Tensor
    reference: Tensor = field(default=UNFILLED, repr=False)
    earlier: Tensor = field(default=UNFILLED, repr=False)
    words: Tensor = field(default=UNFILLED, repr=False)
    groups: Tensor | None = None
    original: TeacherFeatures = TeacherFeatures(role="original")
    previous: TeacherFeatures = TeacherFeatures(role="previous")

    def __getattribute__(self, name: str) -> Any:
        value = super().__getattribute__(name)
        return _declared(name) if value is None and name in STUDENT_PARTS else value


def _declared(path: str) -> NoReturn:
    raise UndeclaredNeed(f"the objective reads {path!r} of the batch, which its `needs` do not name: add it there")


TEACHERS = ("original", "previous")
PROMPT_PARTS = ("earlier", "words", "texts")
"""Of prompts beside the task's own, which are drawn anew for every step; see [`Objective.per_step`]."""
TEACHER_PARTS = ("image", "reference", "prototypes", "text", *PROMPT_PARTS)
STUDENT_PARTS = ("reference", "earlier", "words")
PATHS = frozenset({*STUDENT_PARTS, *(f"{teacher}.{part}" for teacher in TEACHERS for part in TEACHER_PARTS)})
"""What an objective may declare in `needs`, beside the student's features of the task, which are always there."""


class Objective(ABC):
    """A continual-learning method: a loss as a pure function of features, and a declaration of whatever else it wants.

    Args:
        args ([`MulKIConfig`]): the objective reads its own fields from it.

    Class attributes:
        needs: the parts of a [`FeatureBatch`] that it reads beside the student's features of the task, by path:
            `reference`, `original.image`, `previous.prototypes`, ... Nothing else is computed. Where they depend on
            a setting, an instance sets its own in `__init__`.
        towers: the towers that the method trains when `--train_towers` is not given.
        learns: `each` task, one after another; `all` of them at once, in one stage of as many steps as theirs together;
            `none`: the stream is evaluated and nothing is trained.
        label_smoothing: of the task loss, when `--label_smoothing_factor` is not given.
        reference_per_sample: reference images beside each of the task, when `--reference_per_sample` is not given.
        arguments: dataclass of the method's own fields; they become part of `MulKIConfig` and a group of options.
        summary: the method and the source of its equations, as Markdown for the model card.
        bibtex: the paper, for the model card; empty if there is none.
    """

    needs: frozenset[str] = frozenset()
    towers: ClassVar[str] = "both"
    learns: ClassVar[Literal["each", "all", "none"]] = "each"
    label_smoothing: ClassVar[float] = 0.0
    reference_per_sample: ClassVar[int] = 2
    arguments: ClassVar[type | None] = None
    summary: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""

    def __init__(self, args: Any):
        self.args = args

    def needs_reference(self) -> bool:
        """Whether it, or a teacher for it, looks at reference images."""
        return any(path.endswith("reference") for path in self.needs)

    def needs_prototypes(self) -> bool:
        """Whether it asks for prototypes; then every task's model gets its own."""
        return any(path.endswith("prototypes") for path in self.needs)

    def needs_texts(self) -> bool:
        """Whether it looks at reference texts."""
        return any(path.endswith("texts") for path in self.needs)

    @property
    def per_step(self) -> Mapping[str, int]:
        """How many prompts a step draws, for `earlier`, `words` and `texts`; all of them where nothing is said."""
        return {}

    # In weight space, where no loss can see

    @property
    def average_every(self) -> int:
        """Optimizer steps between two samples of the running weight average; 0: no averaging."""
        return 0

    @property
    def merge(self) -> tuple[str, float] | None:
        """`(teacher, alpha)`: after a task the weights become `(1 - alpha) * student + alpha * teacher`.

        The teacher is `original`, `previous` (nothing happens after the first task) or `start`, the weights that the
        task began with.
        """
        return None

    @property
    def anchor(self) -> float:
        """Strength of the squared distance to the weights at the task's start, which is added to the loss; 0: none."""
        return 0.0

    def __call__(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """Weighted loss parts by name, each a scalar; their sum is the loss."""
        return {"task": task_loss(batch, self.args.label_smoothing_factor)} | self.retention(batch)

    @abstractmethod
    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        """The weighted parts that keep what the model knew."""


def task_loss(batch: FeatureBatch, label_smoothing: float = 0.0) -> Tensor:
    """Cross-entropy of the student's zero-shot classifier over the task's classes, mean over the batch.

    Where the classes are those of several tasks, each image's over the classes of its own.
    """
    logits = class_logits(batch.image, batch.text, batch.logit_scale)
    if batch.groups is None:
        return F.cross_entropy(logits, batch.labels, label_smoothing=label_smoothing)
    labels = torch.as_tensor(batch.labels)
    own = batch.groups[labels]
    losses = []
    for group in own.unique():
        rows, classes = own == group, batch.groups == group
        positions = classes.cumsum(dim=0)[labels[rows]] - 1
        losses.append(
            F.cross_entropy(logits[rows][:, classes], positions, label_smoothing=label_smoothing, reduction="sum")
        )
    return torch.stack(losses).sum() / len(logits)


def class_logits(features: Tensor, anchors: Tensor, logit_scale: float) -> Tensor:
    """`s * features @ anchors.T`: `(N, d)` and `(M, d)` to `(N, M)`."""
    return logit_scale * features @ anchors.T


@torch.no_grad()
def relate(features: Tensor, anchors: Tensor, scale: float) -> tuple[Tensor, Tensor]:
    """What is left of `softmax_j(scale * f . a_j)` per row, with `LOGITS_AT_A_TIME` of the `(N, M)` logits in memory.

    Args:
        features (`(N, d)`), anchors (`(M, d)`), scale (`float`): as in [`class_logits`].

    Returns:
        `log sum_j exp(scale * f . a_j)`, `(N,)`, and the mean of the anchors by that softmax, `(N, d)`.
    """
    partitions, expected = [], []
    for rows in features.split(max(1, LOGITS_AT_A_TIME // len(anchors))):
        logits = class_logits(rows, anchors, scale)
        partitions.append(logits.logsumexp(dim=-1))
        expected.append(logits.sub_(partitions[-1][:, None]).exp_() @ anchors)
    return torch.cat(partitions), torch.cat(expected)


class _LogPartition(torch.autograd.Function):
    """The gradient of the first thing that [`relate`] returns is, but for the scale, the second."""

    @staticmethod
    def forward(ctx, features, anchors, scale):
        partition, expected = relate(features, anchors, scale)
        ctx.save_for_backward(expected)
        ctx.scale = scale
        return partition

    @staticmethod
    def backward(ctx, gradient):
        (expected,) = ctx.saved_tensors
        return ctx.scale * gradient[:, None] * expected, None, None


def log_partition(features: Tensor, anchors: Tensor, scale: float) -> Tensor:
    """`log sum_j exp(scale * f . a_j)` per row, with gradient for the features: `(N, d)` and `(M, d)` to `(N,)`."""
    return _LogPartition.apply(features, anchors, scale)


def distillation(teacher_logits: Tensor, student_logits: Tensor, temperature: float) -> Tensor:
    """Knowledge distillation per row: `T^2 * CE(softmax(teacher / T), log softmax(student / T))`, `(N, M)` to `(N,)`.

    Cross-entropy, not KL, as in the official ZSCL code: the gradient is the same.
    """
    target = (teacher_logits / temperature).softmax(dim=-1)
    return -(temperature**2) * (target * (student_logits / temperature).log_softmax(dim=-1)).sum(dim=-1)


def mutual_distillation(images: Tensor, texts: Tensor, student: Tensor, scale: float, temperature: float) -> Tensor:
    """ZSCL's two terms: each image relates to the texts, and each text to the images, as the teacher says; a scalar.

    `KD_T(a, b) + KD_T(a^T, b^T)`, each a mean over its rows, with `a = s v U^T` and `b = s v_S U^T`.

    Args:
        images (`(R, d)`): the teacher's features v of images.
        texts (`(Q, d)`): the teacher's features U of texts, which the student's images are compared with as well.
        student (`(R, d)`): the student's features v_S of the images.
        scale (`float`): s.
        temperature (`float`): T.
    """
    taught, said = class_logits(images, texts, scale), class_logits(student, texts, scale)
    return distillation(taught, said, temperature).mean() + distillation(taught.T, said.T, temperature).mean()


def discrepancy_gate(original: Tensor, previous: Tensor) -> Tensor:
    """Share of the previous teacher per sample, `sigmoid(6 * (||v_O - v_P|| - 0.2))`: `(N, d)` twice to `(N,)`.

    Where the two teachers' features differ, the sample resembles what was learned since; where they agree, the
    original teacher keeps it. Constants of the official Select-and-Distill code.
    """
    return torch.sigmoid(6.0 * ((original - previous).norm(dim=-1) - 0.2))
