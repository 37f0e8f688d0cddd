"""What a person says of the data: a task's entry in the YAML, and what holds for all of them."""

import dataclasses
import difflib
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml

from ..errors import ConfigurationError


@dataclass
class TaskConfig:
    """One entry of the YAML's `tasks`. With `class_incremental: N` it stands for N tasks.

    Raises:
        ConfigurationError: a field is missing or malformed; the message names the task.
    """

    name: str = field(metadata={"help": "Short name; becomes part of the checkpoint's folder name."})
    dataset: str = field(
        metadata={
            "help": "What `datasets.load_dataset` takes: a Hub id, a folder, a builder such as `parquet`, `webdataset` "
            "or `imagefolder` (with `data_files`), a file (it has the split `train` alone, which can be sliced), a "
            "`DatasetDict` saved to disk (whole splits), or `embedded:NAME`."
        }
    )
    config_name: str | None = field(default=None, metadata={"help": "The dataset's configuration."})
    data_files: str | list | dict | None = field(default=None, metadata={"help": "Passed to `load_dataset`."})
    data_dir: str | None = field(default=None, metadata={"help": "Passed to `load_dataset`."})
    revision: str | None = field(default=None, metadata={"help": "Branch, tag or commit of a Hub dataset."})
    train_split: str = field(default="train", metadata={"help": "Split to train on; slices work: `train[:90%]`."})
    eval_split: str = field(default="test", metadata={"help": "Split of the accuracy matrix."})
    validation_split: str | None = field(
        default=None, metadata={"help": "Split that takes eval_split's place with `--evaluate_on validation`."}
    )
    image_column: str = field(default="image", metadata={"help": "Column with images (or paths of images)."})
    label_column: str = field(default="label", metadata={"help": "Column with class numbers or class names."})
    class_names: list[str] | str | None = field(
        default=None,
        metadata={"help": "A list, or a text file with a name a line. Default: the label column's `ClassLabel` names."},
    )
    templates: list[str] | None = field(
        default=None, metadata={"help": "Prompt templates with `{}` for the class name. Default: the stream's."}
    )
    class_incremental: int = field(
        default=1, metadata={"help": "Split the classes into that many tasks, learned one after another."}
    )
    class_order_seed: int | None = field(
        default=None, metadata={"help": "Shuffle the classes before splitting them. Default: their own order."}
    )

    def __post_init__(self):
        if not isinstance(self.name, str) or not re.fullmatch(r"\w[\w.+-]*", self.name):
            raise ConfigurationError(
                f"task name must be letters, digits, '_', '.', '+' and '-', folder-safe, got {self.name!r}"
            )
        if not isinstance(self.dataset, str) or not self.dataset:
            raise ConfigurationError(f"task {self.name!r}: dataset must be a string, got {self.dataset!r}")
        if not isinstance(self.class_incremental, int) or self.class_incremental < 1:
            raise ConfigurationError(
                f"task {self.name!r}: class_incremental must be an integer >= 1, got {self.class_incremental!r}"
            )
        if isinstance(self.templates, str):
            self.templates = [self.templates]
        if self.templates is not None:
            check_templates(self.templates, f"task {self.name!r}")

    @classmethod
    def from_dict(cls, spec: Any, position: int) -> "TaskConfig":
        """From the YAML mapping at `position` (1-based) of `tasks`, refusing keys that no field has."""
        where = f"tasks, entry {position}"
        if not isinstance(spec, dict):
            raise ConfigurationError(f"{where}: must be a mapping with at least name and dataset, got {spec!r}")
        if spec.get("name"):
            where += f" ({spec['name']!r})"
        check_keys(spec, {f.name for f in dataclasses.fields(cls)}, where)
        for key in ("name", "dataset"):
            if key not in spec:
                raise ConfigurationError(f"{where}: {key} is missing")
        return cls(**spec)


class TaskSpec(dict):
    """A task's mapping as YAML gives it, or as a YAML string on the command line."""

    def __init__(self, spec: str | dict):
        super().__init__(yaml.safe_load(spec) if isinstance(spec, str) else spec)


@dataclass
class DataArguments:
    """The tasks in order, what they have in common, and the reference images.

    Raises:
        ConfigurationError: a field is missing or out of range.
    """

    tasks: list[TaskSpec] = field(
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
    random_resized_crop: float | None = field(
        default=None,
        metadata={"help": "Train on random crops of at least this share of the image's area, in (0, 1]. Default: off."},
    )
    unreadable_images: Literal["error", "skip"] = field(
        default="error", metadata={"help": "What an image that can't be decoded means: an error, or left out, counted."}
    )
    dataset_num_proc: int | None = field(
        default=None, metadata={"help": "Processes that check the images before training."}
    )
    reference_dataset: str | None = field(
        default=None, metadata={"help": "Unlabelled images for methods that need them; as a task's `dataset`."}
    )
    reference_config_name: str | None = field(default=None, metadata={"help": "The reference set's configuration."})
    reference_data_files: str | None = field(default=None, metadata={"help": "Passed to `load_dataset`."})
    reference_revision: str | None = field(default=None, metadata={"help": "Revision of a reference set on the Hub."})
    reference_split: str = field(default="train", metadata={"help": "Split of the reference set."})
    reference_image_column: str = field(default="image", metadata={"help": "The reference set's image column."})

    def __post_init__(self):
        for name, allowed in {"evaluate_on": ("test", "validation"), "unreadable_images": ("error", "skip")}.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.random_resized_crop is not None and not 0 < self.random_resized_crop <= 1:
            raise ConfigurationError(f"random_resized_crop must be in (0, 1], got {self.random_resized_crop}")
        if isinstance(self.templates, str):
            self.templates = [self.templates]
        check_templates(self.templates, "stream")
        if not isinstance(self.tasks, list) or not self.tasks:
            raise ConfigurationError(
                f"tasks must be a list of at least one task, in the YAML given with --config; got {self.tasks!r}"
            )

    def task_configs(self) -> list[TaskConfig]:
        """The entries of `tasks`, checked one by one."""
        return [TaskConfig.from_dict(spec, position) for position, spec in enumerate(self.tasks, start=1)]


def check_keys(given: dict, known: set[str], where: str) -> None:
    """Raise `ConfigurationError` for keys of `given` outside `known`, with the nearest known one."""
    for key in given:
        if key not in known:
            near = difflib.get_close_matches(str(key), known, n=1)
            hint = f"; did you mean {near[0]!r}?" if near else f"; known are: {', '.join(sorted(known))}"
            raise ConfigurationError(f"{where}: unknown key {key!r}{hint}")


def check_templates(templates: Any, where: str) -> None:
    """Raise `ConfigurationError` unless `templates` is a non-empty list of strings with a `{}` each."""
    if not isinstance(templates, list) or not templates:
        raise ConfigurationError(f"{where}: templates must be a non-empty list, got {templates!r}")
    for template in templates:
        if not isinstance(template, str) or "{}" not in template:
            raise ConfigurationError(f"{where}: template {template!r} has no {{}} for the class name")
