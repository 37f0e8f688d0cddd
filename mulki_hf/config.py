"""Every setting: the stream (`StreamConfig`, `TaskConfig`) and the training of each of its tasks (`MulKIConfig`)."""

import dataclasses
import difflib
import math
import re
from dataclasses import dataclass, field
from typing import Any, Literal

import yaml
from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy
from transformers.training_args import ParallelMode

from .errors import ConfigurationError
from .lora import LoraArguments
from .objectives import OBJECTIVES


TOWERS = ("both", "vision", "text")
PROTOCOLS = ("til", "cil", "xtail")


@dataclass
class MethodArguments:
    """Which method, on which towers."""

    _argument_group_name = "Method"

    method: str = field(default="mulki", metadata={"help": f"Continual-learning method: {', '.join(OBJECTIVES)}."})
    train_towers: Literal["both", "vision", "text"] | None = field(
        default=None,
        metadata={
            "help": "Towers to train, each with its projection: both, vision or text. Default: the method's own "
            "(both; vision for snd). The logit scale is never trained."
        },
    )

    def __post_init__(self):
        if self.method not in OBJECTIVES:
            raise ValueError(f"method must be one of {', '.join(OBJECTIVES)}, got {self.method!r}")
        if self.train_towers is None:
            self.train_towers = OBJECTIVES[self.method].towers
        if self.train_towers not in TOWERS:
            raise ValueError(f"train_towers must be one of {', '.join(TOWERS)}, got {self.train_towers!r}")


@dataclass
class TrainerArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the defaults that fine-tuning a CLIP wants."""

    _argument_group_name = "Trainer (transformers.TrainingArguments; the schedule starts anew with every task)"

    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate of AdamW."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning-rate schedule within a task."})
    logging_steps: float = field(default=10, metadata={"help": "Log every that many steps, or share of the steps."})
    label_smoothing_factor: float = field(
        default=0.0, metadata={"help": "Label smoothing of the task loss, in [0, 1)."}
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay off: images become pixel values only as batches are made."}
    )
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={"help": "Leave losses that are not finite out of the log; looks at the loss every step."},
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Every trainable parameter takes part in each step, so there is none to find."}
    )

    def __post_init__(self):
        super().__post_init__()
        if not 0 <= self.label_smoothing_factor < 1:
            raise ValueError(f"label_smoothing_factor must be in [0, 1), got {self.label_smoothing_factor}")
        if not 0 <= self.learning_rate < math.inf:
            raise ValueError(f"learning_rate must be >= 0 and finite, got {self.learning_rate}")
        for name in ("per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps"):
            if getattr(self, name) < 1:
                raise ValueError(f"{name} must be >= 1, got {getattr(self, name)}")
        if self.max_steps <= 0 and not self.num_train_epochs > 0:
            raise ValueError(f"num_train_epochs must be > 0, got {self.num_train_epochs}")
        if self.parallel_mode == ParallelMode.NOT_DISTRIBUTED:
            raise ValueError(
                f"{self.n_gpu} GPUs in one process are not supported: start a process for each with "
                "`accelerate launch --multi_gpu`, or show one with CUDA_VISIBLE_DEVICES"
            )
        if self.remove_unused_columns:
            raise ValueError("remove_unused_columns must be False, got True: it would drop the images")
        if self.fsdp or self.deepspeed:
            raise ValueError("fsdp and deepspeed are not supported: CLIP's 0-D logit scale can't be sharded; use DDP")
        if self.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            raise ValueError(
                f"hub_strategy must be every_save or end, got {self.hub_strategy.value!r}: each task is pushed once, "
                "when it is finished"
            )


@dataclass
class SpeedArguments:
    """What is computed once instead of in every step, and where it is kept; the same result up to rounding."""

    _argument_group_name = "Speed"

    cache_teachers: bool = field(
        default=True,
        metadata={
            "help": "Compute the teachers' image features once per task, to disk, and let the teachers go. Off, and "
            "with random_resized_crop, where every step sees other pixels: the teachers run in every step."
        },
    )
    cache_images: bool = field(
        default=False,
        metadata={
            "help": "Decode and resize every image once, to disk as bytes (3 * height * width each). Training images "
            "only without random_resized_crop."
        },
    )
    text_chunk: int = field(
        default=256,
        metadata={
            "help": "Prompts that a trained text tower reads at a time; with more, each part is computed again in the "
            "backward pass, so that memory stays bounded."
        },
    )

    average_on_disk: bool | None = field(
        default=None,
        metadata={
            "help": "Keep stage 4's running average on disk, not in the memory of the model's device. Default: on disk "
            "on the CPU and with adapters, for models of 16 M parameters or more."
        },
    )

    def __post_init__(self):
        if self.text_chunk < 1:
            raise ValueError(f"text_chunk must be >= 1, got {self.text_chunk}")


@dataclass
class HubArguments:
    """How a stream is published, beside Trainer's `push_to_hub` and `hub_*`."""

    _argument_group_name = "Hub (beside the Trainer's push_to_hub, hub_model_id, hub_token, hub_private_repo, ...)"

    hub_collection: str | None = field(
        default=None, metadata={"help": "Title of a collection that gathers the stream's repositories."}
    )
    hub_retries: int = field(
        default=6,
        metadata={
            "help": "How often a push is tried again, after 1, 2, 4, ... seconds, before it is left pending; each try "
            "has huggingface_hub's own five of every upload."
        },
    )
    hub_timeout: float = field(
        default=60.0, metadata={"help": "Seconds without an answer after which a request to the Hub has failed."}
    )
    license: str | None = field(
        default=None,
        metadata={"help": "Licence of the trained models, as on the Hub (apache-2.0). Default: the base model's."},
    )
    language: str = field(default="en", metadata={"help": "Language of the prompts, for the model cards."})

    def __post_init__(self):
        if self.hub_retries < 0:
            raise ValueError(f"hub_retries must be >= 0, got {self.hub_retries}")
        if not self.hub_timeout > 0:
            raise ValueError(f"hub_timeout must be > 0, got {self.hub_timeout}")


METHOD_ARGUMENTS = tuple(objective.arguments for objective in OBJECTIVES.values() if objective.arguments)


@dataclass
class MulKIConfig(MethodArguments, *METHOD_ARGUMENTS, LoraArguments, SpeedArguments, HubArguments, TrainerArguments):
    """Training arguments of one task of the stream: `transformers.TrainingArguments` and the methods' own.

    Fields of a method that is not selected are checked but have no effect.

    Raises:
        ValueError: a field is out of range; the message names field and value.
    """

    def __post_init__(self):
        for arguments in MulKIConfig.__bases__:
            arguments.__post_init__(self)
        if self.lora_r is not None:
            # One field says which towers are trained, with adapters or without.
            self.train_towers = self.lora_towers = self.lora_towers or self.train_towers
        objective = OBJECTIVES[self.method]
        if self.load_best_model_at_end and objective(self).average_every:
            raise ValueError("load_best_model_at_end must be False, got True: the averaged weights are the result")
        if self.dataloader_persistent_workers and objective.needs_reference():
            raise ValueError(
                "dataloader_persistent_workers must be False, got True: workers that outlive an epoch would repeat its "
                "pairing of task and reference images"
            )

    def __getstate__(self):
        # Trainer pickles its arguments beside every checkpoint; a token must not get there.
        return self.__dict__ | {"hub_token": None}


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
class StreamConfig:
    """What is learned: the model to start from, the tasks in order, the evaluation and the output folder's fate.

    Raises:
        ConfigurationError: a field is missing, out of range or contradicts another.
    """

    _argument_group_name = "Stream"

    model_name_or_path: str = field(
        default="clip-nano",
        metadata={"help": "CLIP to start from: a Hub id, a folder, or `clip-nano`, the small one inside the package."},
    )
    model_revision: str = field(default="main", metadata={"help": "Branch, tag or commit of a Hub model."})
    tasks: list[TaskSpec] = field(
        default_factory=list,
        metadata={"help": "The tasks in order, each a mapping of TaskConfig's fields; best written in the YAML."},
    )
    templates: list[str] = field(
        default_factory=lambda: ["a photo of a {}."],
        metadata={"help": "Prompt templates of the tasks that bring none of their own."},
    )
    protocol: Literal["til", "cil", "xtail"] = field(
        default="til",
        metadata={
            "help": "Classes that compete in evaluation: the task's own (til), those of all tasks seen so far and its "
            "own (cil), or those of every task in the stream (xtail)."
        },
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
    resume: bool = field(
        default=False, metadata={"help": "Go on in output_dir at the first unfinished task, at its last checkpoint."}
    )
    resume_from_hub: str | None = field(
        default=None,
        metadata={
            "help": "Go on after a task's checkpoint on the Hub (`org/mulki-task3`, or `org/mulki-task3@REVISION`), in "
            "an output_dir without a run. Without --config the recipe comes from there too."
        },
    )
    overwrite: bool = field(
        default=False, metadata={"help": "Delete the results and checkpoints of an earlier run in output_dir."}
    )

    def __post_init__(self):
        choices = {"protocol": PROTOCOLS, "evaluate_on": ("test", "validation"), "unreadable_images": ("error", "skip")}
        for name, allowed in choices.items():
            if getattr(self, name) not in allowed:
                raise ConfigurationError(f"{name} must be one of {', '.join(allowed)}, got {getattr(self, name)!r}")
        if self.random_resized_crop is not None and not 0 < self.random_resized_crop <= 1:
            raise ConfigurationError(f"random_resized_crop must be in (0, 1], got {self.random_resized_crop}")
        if self.resume and self.overwrite:
            raise ConfigurationError("resume and overwrite exclude each other, got both")
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


RUN_FIELDS = {"resume", "resume_from_hub", "overwrite", "dataset_num_proc"}
"""Fields of [`StreamConfig`] that say how one run goes, not what the stream is."""

CONSTANT_FIELDS = {
    *(
        f.name
        for cls in (StreamConfig, MethodArguments, *METHOD_ARGUMENTS, LoraArguments)
        for f in dataclasses.fields(cls)
    ),
    *("num_train_epochs", "max_steps", "seed", "data_seed", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "dataloader_drop_last", "max_grad_norm", "label_smoothing_factor"),
    *("optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "bf16", "fp16"),
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
} - RUN_FIELDS
"""What must not change between a run and its resumption: everything that the result depends on."""


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
