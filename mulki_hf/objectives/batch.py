"""What a loss may read of a batch: features of the student and of two teachers, each part by its declaration."""

from dataclasses import dataclass, field
from typing import Any, NoReturn

import torch
from torch import Tensor


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
        views (`(V, d)`): L2-normalised features of views of the task's images.
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
    views: Tensor = field(default=UNFILLED, repr=False)
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
        views (`(V, d)`): the student's features of views of the task's images, likewise; in some batches none.
        views_share (`float`): views that there are for each image of the task, on average.
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
    views: Tensor = field(default=UNFILLED, repr=False)
    views_share: float = 0.0
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
IMAGE_PARTS = ("reference", "views")
"""Of images beside the task's own."""
TEACHER_PARTS = ("image", *IMAGE_PARTS, "prototypes", "text", *PROMPT_PARTS)
STUDENT_PARTS = (*IMAGE_PARTS, "earlier", "words")
PATHS = frozenset({*STUDENT_PARTS, *(f"{teacher}.{part}" for teacher in TEACHERS for part in TEACHER_PARTS)})
"""What an objective may declare in `needs`, beside the student's features of the task, which are always there."""
