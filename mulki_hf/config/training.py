"""`MulKIConfig`: how each task is trained, composed of what every district declares."""

import os
from collections.abc import Mapping
from dataclasses import dataclass, field, fields
from functools import cache
from typing import Any, ClassVar

from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy
from transformers.training_args import ParallelMode

from ..adaptation import ADAPTATIONS
from ..adaptation.averaging import AverageArguments
from ..adaptation.towers import TowerArguments
from ..data.reference import ReferenceArguments
from ..data.tables import CacheArguments
from ..data.views import ViewArguments
from ..data.workers import loader_workers
from ..errors import ConfigurationError
from ..finite import FiniteArguments
from ..hub.arguments import HubArguments
from ..models.encoding import EncodingArguments
from ..objectives import OBJECTIVES, Objective, find_objective, method_name, objective_of
from .composed import check_plain, compose
from .limits import check_settled, check_supported


@dataclass
class MethodArguments:
    """Which method."""

    _argument_group_name = "Method"

    method: str = field(
        default="mulki",
        metadata={
            "help": f"Continual-learning method: {', '.join(OBJECTIVES)}, or one of your own as "
            "`my_module:MyObjective`, imported from the working directory or what is installed."
        },
    )

    def __post_init__(self):
        self.method = method_name(self.method)


@dataclass
class TrainerArguments(TrainingArguments):
    """`transformers.TrainingArguments` with the defaults that fine-tuning a CLIP wants."""

    _argument_group_name = "Trainer (transformers.TrainingArguments; the schedule starts anew with every task)"

    learning_rate: float = field(default=1e-5, metadata={"help": "Peak learning rate of AdamW."})
    lr_scheduler_type: str = field(default="cosine", metadata={"help": "Learning-rate schedule within a task."})
    logging_steps: float = field(default=10, metadata={"help": "Log every that many steps, or share of the steps."})
    label_smoothing_factor: float = field(  # type: ignore[assignment]  # None until the method is known
        default=None,
        metadata={
            "help": "Label smoothing of the task loss, in [0, 1). Default: the method's own (0.2 for zscl, lwf and "
            "wise_ft, else 0)."
        },
    )
    save_total_limit: int | None = field(
        default=2,
        metadata={
            "help": "How many of Trainer's checkpoints stay inside a task: the last, to go on from, and the one "
            "before it, should that be damaged. 0: all."
        },
    )
    remove_unused_columns: bool = field(
        default=False, metadata={"help": "Must stay off: images become pixel values only as batches are made."}
    )
    logging_nan_inf_filter: bool = field(
        default=False,
        metadata={"help": "Leave losses that are not finite out of the log; looks at the loss every step."},
    )
    per_device_eval_batch_size: int = field(
        default=64, metadata={"help": "Images a device encodes at a time in evaluation, and for the teachers' tables."}
    )
    dataloader_num_workers: int = field(  # type: ignore[assignment]  # None until __post_init__
        default=None,
        metadata={"help": "Processes that decode images for each rank. Default: by its share of the cores, at most 8."},
    )
    ddp_find_unused_parameters: bool | None = field(
        default=False, metadata={"help": "Every trainable parameter takes part in each step, so there is none to find."}
    )

    def __post_init__(self):
        check_supported(self)
        if self.dataloader_num_workers is None:
            self.dataloader_num_workers = loader_workers(int(os.environ.get("LOCAL_WORLD_SIZE", 1)))
        super().__post_init__()
        if self.label_smoothing_factor is not None and not 0 <= self.label_smoothing_factor < 1:
            raise ValueError(f"label_smoothing_factor must be in [0, 1), got {self.label_smoothing_factor}")
        if self.max_steps <= 0 and not self.num_train_epochs > 0:
            raise ValueError(f"num_train_epochs must be > 0, got {self.num_train_epochs}")
        if self.parallel_mode == ParallelMode.NOT_DISTRIBUTED:
            raise ValueError(
                f"{self.n_gpu} GPUs in one process are not supported: start a process for each with "
                "`accelerate launch --multi_gpu`, or show one with CUDA_VISIBLE_DEVICES"
            )
        if self.hub_strategy in (HubStrategy.CHECKPOINT, HubStrategy.ALL_CHECKPOINTS):
            raise ValueError(
                f"hub_strategy must be every_save or end, got {self.hub_strategy.value!r}: each task is pushed once, "
                "when it is finished"
            )
        check_settled(self)


OBJECTIVE_ARGUMENTS = tuple(objective.arguments for objective in OBJECTIVES.values() if objective.arguments)
ADAPTATION_ARGUMENTS = tuple(adaptation.arguments for adaptation in ADAPTATIONS if adaptation.arguments)


@dataclass
class MulKIConfig(
    MethodArguments,
    TowerArguments,
    *OBJECTIVE_ARGUMENTS,  # type: ignore[misc]  # a checker knows no bases that a registry names
    *ADAPTATION_ARGUMENTS,  # type: ignore[misc]
    ReferenceArguments,
    ViewArguments,
    CacheArguments,
    EncodingArguments,
    AverageArguments,
    FiniteArguments,
    HubArguments,
    TrainerArguments,
):
    """Training arguments of one task of the stream: `transformers.TrainingArguments` and the methods' own.

    Fields of a method that is not selected are checked but have no effect. With a `method` of the user's own, a class
    or `module:Class`, an instance has the fields of its `arguments` too.

    Class attributes:
        groups: dataclasses that it is composed of, a group of options each.

    Raises:
        ValueError: a field is out of range; the message names field and value.
    """

    groups: ClassVar[tuple[type, ...]]

    def __new__(cls, *args: Any, method: str | type[Objective] = "mulki", **kwargs: Any) -> "MulKIConfig":
        return super().__new__(config_class(method) if cls is MulKIConfig else cls)

    def __post_init__(self):
        for arguments in self.groups:
            if hasattr(arguments, "__post_init__"):
                arguments.__post_init__(self)
        settle(self)
        TowerArguments.__post_init__(self)  # also what the method chose
        check_plain(self, own_names(type(self)))
        objective = objective_of(self)
        if self.load_best_model_at_end and objective.average_every:
            raise ValueError(
                "load_best_model_at_end must be False, got True: the averaged weights are the result; to stop early "
                "works without it"
            )
        if objective.needs_reference() or objective.needs_views():
            if self.dataloader_persistent_workers:
                raise ValueError(
                    "dataloader_persistent_workers must be False, got True: workers that outlive an epoch would repeat "
                    "its pairing of the task's images with others"
                )
            if self.accelerator_config.dispatch_batches:
                raise ValueError(
                    "accelerator_config: dispatch_batches must be left out, got True: the task's images and those "
                    "beside them would be dealt out apart"
                )

    def __getstate__(self) -> dict[str, Any]:
        # Trainer pickles its arguments beside every checkpoint; a token must not get there.
        return self.__dict__ | {"hub_token": None}

    def __reduce_ex__(self, protocol):
        if type(self) is MulKIConfig:
            return super().__reduce_ex__(protocol)
        # A class that was composed is not found by its own name, but by its method's.
        return blank_config, (self.method,), self.__getstate__()


MulKIConfig.groups = MulKIConfig.__bases__


def config_class(method: str | type[Objective], load: bool = True) -> type[MulKIConfig]:
    """[`MulKIConfig`], with the fields of `method` where that is a user's own; see [`find_objective`].

    Raises:
        ConfigurationError: there is no such method, or one of its fields has the name of another.
    """
    return _composed(find_objective(method, load))


@cache
def _composed(objective: type[Objective]) -> type[MulKIConfig]:
    return compose(MulKIConfig, MulKIConfig.groups, objective)


def config_of(settings: Mapping[str, Any]) -> type[MulKIConfig]:
    """What recorded `settings` are of; of a method whose module nobody has imported, what all methods have."""
    try:
        return config_class(settings.get("method", "mulki"), load=False)
    except ConfigurationError:
        return MulKIConfig


def own_names(config: type[MulKIConfig]) -> set[str]:
    """The fields that [`MulKIConfig`] has not."""
    return {f.name for f in fields(config)} - {f.name for f in fields(MulKIConfig)}


def blank_config(method: str) -> MulKIConfig:
    """Without any values: pickle fills them in."""
    return object.__new__(config_class(method))


def settle(args: Any) -> None:
    """Fill in the fields of `args` that follow from others where nobody gave them."""
    method = find_objective(args.method)
    args.train_towers = args.train_towers or method.towers
    if args.label_smoothing_factor is None:
        args.label_smoothing_factor = method.label_smoothing
    if args.reference_per_sample is None:
        args.reference_per_sample = method.reference_per_sample
    if args.views_per_sample is None:
        args.views_per_sample = method.views_per_sample
    asked = [adaptation.switch for adaptation in ADAPTATIONS if adaptation.switch and adaptation.asked_for(args)]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} exclude each other, got both")
    for adaptation in ADAPTATIONS:
        adaptation.settle(args)
