"""MulKI (arXiv 2411.06764): two teachers, prototypes and four stages.

Reconstructed from the paper's description; where the equations differ, this is ours.
"""

import math
from dataclasses import dataclass, field
from typing import Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import (
    FeatureBatch,
    Objective,
    Prototypes,
    TeacherFeatures,
    class_logits,
    discrepancy_gate,
    distillation,
    log_partition,
)


@dataclass
class MulKIArguments:
    """MulKI's four stages: a switch and a strength for each."""

    _argument_group_name = "MulKI (four stages)"

    eliciting: bool = field(
        default=True, metadata={"help": "Stage 1: align both modalities with the previous teacher's visual prototypes."}
    )
    elicit_weight: float = field(default=0.5, metadata={"help": "Stage 1: strength lambda_e of the prototype loss."})
    adding: bool = field(
        default=True, metadata={"help": "Stage 2: relate to each teacher's prototypes as the teacher itself does."}
    )
    relation_weight: float = field(default=0.3, metadata={"help": "Stage 2: strength lambda_r of the relation loss."})
    relation_temperature: float = field(
        default=2.0, metadata={"help": "Stage 2: temperature T of the relation distillation."}
    )
    distinguishing: bool = field(
        default=True, metadata={"help": "Stage 3: weigh the two teachers per sample; off: both count one half."}
    )
    teacher_weighting: Literal["confidence", "absolute", "discrepancy", "uniform"] = field(
        default="confidence",
        metadata={
            "help": "Stage 3: `confidence` (who classifies the sample better teaches it), `absolute` (likewise, but "
            "shrinking where both teachers are wrong), `discrepancy` (Select-and-Distill's rule) or `uniform`."
        },
    )
    confidence_temperature: float = field(
        default=1.0, metadata={"help": "Stage 3: kappa; the smaller, the sharper the choice of a teacher."}
    )
    feature_weight: float = field(
        default=3.0, metadata={"help": "Strength lambda_f of the weighted feature distillation from both teachers."}
    )
    connecting: bool = field(
        default=True, metadata={"help": "Stage 4: average the weights within the task, merge them between tasks."}
    )
    average_every: int = field(
        default=10, metadata={"help": "Stage 4: optimizer steps between two samples of the weight average; 0: none."}
    )
    merge_alpha: float = field(
        default=0.1, metadata={"help": "Stage 4: share of the previous task's weights in the merged weights."}
    )

    def __post_init__(self):
        for name in ("elicit_weight", "relation_weight", "feature_weight", "average_every"):
            if not 0 <= getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be >= 0 and finite, got {getattr(self, name)}")
        for name in ("relation_temperature", "confidence_temperature"):
            if not 0 < getattr(self, name) < math.inf:
                raise ValueError(f"{name} must be > 0 and finite, got {getattr(self, name)}")
        if self.average_every != int(self.average_every):
            raise ValueError(f"average_every must be a whole number of steps, got {self.average_every}")
        if not 0 <= self.merge_alpha < 1:
            raise ValueError(f"merge_alpha must be in [0, 1), got {self.merge_alpha}")
        if self.teacher_weighting not in TEACHER_WEIGHTINGS:
            raise ValueError(
                f"teacher_weighting must be one of {', '.join(TEACHER_WEIGHTINGS)}, got {self.teacher_weighting!r}"
            )


class MulKI(Objective):
    """`L = L_task + lambda_e * L_elicit + sum_m mean_x w_m(x) * [lambda_r * L_add,m(x) + lambda_f * ||v_S - v_m||^2]`.

    Uses no data beyond the task's own. Parts: `elicit` (stage 1), `relation` (stage 2), `feature`; the teachers'
    weights `w` are stage 3, averaging and merging stage 4.
    """

    needs = frozenset({"original.image", "original.prototypes", "previous.image", "previous.prototypes"})
    arguments = MulKIArguments
    summary = (
        "MulKI ([arXiv 2411.06764](https://arxiv.org/abs/2411.06764)): two frozen teachers, the original CLIP and the "
        "student after the previous task; prototypes of the task's classes; four stages (eliciting ideas, adding new "
        "ideas, distinguishing ideas, making connections); no data beyond the task's own.\n\n"
        "This is a **reconstruction** from the paper's description; where the equations differ, they are mulki-hf's:"
        "\n\n"
        "`L = L_task + λ_e L_elicit + Σ_m mean_x w_m(x) [λ_r L_add,m(x) + λ_f ‖v_S(x) − v_m(x)‖²]`, then a running "
        "average of the weights within the task and a merge with the previous task's weights."
    )
    bibtex = """@article{zhang2026mulki,
  title = {Multi-Stage Knowledge Integration of Vision-Language Models for Continual Learning},
  author = {Zhang, Hongsheng and Ji, Zhong and Liu, Jingren and Pang, Yanwei and Han, Jungong},
  journal = {IEEE Transactions on Image Processing},
  volume = {35},
  pages = {615--628},
  year = {2026},
  note = {arXiv:2411.06764}
}"""

    @property
    def average_every(self) -> int:
        return self.args.average_every if self.args.connecting else 0

    @property
    def merge(self) -> tuple[str, float] | None:
        return ("previous", self.args.merge_alpha) if self.args.connecting and self.args.merge_alpha > 0 else None

    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        args = self.args
        parts = {}
        if args.eliciting and args.elicit_weight > 0:
            parts["elicit"] = args.elicit_weight * elicit_loss(batch, batch.previous.prototypes)

        relates = args.adding and args.relation_weight > 0
        if relates or args.feature_weight > 0:
            weighting = args.teacher_weighting if args.distinguishing else "uniform"
            weights = TEACHER_WEIGHTINGS[weighting](batch, args.confidence_temperature)
            taught = list(zip(weights, (batch.original, batch.previous), strict=True))
        if relates:
            losses = relation_losses(batch, [teacher for _, teacher in taught], args.relation_temperature)
            parts["relation"] = args.relation_weight * sum(
                (weight * loss).mean() for weight, loss in zip(weights, losses, strict=True)
            )
        if args.feature_weight > 0:
            parts["feature"] = args.feature_weight * sum(
                (weight * (batch.image - teacher.image).square().sum(dim=-1)).mean() for weight, teacher in taught
            )
        return parts


def elicit_loss(batch: FeatureBatch, anchors: Prototypes) -> Tensor:
    """Stage 1: images and class texts both classify into the visual prototypes; a scalar.

    `1/2 CE(s v_S Pv^T, y) + 1/2 mean_c CE(s u_S(c) Pv^T, c)`, over the classes that have a visual prototype.
    """
    images = class_logits(batch.image, anchors.visual, batch.logit_scale)
    shown = batch.text[anchors.classes]
    own = batch.logit_scale * (shown * anchors.visual).sum(dim=-1)
    texts = log_partition(shown, anchors.visual, batch.logit_scale) - own
    return 0.5 * F.cross_entropy(images, anchors.position(batch.labels)) + 0.5 * texts.mean()


def relation_losses(batch: FeatureBatch, teachers: list[TeacherFeatures], temperature: float) -> list[Tensor]:
    """Stage 2: the student relates to each teacher's prototypes as that teacher does; per sample, a `(B,)` for each.

    Intra- and inter-modality relations on the image side (per sample) and on the text side (mean over the classes,
    the same for every sample).
    """
    # In the first task both teachers are one.
    texts = {
        prototypes: text_relation(batch, prototypes, temperature)
        for prototypes in dict.fromkeys(teacher.prototypes for teacher in teachers)
    }
    return [image_relation(batch, teacher, temperature) + texts[teacher.prototypes] for teacher in teachers]


def image_relation(batch: FeatureBatch, teacher: TeacherFeatures, temperature: float) -> Tensor:
    """Distillation of the relations of images to both kinds of prototypes, `(B,)`."""
    return sum(
        distillation(
            class_logits(teacher.image, anchors, batch.logit_scale),
            class_logits(batch.image, anchors, batch.logit_scale),
            temperature,
        )
        for anchors in (teacher.prototypes.visual, teacher.prototypes.textual)
    )


def text_relation(batch: FeatureBatch, prototypes: Prototypes, temperature: float) -> Tensor:
    """The same of class texts, mean over the classes; a scalar.

    `CE(p, softmax(s))` is `logsumexp(s) - <p, s>`, and of logits `s_j = l u . a_j` the product is
    `l u . sum_j p_j a_j`: of the teacher's `C x C` probabilities an expected anchor for each class is enough.
    """
    scale = batch.logit_scale / temperature
    partitions = sum(log_partition(batch.text, a, scale) for a in (prototypes.visual, prototypes.textual))
    products = scale * (batch.text * prototypes.expected(scale)).sum(dim=-1)
    return temperature**2 * (partitions - products).mean()


def _class_loss(batch: FeatureBatch, teacher: TeacherFeatures) -> Tensor:
    """The teacher's own cross-entropy on each sample, `(B,)`."""
    logits = class_logits(teacher.image, teacher.prototypes.textual, batch.logit_scale)
    return F.cross_entropy(logits, batch.labels, reduction="none")


def confidence_weights(batch: FeatureBatch, kappa: float) -> tuple[Tensor, Tensor]:
    """`w_m(x)` proportional to `exp(-CE_m(x) / kappa)`, summing to one: who knows the sample teaches it."""
    losses = torch.stack([_class_loss(batch, batch.original), _class_loss(batch, batch.previous)])
    original, previous = (-losses / kappa).softmax(dim=0)
    return original, previous


def absolute_weights(batch: FeatureBatch, kappa: float) -> tuple[Tensor, Tensor]:
    """`w_m(x) = 1/2 exp(-CE_m(x) / kappa)`: both shrink where both teachers are wrong about the sample."""
    return (
        0.5 * (-_class_loss(batch, batch.original) / kappa).exp(),
        0.5 * (-_class_loss(batch, batch.previous) / kappa).exp(),
    )


def discrepancy_weights(batch: FeatureBatch, kappa: float) -> tuple[Tensor, Tensor]:
    """Select-and-Distill's rule on the task's own images; `kappa` plays no part."""
    previous = discrepancy_gate(batch.original.image, batch.previous.image)
    return 1 - previous, previous


def uniform_weights(batch: FeatureBatch, kappa: float) -> tuple[Tensor, Tensor]:
    """One half each; `kappa` plays no part."""
    half = torch.full_like(batch.labels, 0.5, dtype=batch.image.dtype)
    return half, half


TEACHER_WEIGHTINGS = {
    "confidence": confidence_weights,
    "absolute": absolute_weights,
    "discrepancy": discrepancy_weights,
    "uniform": uniform_weights,
}
