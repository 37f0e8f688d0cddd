"""What a person says of the data: the tasks, and what holds for all of them."""

import argparse
import dataclasses
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

from ..errors import ConfigurationError, shown
from ..hub.shareable import PATH
from ..results import IN_MEMORY
from ..strict_yaml import parse_yaml
from . import registry
from .names import check_templates
from .task import Task
from .task_config import LIMITS, TaskConfig, check_limits


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
        for name in ("reference_dataset", "reference_text_dataset"):
            given = getattr(self, name)
            if given and (registry.is_benchmark(given) or registry.is_file(given)):
                own = registry.read(given, name)[0]["dataset"]
                raise ConfigurationError(
                    f"{name} {given!r} says what a task is, which reference data are not: name the dataset that it "
                    f"loads, {own!r}, and its split"
                )
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
