"""What methods share: the task's loss, distillation, and the gate between two teachers; functions of features."""

import torch
import torch.nn.functional as F
from torch import Tensor

from .batch import FeatureBatch


LOGITS_AT_A_TIME = 2**24
"""Of classes against classes, whose whole matrix grows with the square of their number."""


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
