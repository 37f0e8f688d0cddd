"""What of `transformers.TrainingArguments` this trainer can do, and bounds that transformers looks at too late."""

import inspect
import math
import multiprocessing
from dataclasses import fields
from pathlib import Path
from typing import Any

import torch
from accelerate.utils import DynamoBackend
from torch.utils.checkpoint import checkpoint
from transformers import SchedulerType
from transformers.trainer_pt_utils import AcceleratorConfig
from transformers.utils.logging import log_levels

from ..errors import shown
from ..fields import check_text
from .launched import DEEPSPEED, FSDP, WHOLE, check_launched


UNSUPPORTED = {
    **dict.fromkeys(("fsdp", "fsdp_config"), FSDP),
    "deepspeed": DEEPSPEED,
    "parallelism_config": WHOLE,
    "use_liger_kernel": "it has no kernels for CLIP",
    "neftune_noise_alpha": "there are two towers, and no table of embeddings to add noise to",
    "include_num_input_tokens_seen": "images have no tokens to count",
    "label_names": "the labels of a task are called labels",
    "batch_eval_metrics": "accuracy is taken over all batches at once",
    "remove_unused_columns": "it would drop the images",
    "enable_jit_checkpoint": "a signal saves a checkpoint by itself, at the same step on every rank",
}
"""Fields that must stay as they are by default, and why."""

CHOICES = {
    "lr_scheduler_type": [kind.value for kind in SchedulerType],
    "log_level": [*log_levels, "passive"],
    "log_level_replica": [*log_levels, "passive"],
    "train_sampling_strategy": ["random", "sequential"],
    "dataloader_multiprocessing_context": [None, *multiprocessing.get_all_start_methods()],
    "ddp_backend": [None, "nccl", "gloo", "mpi", "ccl", "hccl", "cncl", "mccl", "xccl"],
    "torch_compile_mode": [None, "default", "reduce-overhead", "max-autotune", "max-autotune-no-cudagraphs"],
    "torch_compile_backend": [None, *(name.lower() for name in DynamoBackend.__members__ if name != "NO")],
}

NOT_NEGATIVE = {
    "learning_rate", "weight_decay", "max_grad_norm", "warmup_steps", "logging_steps", "eval_steps", "eval_delay",
    "save_steps", "dataloader_num_workers",
}  # fmt: skip
AT_LEAST_ONE = {
    "per_device_train_batch_size", "per_device_eval_batch_size", "gradient_accumulation_steps",
    "eval_accumulation_steps", "torch_empty_cache_steps", "dataloader_prefetch_factor", "ddp_timeout",
    "ddp_bucket_cap_mb",
}  # fmt: skip
SEEDS = {"seed", "data_seed"}


def check_supported(args: Any) -> None:
    """Before `TrainingArguments.__post_init__`, which acts on these: raise `ValueError`, naming field and value."""
    check_launched(args)
    default = {field.name: field.default for field in fields(args)}
    for name, reason in UNSUPPORTED.items():
        value = getattr(args, name)
        if value and value != default[name]:
            raise ValueError(f"{name} must be left out or {default[name]!r}, got {shown(value)}: {reason}")
    for name, choices in CHOICES.items():
        value = getattr(args, name)
        if getattr(value, "value", value) not in choices:
            known = ", ".join(choice for choice in choices if choice is not None)
            raise ValueError(f"{name} must be one of {known}, got {value!r}")
    if unknown := set(args.include_for_metrics or []) - {"inputs", "loss"}:
        raise ValueError(f"include_for_metrics must be of inputs, loss, got {sorted(unknown)[0]!r}")
    for name in NOT_NEGATIVE | AT_LEAST_ONE | SEEDS:
        check_bounds(name, getattr(args, name))
    if args.output_dir is not None:
        check_text(args.output_dir, "output_dir")
        if not args.output_dir.strip():
            raise ValueError(f"output_dir must name a folder, got {args.output_dir!r}")
    check_mappings(args)


def check_bounds(name: str, value: Any) -> None:
    """Raise `ValueError` for a number out of range."""
    if value is None:
        return
    if name in SEEDS:
        if not 0 <= value < 2**32:
            raise ValueError(f"{name} must be in [0, 2**32), got {value}")
    elif name in AT_LEAST_ONE:
        if not value >= 1:
            raise ValueError(f"{name} must be >= 1, got {value}")
    elif not 0 <= value < math.inf:
        raise ValueError(f"{name} must be >= 0 and finite, got {value}")


def check_mappings(args: Any) -> None:
    """Raise `ValueError` for mappings with keys that nobody knows, and files of them that are not there."""
    given = args.accelerator_config
    if isinstance(given, str) and not given.startswith("{") and not Path(given).is_file():
        raise ValueError(f"accelerator_config must be a mapping or a JSON file, got {shown(given)}")
    known = {field.name for field in fields(AcceleratorConfig)}
    if isinstance(given, dict) and (unknown := sorted(set(given) - known, key=str)):
        raise ValueError(f"accelerator_config has no {shown(unknown[0])}, only {', '.join(sorted(known))}")
    parameters = inspect.signature(checkpoint).parameters.values()
    known = {"preserve_rng_state", *(one.name for one in parameters if one.default is not one.empty)}
    for name in ("activation_checkpointing_kwargs", "gradient_checkpointing_kwargs"):
        given = getattr(args, name)
        if isinstance(given, dict) and (unknown := sorted(set(given) - known, key=str)):
            raise ValueError(f"{name} has no {shown(unknown[0])}, only {', '.join(sorted(known))}")


def check_settled(args: Any) -> None:
    """After `TrainingArguments.__post_init__`: raise `ValueError`, naming field and value."""
    for name in ("lr_scheduler_kwargs", "activation_checkpointing_kwargs", "liger_kernel_config"):
        if not isinstance(getattr(args, name), dict | None):
            raise ValueError(f"{name} must be a mapping, got {shown(getattr(args, name))}")
    if args.world_size > 1 and not args.accelerator_config.even_batches:
        raise ValueError(
            f"accelerator_config: even_batches must be True on {args.world_size} ranks, got False: those with fewer "
            "batches would leave the others waiting"
        )
    if not args.dataloader_num_workers:
        for name in ("dataloader_persistent_workers", "dataloader_multiprocessing_context"):
            if getattr(args, name):
                raise ValueError(
                    f"{name} needs dataloader_num_workers > 0, got {getattr(args, name)!r} without workers"
                )
    from transformers.integrations.integration_utils import INTEGRATION_TO_CALLBACK  # needed late, like Trainer below

    for tracker in args.report_to:
        if tracker not in INTEGRATION_TO_CALLBACK:
            raise ValueError(f"report_to must be of {', '.join(INTEGRATION_TO_CALLBACK)}, all or none, got {tracker!r}")
    if args.save_strategy == "best" and args.metric_for_best_model is None:
        raise ValueError("save_strategy 'best' needs metric_for_best_model, loss or accuracy")
    for field in fields(args):
        value = getattr(args, field.name, None)
        if isinstance(value, float) and not math.isfinite(value):
            raise ValueError(f"{field.name} must be finite, got {value}")
    check_optimisation(args)


def check_optimisation(args: Any) -> None:
    """Raise `ValueError` for an optimizer or a schedule that can't be made, for which one is made."""
    # Here, because it takes a second, which what is refused before need not wait for.
    from transformers import Trainer
    from transformers.optimization import get_scheduler

    if args.optim_target_modules is not None:
        return  # made of a model
    parameter = torch.nn.Parameter(torch.zeros(1))
    try:
        kind, options = Trainer.get_optimizer_cls_and_kwargs(args)
        optimizer = kind([parameter], **options) if isinstance(kind, type) else None
    except (ValueError, TypeError, KeyError, ImportError, RuntimeError) as error:
        raise ValueError(
            f"optim {args.optim.value!r} can't be made with optim_args {args.optim_args!r}, adam_beta1 "
            f"{args.adam_beta1}, adam_beta2 {args.adam_beta2}, adam_epsilon {args.adam_epsilon}: {error}"
        ) from error
    if optimizer is None:
        return
    try:
        get_scheduler(args.lr_scheduler_type, optimizer, args.get_warmup_steps(100), 100, args.lr_scheduler_kwargs)
    except (ValueError, TypeError, KeyError) as error:
        raise ValueError(
            f"lr_scheduler_type {args.lr_scheduler_type.value!r} can't be made with lr_scheduler_kwargs "
            f"{shown(args.lr_scheduler_kwargs)}: {error}"
        ) from error
