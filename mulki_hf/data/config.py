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
from .names import check_task_name, check_templates
from .own_settings import NAMES, OwnSettings, check_settings
from .task import STREAMED, Task


_FILES = str | list[str] | dict[str, str | list[str]] | None
"""What `load_dataset` takes as `data_files`."""

LIMITS = ("shots", "max_train_samples", "max_eval_samples")
"""Fields that ask for a part of a task's images."""


@dataclass
class TaskConfig(OwnSettings):
    """One entry of the YAML's `tasks`. With `class_incremental: N` it stands for N tasks.

    Raises:
        ConfigurationError: a field is missing or malformed; the message names the task.
    """

    name: str = field(metadata={"help": "Short name; becomes part of the checkpoint's folder name."})
    dataset: Annotated[str, PATH] = field(
        metadata={
            "help": "What `datasets.load_dataset` takes: a Hub id, a folder, a builder such as `parquet`, `webdataset` "
            "or `imagefolder` (with `data_files`), a file (it has the split `train` alone, which can be sliced), a "
            "`DatasetDict` saved to disk (whole splits), or `embedded:NAME`."
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
    image_column: str = field(default="image", metadata={"help": "Column with images (or paths of images)."})
    label_column: str = field(default="label", metadata={"help": "Column with class numbers or class names."})
    class_names: list[str] | Annotated[str, PATH] | None = field(
        default=None,
        metadata={"help": "A list, or a text file with a name a line. Default: the label column's `ClassLabel` names."},
    )
    templates: list[str] | None = field(
        default=None, metadata={"help": "Prompt templates with `{}` for the class name. Default: the stream's."}
    )
    eval_templates: list[str] | None = field(
        default=None,
        metadata={"help": "Templates of the accuracy matrix alone, where they are others than those of training."},
    )
    class_incremental: int = field(
        default=1, metadata={"help": "Split the classes into that many tasks, learned one after another."}
    )
    class_order_seed: int | None = field(
        default=None, metadata={"help": "Shuffle the classes before splitting them. Default: their own order."}
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

    def __post_init__(self):
        check_task_name(self.name)
        where = f"task {self.name!r}"
        # Class names are checked when all of them are known, those of a file or of the data too.
        types = get_type_hints(type(self)) | {"class_names": list | str | None, "data_files": _FILES}
        vars(self).update(conformed(vars(self), types, where, strings=True))
        if not self.dataset:
            raise ConfigurationError(f"{where}: dataset must be a string, got {self.dataset!r}")
        if self.dataset == IN_MEMORY:
            raise ConfigurationError(
                f"{where}: dataset {IN_MEMORY!r} stands for data that a run was given in Python, as a Task; give that "
                "again, in Python, or name a dataset that can be loaded"
            )
        if self.class_incremental < 1:
            raise ConfigurationError(
                f"{where}: class_incremental must be an integer >= 1, got {self.class_incremental!r}"
            )
        if self.class_order_seed is not None and self.class_order_seed < 0:
            raise ConfigurationError(f"{where}: class_order_seed must be >= 0, got {self.class_order_seed}")
        check_limits(self, f"{where}: ")
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
        if "streaming" in spec:
            raise ConfigurationError(
                f"{where}: streaming can't be given: {STREAMED}. Leave it out; for a part of the data give "
                "max_train_samples and max_eval_samples, or slices of splits, `train[:10%]`"
            )
        check_keys(spec, {f.name for f in dataclasses.fields(cls)}, where)
        for key in ("name", "dataset"):
            if key not in spec:
                raise ConfigurationError(f"{where}: {key} is missing")
        return cls(**spec)

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
    reference_text_column: str | None = field(
        default=None, metadata={"help": "The reference set's column of texts, for methods that need them."}
    )
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
        if self.reference_texts is not None and self.reference_text_column is not None:
            raise ConfigurationError(
                "reference_texts and reference_text_column exclude each other, got "
                f"{self.reference_texts!r} and {self.reference_text_column!r}"
            )
        if self.reference_text_column is not None and self.reference_dataset is None:
            raise ConfigurationError(
                f"reference_text_column {self.reference_text_column!r} is a column of reference_dataset, which is not "
                "given"
            )
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
        # Plain ones: neither `dataclasses.asdict` nor YAML copies a class of their own.
        self.tasks = [dict(task) if isinstance(task, TaskSpec) else task for task in self.tasks]  # type: ignore[misc]

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
