"""A task's entry in the YAML."""

import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, get_type_hints

from ..errors import ConfigurationError, shown
from ..fields import check_keys, conformed
from ..hub.shareable import PATH
from ..results import IN_MEMORY
from .class_orders import check_class_order, check_increments, task_count
from .names import check_task_name, check_templates
from .own_settings import NAMES, OwnSettings, check_settings
from .registry import Benchmark, expanded
from .splitting import RandomSplit
from .task import check_not_streamed


_FILES = str | list[str] | dict[str, str | list[str]] | None
"""What `load_dataset` takes as `data_files`."""

LIMITS = ("shots", "max_train_samples", "max_eval_samples")
"""Fields that ask for a part of a task's images."""


@dataclass
class TaskConfig(OwnSettings):
    """One entry of the YAML's `tasks`. With `class_incremental` it stands for several tasks.

    Raises:
        ConfigurationError: a field is missing or malformed; the message names the task.
    """

    name: str = field(metadata={"help": "Short name; becomes part of the checkpoint's folder name."})
    dataset: Annotated[str, PATH] = field(
        metadata={
            "help": "What `datasets.load_dataset` takes: a Hub id, a folder, a builder such as `parquet`, `webdataset` "
            "or `imagefolder` (with `data_files`), a file (it has the split `train` alone, which can be sliced), a "
            "`DatasetDict` saved to disk (whole splits), `embedded:NAME`, or what says the other fields too: "
            "`mtil:NAME` of a benchmark, or a YAML of that form."
        }
    )
    config_name: str | None = field(default=None, metadata={"help": "The dataset's configuration."})
    data_files: Annotated[str | list | dict, PATH] | None = field(
        default=None, metadata={"help": "Passed to `load_dataset`."}
    )
    data_dir: Annotated[str, PATH] | None = field(default=None, metadata={"help": "Passed to `load_dataset`."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub dataset."})
    train_split: str = field(default="train", metadata={"help": "Split to train on; slices work: `train[:90%]`."})
    eval_split: str = field(default="test", metadata={"help": "Split of the accuracy matrix."})
    validation_split: str | None = field(
        default=None,
        metadata={
            "help": "Split of evaluations during training (`eval_strategy`), which may choose the best checkpoint; it "
            "takes eval_split's place with `--evaluate_on validation`."
        },
    )
    random_split: RandomSplit | None = field(
        default=None,
        metadata={
            "help": "`{share: 0.8, seed: 42, sorted_by: [label, image_id]}`: train on that share of train_split, "
            "sorted and drawn as torch's random_split does, and evaluate on the rest, not on eval_split. A "
            "validation_share is held out for validation; where it is all of the rest, eval_split is evaluated on."
        },
    )
    image_column: str = field(default="image", metadata={"help": "Column with images (or paths of images)."})
    label_column: str = field(default="label", metadata={"help": "Column with class numbers or class names."})
    class_names: list[str] | dict[str, str] | Annotated[str, PATH] | None = field(
        default=None,
        metadata={
            "help": "A list, a text file with a name a line, or a mapping of the data's own names, whatever their "
            "order, to those in prompts. Default: the label column's `ClassLabel` names."
        },
    )
    left_out_classes: list[str] = field(
        default_factory=list, metadata={"help": "The data's names of classes whose rows are none of the task's."}
    )
    templates: list[str] | None = field(
        default=None, metadata={"help": "Prompt templates with `{}` for the class name. Default: the stream's."}
    )
    eval_templates: list[str] | None = field(
        default=None,
        metadata={"help": "Templates of the accuracy matrix alone, where they are others than those of training."},
    )
    class_incremental: int | list[int] = field(
        default=1,
        metadata={
            "help": "Split the classes into that many tasks, learned one after another. A list says how many classes "
            "each has: [100, 20, 20]."
        },
    )
    class_order: str | list | None = field(
        default=None,
        metadata={
            "help": "In which order classes are split: a published one (`zscl_cifar100`, `zscl_imagenet100`, "
            "`zscl_tiny_imagenet`, `numpy_1993`), or a list of all class numbers or names. Default: their own."
        },
    )
    class_order_seed: int | None = field(
        default=None, metadata={"help": "Shuffle the classes before splitting them, in place of class_order."}
    )
    shots: int | None = field(
        default=None,
        metadata={
            "help": "Train on that many images of each class, of one with fewer on all. Default: on every image."
        },
    )
    max_train_samples: int | None = field(
        default=None,
        metadata={"help": "Train on at most that many images, each class keeping its share. Excludes shots."},
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Evaluate on at most that many images, each class keeping its share."}
    )
    sample_seed: int = field(
        default=0, metadata={"help": "Which images shots, max_train_samples and max_eval_samples draw."}
    )
    rows: Annotated[str | list, PATH] | None = field(
        default=None,
        metadata={
            "help": "A file `rows_NAME.json` that a run wrote beside a task's checkpoint: the same images in place of "
            "shots, max_train_samples and max_eval_samples, the stream's too, checked one by one. With "
            "class_incremental a list of them, one of each task."
        },
    )
    benchmark: Benchmark | None = field(default=None, metadata={"help": "What its benchmark says, not given here."})

    def __post_init__(self):
        check_task_name(self.name)
        where = f"task {self.name!r}"
        # Class names are checked when all of them are known, those of a file or of the data too.
        types = get_type_hints(type(self)) | {"class_names": list | dict | str | None, "data_files": _FILES}
        types["rows"] = str | list[str] | None
        try:
            vars(self).update(conformed(vars(self), types, where, strings=True))
        except ConfigurationError:
            raise
        except ValueError as error:
            raise ConfigurationError(f"{where}: random_split: {error}") from error
        if isinstance(self.class_names, dict):
            self.class_names = _labelled(self.class_names, where)
        if not self.dataset:
            raise ConfigurationError(f"{where}: dataset must be a string, got {self.dataset!r}")
        if self.dataset == IN_MEMORY:
            raise ConfigurationError(
                f"{where}: dataset {IN_MEMORY!r} stands for data that a run was given in Python, as a Task; give that "
                "again, in Python, or name a dataset that can be loaded"
            )
        check_increments(self.class_incremental, where)
        if self.class_order is not None:
            check_class_order(self.class_order, where)
            if self.class_order_seed is not None:
                raise ConfigurationError(f"{where}: class_order and class_order_seed exclude each other")
            if self.task_count == 1:
                raise ConfigurationError(
                    f"{where}: class_order says in which order class_incremental splits the classes, which makes one "
                    "task of them; leave it out or give class_incremental"
                )
        if self.class_order_seed is not None and self.class_order_seed < 0:
            raise ConfigurationError(f"{where}: class_order_seed must be >= 0, got {self.class_order_seed}")
        check_limits(self, f"{where}: ")
        if self.validation_split is not None and self.random_split is not None and self.random_split.validation_share:
            raise ConfigurationError(
                f"{where}: validation_split and random_split's validation_share exclude each other, got "
                f"{self.validation_split!r} and {self.random_split.validation_share}"
            )
        if self.rows is not None:
            asked = next((name for name in LIMITS if getattr(self, name) is not None), None)
            if asked is not None:
                raise ConfigurationError(f"{where}: rows and {asked} exclude each other: a file of rows says itself")
            if not all(self.rows or [""]):
                raise ConfigurationError(f"{where}: rows must be left out or name files, got {self.rows!r}")
        if not 0 <= self.sample_seed < 2**32:
            raise ConfigurationError(f"{where}: sample_seed must be in [0, 2**32), got {self.sample_seed}")
        for name in ("templates", "eval_templates"):
            if getattr(self, name) is not None:
                check_templates(getattr(self, name), where, name)
        check_settings(self.settings, where)

    @classmethod
    def from_dict(cls, spec: Any, position: int) -> "TaskConfig":
        """From the YAML mapping at `position` (1-based) of `tasks`, refusing keys that no field has."""
        where = f"tasks, entry {position}"
        if not isinstance(spec, dict):
            raise ConfigurationError(
                f"{where}: must be a mapping with at least name and dataset or, in Python, a Task, got {shown(spec)}"
            )
        if spec.get("name"):
            where += f" ({shown(spec['name'])})"
        check_not_streamed(spec, where, "max_train_samples and max_eval_samples, or slices of splits, `train[:10%]`")
        known = {f.name: _default(f) for f in dataclasses.fields(cls) if f.name != "benchmark"}
        check_keys(spec, known, where)
        for key in ("name", "dataset"):
            if key not in spec:
                raise ConfigurationError(f"{where}: {key} is missing")
        fields, benchmark = expanded(spec, known, where)
        return cls(**fields, benchmark=benchmark)

    @property
    def origin(self) -> str:
        """Its data, for messages."""
        return f"dataset {self.dataset!r}" + (f" ({self.benchmark.name})" if self.benchmark else "")

    @property
    def task_count(self) -> int:
        """How many tasks the entry stands for."""
        return task_count(self.class_incremental)

    @property
    def task_names(self) -> list[str]:
        """What they are called."""
        count = self.task_count
        return [self.name] if count == 1 else [f"{self.name}-{number}" for number in range(1, count + 1)]

    @property
    def settings(self) -> dict[str, Any]:
        """Training settings of its own, by name."""
        return {name: value for name in NAMES if (value := getattr(self, name)) is not None}


def check_limits(given: Any, where: str) -> None:
    """Raise `ConfigurationError` for [`LIMITS`] that are out of range or exclude each other; `where` begins it."""
    for name in LIMITS:
        value = getattr(given, name)
        if value is not None and value < 1:
            raise ConfigurationError(f"{where}{name} must be >= 1, got {value}; leave it out to use every image")
    if given.shots is not None and given.max_train_samples is not None:
        raise ConfigurationError(
            f"{where}shots and max_train_samples exclude each other, got {given.shots} and {given.max_train_samples}"
        )


def _default(field: dataclasses.Field) -> Any:
    return field.default if field.default_factory is dataclasses.MISSING else field.default_factory()


def _labelled(names: dict[Any, Any], where: str) -> dict[str, Any]:
    """`names` by a label's name in the data, which YAML may take for a number."""
    by_label: dict[str, Any] = {}
    for key, name in names.items():
        if not isinstance(key, str | int) or isinstance(key, bool):
            raise ConfigurationError(
                f"{where}: class_names must map names of labels, got {shown(key)} (quote it in YAML?)"
            )
        if str(key) in by_label:
            raise ConfigurationError(f"{where}: class_names maps label {str(key)!r} twice, as a number and as text")
        by_label[str(key)] = name
    return by_label
