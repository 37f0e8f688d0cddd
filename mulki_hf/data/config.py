"""What a person says of the data: a task's entry in the YAML, and what holds for all of them."""

import argparse
import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal, get_type_hints

from ..errors import ConfigurationError, shown
from ..fields import check_keys, conformed
from ..hub.shareable import PATH
from ..results import IN_MEMORY
from ..strict_yaml import parse_yaml
from .class_orders import check_class_order, check_increments, task_count
from .names import check_task_name, check_templates
from .own_settings import NAMES, OwnSettings, check_settings
from .registry import Benchmark, expanded
from .splitting import RandomSplit
from .task import Task, check_not_streamed


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
            "shots, max_train_samples and max_eval_samples, checked one by one. With class_incremental a list of them."
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
            self.class_names = {_label(key, where): name for key, name in self.class_names.items()}
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
        if self.rows is not None:
            asked = next((name for name in LIMITS if getattr(self, name) is not None), None)
            if asked is not None:
                raise ConfigurationError(f"{where}: rows and {asked} exclude each other: a file of rows says itself")
            if not all(self.rows or [""]):
                raise ConfigurationError(f"{where}: rows must be left out or name files, got {self.rows!r}")
        if not 0 <= self.sample_seed < 2**32:
            raise ConfigurationError(f"{where}: sample_seed must be in [0, 2**32), got {self.sample_seed}")
        for templates in (self.templates, self.eval_templates):
            if templates is not None:
                check_templates(templates, where)
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
        known = {f.name: f.default for f in dataclasses.fields(cls) if f.name != "benchmark"}
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


def _label(key: Any, where: str) -> str:
    """A label's name in the data, which YAML may take for a number."""
    if not isinstance(key, str | int) or isinstance(key, bool):
        raise ConfigurationError(f"{where}: class_names must map names of labels, got {shown(key)} (quote it in YAML?)")
    return str(key)


EXCLUSIVE = ({"max_steps", "num_train_epochs"}, {"shots", "max_train_samples"})
"""Fields of which one takes the other's place."""


def without_own(entry: dict[str, Any], typed: set[str]) -> dict[str, Any]:
    """A task's entry without what it says of its own and the command line, which wins, says for all tasks.

    Args:
        entry: of `tasks`.
        typed: the fields that the command line gives.
    """
    given = typed & {*NAMES, *LIMITS}
    gone = given.union(*(pair for pair in EXCLUSIVE if pair & given))
    return {name: value for name, value in entry.items() if name not in gone}


class TaskSpec(dict):
    """A task's mapping from a YAML string of the command line.

    Raises:
        argparse.ArgumentTypeError: it is none; of other errors the parser does not tell the reason.
    """

    def __init__(self, text: str):
        try:
            spec = parse_yaml(text, "tasks")
        except ConfigurationError as error:
            raise argparse.ArgumentTypeError(str(error)) from error
        if not isinstance(spec, dict):
            raise argparse.ArgumentTypeError(f"must be mappings with at least name and dataset, got {shown(spec)}")
        super().__init__(spec)


@dataclass
class DataArguments:
    """The tasks in order, what they have in common, and the reference images.

    Raises:
        ConfigurationError: a field is missing or out of range.
    """

    tasks: list[TaskSpec] = field(  # in Python `Task`s too
        default_factory=list,
        metadata={"help": "The tasks in order, each a mapping of TaskConfig's fields; best written in the YAML."},
    )
    rotate_tasks: int = field(
        default=0,
        metadata={"help": "Turn the list of tasks left by that many: the stream begins with a later task."},
    )
    templates: list[str] = field(
        default_factory=lambda: ["a photo of a {}."],
        metadata={"help": "Prompt templates of the tasks that bring none of their own."},
    )
    evaluate_on: Literal["test", "validation"] = field(
        default="test", metadata={"help": "Evaluate on the tasks' eval_split or, for tuning, their validation_split."}
    )
    shots: int | None = field(
        default=None,
        metadata={"help": "Few-shot: train on that many images of each class, in every task that says nothing of it."},
    )
    max_train_samples: int | None = field(
        default=None,
        metadata={"help": "For a quick try: train on at most that many images of each task that says nothing of it."},
    )
    max_eval_samples: int | None = field(
        default=None, metadata={"help": "Likewise, of the images that each task is evaluated on."}
    )
    random_resized_crop: float | None = field(
        default=None,
        metadata={"help": "Train on random crops of at least this share of the image's area, in (0, 1]. Default: off."},
    )
    unreadable_images: Literal["error", "skip"] = field(
        default="error", metadata={"help": "What an image that can't be decoded means: an error, or left out, counted."}
    )
    dataset_num_proc: int | None = field(
        default=None,
        metadata={"help": "Processes that check the images before training. Default: as many as cores, if that pays."},
    )
    reference_dataset: Annotated[str, PATH] | None = field(
        default=None, metadata={"help": "Unlabelled images for methods that need them; as a task's `dataset`."}
    )
    reference_config_name: str | None = field(default=None, metadata={"help": "The reference set's configuration."})
    reference_data_files: Annotated[str, PATH] | None = field(
        default=None, metadata={"help": "Passed to `load_dataset`."}
    )
    reference_revision: str | None = field(default=None, metadata={"help": "Revision of a reference set on the Hub."})
    reference_split: str = field(default="train", metadata={"help": "Split of the reference set."})
    reference_image_column: str = field(default="image", metadata={"help": "The reference set's image column."})
    reference_samples: int | None = field(
        default=None,
        metadata={"help": "Draw that many rows of the reference set; no other is decoded and checked. Default: all."},
    )
    reference_seed: int = field(default=0, metadata={"help": "Which rows reference_samples draws."})
    reference_text_column: str | None = field(
        default=None, metadata={"help": "The reference set's column of texts, for methods that need them."}
    )
    reference_text_dataset: Annotated[str, PATH] | None = field(
        default=None,
        metadata={
            "help": "The dataset that reference_text_column is a column of, if not the reference set: captions alone, "
            "whose images nobody loads. As a task's `dataset`."
        },
    )
    reference_text_config_name: str | None = field(default=None, metadata={"help": "That dataset's configuration."})
    reference_text_revision: str | None = field(default=None, metadata={"help": "Its revision on the Hub."})
    reference_text_split: str = field(default="train", metadata={"help": "Its split."})
    reference_texts: Annotated[str, PATH] | None = field(
        default=None, metadata={"help": "A text file with a reference text a line, in place of reference_text_column."}
    )

    def __post_init__(self):
        for name, allowed in {"evaluate_on": ("test", "validation"), "unreadable_images": ("error", "skip")}.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.random_resized_crop is not None and not 0 < self.random_resized_crop <= 1:
            raise ConfigurationError(f"random_resized_crop must be in (0, 1], got {self.random_resized_crop}")
        if self.reference_dataset == "":
            raise ConfigurationError("reference_dataset must be left out or name a dataset, got ''")
        self._check_reference()
        if self.dataset_num_proc is not None and self.dataset_num_proc < 1:
            raise ConfigurationError(f"dataset_num_proc must be >= 1, got {self.dataset_num_proc}")
        check_limits(self, "")
        if isinstance(self.templates, str):
            self.templates = [self.templates]
        check_templates(self.templates, "stream")
        if not isinstance(self.tasks, list) or not self.tasks:
            raise ConfigurationError(
                f"tasks must be a list of at least one task, in the YAML given with --config; got {shown(self.tasks)}"
            )
        if not 0 <= self.rotate_tasks < len(self.tasks):
            raise ConfigurationError(
                f"rotate_tasks must be in [0, {len(self.tasks)}), for as many tasks, got {self.rotate_tasks}"
            )
        # Plain ones: neither `dataclasses.asdict` nor YAML copies a class of their own.
        tasks: Any = [dict(task) if isinstance(task, TaskSpec) else task for task in self.tasks]
        # From here on they are in that order, for whoever reads the recipe of this run too.
        self.tasks = tasks[self.rotate_tasks :] + tasks[: self.rotate_tasks]
        self.rotate_tasks = 0

    def _check_reference(self) -> None:
        for name in ("reference_text_column", "reference_text_dataset"):
            if self.reference_texts is not None and getattr(self, name) is not None:
                raise ConfigurationError(
                    f"reference_texts and {name} exclude each other, got {self.reference_texts!r} and "
                    f"{getattr(self, name)!r}"
                )
        column, beside = self.reference_text_column, self.reference_text_dataset
        if column is not None and self.reference_dataset is None and beside is None:
            raise ConfigurationError(
                f"reference_text_column {column!r} is a column of reference_dataset or reference_text_dataset, and "
                "neither is given"
            )
        if beside is not None and (column is None or not beside):
            raise ConfigurationError(
                f"reference_text_dataset {beside!r}: must name a dataset, and reference_text_column its column of texts"
            )
        if self.reference_samples is not None:
            if self.reference_samples < 1:
                raise ConfigurationError(
                    f"reference_samples must be >= 1, got {self.reference_samples}; leave it out to use every row"
                )
            if self.reference_dataset is None:
                raise ConfigurationError("reference_samples draws rows of reference_dataset, which is not given")
        if not 0 <= self.reference_seed < 2**32:
            raise ConfigurationError(f"reference_seed must be in [0, 2**32), got {self.reference_seed}")

    def task_configs(self) -> list[TaskConfig | Task]:
        """The entries of `tasks`, checked one by one; a [`Task`] was checked as it was made."""
        return [
            spec if isinstance(spec, Task) else TaskConfig.from_dict(spec, position)
            for position, spec in enumerate(self.tasks, start=1)
        ]

    def limits(self, entry: TaskConfig | Task) -> dict[str, int]:
        """What is asked of a sample of a task's images, by [`LIMITS`]: by the entry itself, else by the stream.

        One of the two that limit training is enough. Empty if all images are used.
        """
        own = {name: value for name in LIMITS if (value := getattr(entry, name, None)) is not None}
        given = {name: value for name in LIMITS if (value := getattr(self, name)) is not None}
        if own.keys() & {"shots", "max_train_samples"}:
            given = {name: value for name, value in given.items() if name == "max_eval_samples"}
        return given | own

    def to_dict(self) -> dict[str, Any]:
        """The settings as results record them; of a [`Task`] the name."""
        plain: Any = [{"name": one.name, "dataset": IN_MEMORY} if isinstance(one, Task) else one for one in self.tasks]
        return dataclasses.asdict(dataclasses.replace(self, tasks=plain))
