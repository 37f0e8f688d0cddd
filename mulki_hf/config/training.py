"""`MulKIConfig`: how each task is trained, composed of what every district declares."""

import os
from dataclasses import dataclass, field
from typing import Any

from transformers import TrainingArguments
from transformers.trainer_utils import HubStrategy
from transformers.training_args import ParallelMode

from ..adaptation import ADAPTATIONS
from ..adaptation.averaging import AverageArguments
from ..adaptation.towers import TowerArguments
from ..data.tables import CacheArguments
from ..data.workers import loader_workers
from ..hub.arguments import HubArguments
from ..models.encoding import EncodingArguments
from ..objectives import OBJECTIVES, objective_of
from .limits import check_settled, check_supported


@dataclass
class MethodArguments:
    """Which method."""

    _argument_group_name = "Method"

    method: str = field(default="mulki", metadata={"help": f"Continual-learning method: {', '.join(OBJECTIVES)}."})

    def __post_init__(self):
        if self.method not in OBJECTIVES:
            raise ValueError(f"method must be one of {', '.join(OBJECTIVES)}, got {self.method!r}")


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
        if not 0 <= self.label_smoothing_factor < 1:
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
    CacheArguments,
    EncodingArguments,
    AverageArguments,
    HubArguments,
    TrainerArguments,
):
    """Training arguments of one task of the stream: `transformers.TrainingArguments` and the methods' own.

    Fields of a method that is not selected are checked but have no effect.

    Raises:
        ValueError: a field is out of range; the message names field and value.
    """

    def __post_init__(self):
        for arguments in MulKIConfig.__bases__:
            if hasattr(arguments, "__post_init__"):
                arguments.__post_init__(self)
        settle(self)
        objective = objective_of(self)
        if self.load_best_model_at_end and objective.average_every:
            raise ValueError("load_best_model_at_end must be False, got True: the averaged weights are the result")
        if self.dataloader_persistent_workers and objective.needs_reference():
            raise ValueError(
                "dataloader_persistent_workers must be False, got True: workers that outlive an epoch would repeat its "
                "pairing of task and reference images"
            )

    def __getstate__(self) -> dict[str, Any]:
        # Trainer pickles its arguments beside every checkpoint; a token must not get there.
        return self.__dict__ | {"hub_token": None}


def settle(args: Any) -> None:
    """Fill in the fields of `args` that follow from others where nobody gave them."""
    args.train_towers = args.train_towers or OBJECTIVES[args.method].towers
    asked = [adaptation.switch for adaptation in ADAPTATIONS if adaptation.switch and adaptation.asked_for(args)]
    if len(asked) > 1:
        raise ValueError(f"{' and '.join(asked)} exclude each other, got both")
    for adaptation in ADAPTATIONS:
        adaptation.settle(args)
