"""What a method is to the trainer: features in, named loss parts out.

An objective never sees a model, a rank or a dataset. The trainer encodes the batch, fills a `FeatureBatch`, and the
objective returns a dict of weighted scalars that are summed into the loss and logged by name.
"""

from abc import ABC, abstractmethod
from collections.abc import Mapping
from typing import Any, ClassVar, Literal

from torch import Tensor

from .batch import FeatureBatch
from .losses import task_loss


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
        relates_images: whether its loss relates the images of a batch to one another, and is no sum over them: on
            several ranks it sees the images of all. Where it depends on a setting, an instance sets its own.
        label_smoothing: of the task loss, when `--label_smoothing_factor` is not given.
        reference_per_sample: reference images beside each of the task, when `--reference_per_sample` is not given.
        views_per_sample: views beside each image of the task, when `--views_per_sample` is not given.
        disconnected_by: advice to who can't have the average, merge or anchor that it declares.
        arguments: dataclass of the method's own fields; they become part of `MulKIConfig` and a group of options.
        summary: the method and the source of its equations, as Markdown for the model card.
        bibtex: the paper, for the model card; empty if there is none.
    """

    needs: frozenset[str] = frozenset()
    towers: ClassVar[str] = "both"
    learns: ClassVar[Literal["each", "all", "none"]] = "each"
    relates_images: bool = False
    label_smoothing: ClassVar[float] = 0.0
    reference_per_sample: ClassVar[int] = 2
    views_per_sample: ClassVar[float] = 1 / 16
    disconnected_by: ClassVar[str] = "choose another method"
    arguments: ClassVar[type | None] = None
    summary: ClassVar[str] = ""
    bibtex: ClassVar[str] = ""

    def __init__(self, args: Any):
        self.args = args

    def needs_reference(self) -> bool:
        """Whether it, or a teacher for it, looks at reference images."""
        return any(path.endswith("reference") for path in self.needs)

    def needs_views(self) -> bool:
        """Whether it, or a teacher for it, looks at views of the task's images."""
        return any(path.endswith("views") for path in self.needs)

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
