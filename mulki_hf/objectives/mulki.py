"""MulKI (arXiv 2411.06764): two teachers, prototypes and four stages.

Reconstructed from the paper's description; where the equations differ, this is ours.
"""

from dataclasses import dataclass, field
from typing import Any, Literal

import torch
import torch.nn.functional as F
from torch import Tensor

from .base import Objective
from .batch import TEACHERS, FeatureBatch, Prototypes, TeacherFeatures
from .losses import class_logits, discrepancy_gate, log_partition
from .ranges import check_strengths, check_temperature


@dataclass
class MulKIArguments:
    """MulKI's four stages: a switch and a strength for each."""

    _argument_group_name = "MulKI (four stages)"

    eliciting: bool = field(
        default=True, metadata={"help": "Stage 1: align both modalities with the previous teacher's visual prototypes."}
    )
    elicit_weight: float = field(default=0.5, metadata={"help": "Stage 1: strength lambda_e of the prototype loss."})
    adding: bool = field(
        default=True,
        metadata={
            "help": "Stage 2: hold texts: names of earlier tasks at the previous teacher, words at the original; where "
            "the text tower is frozen there is nothing to hold."
        },
    )
    names_weight: float = field(
        default=10.0, metadata={"help": "Stage 2: strength lambda_n of holding the class names of earlier tasks."}
    )
    words_weight: float = field(
        default=3.0, metadata={"help": "Stage 2: strength lambda_w of holding words that name nothing."}
    )
    names_per_step: int = field(
        default=32, metadata={"help": "Stage 2: prompts of earlier tasks that a step draws at random."}
    )
    words_per_step: int = field(default=16, metadata={"help": "Stage 2: prompts of words that a step draws, likewise."})
    distinguishing: bool = field(
        default=True, metadata={"help": "Stage 3: weigh the two teachers per sample; off: both count one half."}
    )
    teacher_weighting: Literal["confidence", "absolute", "discrepancy", "uniform", "original", "previous"] = field(
        default="confidence",
        metadata={
            "help": "Stage 3: `confidence` (who classifies the sample better teaches it), `absolute` (likewise, but "
            "shrinking where both teachers are wrong), `discrepancy` (Select-and-Distill's rule), `uniform`, or one "
            "teacher alone, the `original` or the `previous` one."
        },
    )
    confidence_temperature: float = field(
        default=1.0, metadata={"help": "Stage 3: kappa; the smaller, the sharper the choice of a teacher."}
    )
    feature_weight: float = field(
        default=12.0,
        metadata={
            "help": "Stage 3: strength lambda_f of the weighted feature distillation from both teachers (not where the "
            "image tower is frozen)."
        },
    )
    views_weight: float = field(
        default=4.0,
        metadata={
            "help": "Stage 3: strength lambda_v of holding views of the task's own images at both teachers (likewise); "
            "how many, says views_per_sample."
        },
    )
    connecting: bool = field(
        default=True, metadata={"help": "Stage 4: average the weights within the task, merge them between tasks."}
    )
    average_every: int = field(
        default=10, metadata={"help": "Stage 4: optimizer steps between two samples of the weight average; 0: none."}
    )
    merge_alpha: float = field(
        default=0.0, metadata={"help": "Stage 4: share of the previous task's weights in what a task leaves; 0: none."}
    )

    def __post_init__(self):
        strengths = ("elicit_weight", "names_weight", "words_weight", "feature_weight", "views_weight", "average_every")
        check_strengths(self, *strengths)
        check_temperature(self, "confidence_temperature")
        for name in ("names_per_step", "words_per_step"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.average_every != int(self.average_every):
            raise ValueError(f"average_every must be a whole number of steps, got {self.average_every}")
        if not 0 <= self.merge_alpha < 1:
            raise ValueError(f"merge_alpha must be in [0, 1), got {self.merge_alpha}")
        if self.teacher_weighting not in TEACHER_WEIGHTINGS:
            raise ValueError(
                f"teacher_weighting must be one of {', '.join(TEACHER_WEIGHTINGS)}, got {self.teacher_weighting!r}"
            )


class MulKI(Objective):
    """`L = L_task + lambda_e * L_elicit + L_add + L_distil`.

    `L_add = lambda_n * mean_c ||u_S(c) - u_P(c)||^2 + lambda_w * mean_w ||u_S(w) - u_O(w)||^2` over names c of earlier
    tasks and words w; `L_distil = lambda_f * sum_m mean_x w_m(x) * ||v_S(x) - v_m(x)||^2 + lambda_v / 2 * sum_m mean_z
    ||v_S(z) - v_m(z)||^2` over the task's images x and views z of them, m in O, P. Uses no data beyond the task's own.
    Parts: `elicit` (stage 1), `names` and `words` (stage 2; none of a frozen text tower), `feature`, by the teachers'
    weights w, and `views` (stage 3; none of a frozen image tower); stage 4 is averaging and merging.
    """

    arguments = MulKIArguments
    disconnected_by = "switch it off (--no_connecting)"
    summary = (
        "MulKI ([arXiv 2411.06764](https://arxiv.org/abs/2411.06764)): two frozen teachers, the original CLIP and the "
        "student after the previous task; prototypes of the task's classes; four stages (eliciting ideas, adding new "
        "ideas, distinguishing ideas, making connections); no data beyond the tasks' own.\n\n"
        "This is a **reconstruction** from the paper's description; where the equations differ, they are mulki-hf's:"
        "\n\n"
        "`L = L_task + λ_e L_elicit + λ_n mean_c ‖u_S(c) − u_P(c)‖² + λ_w mean_w ‖u_S(w) − u_O(w)‖² + "
        "λ_f Σ_m mean_x w_m(x) ‖v_S(x) − v_m(x)‖² + λ_v ½ Σ_m mean_z ‖v_S(z) − v_m(z)‖²`, then a running average of "
        "the weights within the task. Held are the text features of the earlier tasks' class names c and of words w "
        "that name nothing (not where the text tower is frozen), and the features of the task's own images x and of "
        "views z made of them (not where the image tower is)."
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

    def __init__(self, args: Any):
        super().__init__(args)
        self.weighting = args.teacher_weighting if args.distinguishing else "uniform"
        # Views have no label by which one teacher could know them better.
        self.view_teachers = (self.weighting,) if self.weighting in TEACHERS else TEACHERS
        needs = set()
        if args.eliciting and args.elicit_weight > 0:
            needs.add("previous.prototypes")
        # A tower that is not trained says what it said.
        if args.feature_weight > 0 and args.train_towers != "text":
            needs |= {"original.image", "previous.image"}
            if self.weighting in ("confidence", "absolute"):
                needs |= {"original.prototypes", "previous.prototypes"}
        if args.views_weight > 0 and args.train_towers != "text":
            needs |= {"views", *(f"{teacher}.views" for teacher in self.view_teachers)}
        if args.adding and args.train_towers != "vision":
            needs |= {"earlier", "previous.earlier"} if args.names_weight > 0 else set()
            needs |= {"words", "original.words"} if args.words_weight > 0 else set()
        self.needs = frozenset(needs)

    @property
    def average_every(self) -> int:
        return self.args.average_every if self.args.connecting else 0

    @property
    def merge(self) -> tuple[str, float] | None:
        return ("previous", self.args.merge_alpha) if self.args.connecting and self.args.merge_alpha > 0 else None

    @property
    def per_step(self) -> dict[str, int]:
        return {"earlier": self.args.names_per_step, "words": self.args.words_per_step}

    def retention(self, batch: FeatureBatch) -> dict[str, Tensor]:
        args = self.args
        parts = {}
        if args.eliciting and args.elicit_weight > 0:
            parts["elicit"] = args.elicit_weight * elicit_loss(batch, batch.previous.prototypes)
        if "earlier" in self.needs and len(batch.earlier):
            parts["names"] = args.names_weight * distances(batch.earlier, batch.previous.earlier).mean()
        if "words" in self.needs:
            parts["words"] = args.words_weight * distances(batch.words, batch.original.words).mean()
        if "original.image" in self.needs:
            weighting = TEACHER_WEIGHTINGS[self.weighting]
            weights = weighting(batch, args.confidence_temperature)
            parts["feature"] = args.feature_weight * sum(
                (weight * distances(batch.image, teacher.image)).mean()
                for weight, teacher in zip(weights, (batch.original, batch.previous), strict=True)
            )
        if "views" in self.needs:
            teachers = [getattr(batch, name) for name in self.view_teachers]
            held = torch.stack([distances(batch.views, teacher.views) for teacher in teachers]).mean(dim=0)
            # A mean, of as many as there are on average: batches of a step count by their images.
            parts["views"] = args.views_weight * held.sum() / (batch.views_share * len(batch.image))
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


def distances(features: Tensor, others: Tensor) -> Tensor:
    """Squared distances by row: `(N, d)` twice to `(N,)`."""
    return (features - others).square().sum(dim=-1)


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
    half = _constant(batch, 0.5)
    return half, half


def original_weights(batch: FeatureBatch, kappa: float) -> tuple[Tensor, Tensor]:
    """Teacher O alone; `kappa` plays no part."""
    return _constant(batch, 1.0), _constant(batch, 0.0)


def previous_weights(batch: FeatureBatch, kappa: float) -> tuple[Tensor, Tensor]:
    """Teacher P alone; `kappa` plays no part."""
    return _constant(batch, 0.0), _constant(batch, 1.0)


def _constant(batch: FeatureBatch, value: float) -> Tensor:
    return batch.image.new_full((len(batch.image),), value)


TEACHER_WEIGHTINGS = {
    "confidence": confidence_weights,
    "absolute": absolute_weights,
    "discrepancy": discrepancy_weights,
    "uniform": uniform_weights,
    "original": original_weights,
    "previous": previous_weights,
}
