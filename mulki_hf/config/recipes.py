"""Recipes: what of the settings the result depends on, and how a run's own is written."""

import dataclasses
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml
from transformers.trainer_pt_utils import AcceleratorConfig

from ..adaptation import ADAPTATIONS
from ..adaptation.towers import TowerArguments
from ..data.reference import ReferenceArguments
from ..data.views import ViewArguments
from .stream import RunArguments, StreamConfig
from .training import (
    ADAPTATION_ARGUMENTS,
    OBJECTIVE_ARGUMENTS,
    MethodArguments,
    MulKIConfig,
    config_of,
    own_names,
    settle,
)


RECIPE_FILE = "recipe.yaml"

RUN_FIELDS = {*(f.name for f in dataclasses.fields(RunArguments)), "dataset_num_proc", "pickled_weights"}
"""Fields of [`StreamConfig`] that say how one run goes, not what the stream is."""

EVALUATION_FIELDS = (
    "eval_strategy", "eval_steps", "eval_delay", "metric_for_best_model", "greater_is_better",
)  # fmt: skip
"""Decisive where evaluations during training decide: which checkpoint is the best, or the learning rate."""

SAVING_FIELDS = ("save_strategy", "save_steps")
"""Decisive where the best checkpoint is the result."""

LED_BY_EVALUATION = ("reduce_lr_on_plateau", "greedy")
"""Schedules whose learning rate follows from evaluations."""

HARMLESS = {"non_blocking", "use_configured_state"}
"""Keys of `accelerator_config` that neither steps nor their order depend on."""

CONSTANT_FIELDS = {
    *(
        f.name
        for cls in (
            StreamConfig,
            MethodArguments,
            TowerArguments,
            ReferenceArguments,
            ViewArguments,
            *OBJECTIVE_ARGUMENTS,
            *ADAPTATION_ARGUMENTS,
        )
        for f in dataclasses.fields(cls)
    ),
    *("num_train_epochs", "max_steps", "seed", "data_seed", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "dataloader_drop_last", "max_grad_norm", "label_smoothing_factor"),
    *("optim", "optim_args", "optim_target_modules", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon"),
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
    *("bf16", "fp16", "tf32", "accelerator_config", "auto_find_batch_size", "train_sampling_strategy"),
    *("dataloader_in_order", "ignore_data_skip", "load_best_model_at_end", "average_tokens_across_devices"),
    *EVALUATION_FIELDS,
    *SAVING_FIELDS,
} - RUN_FIELDS
"""What must not change between a run and its resumption: everything that the result depends on (see [`decisive`])."""

RECIPE_FIELDS = CONSTANT_FIELDS | {
    "per_device_eval_batch_size", "activation_checkpointing", "license", "language", "on_nonfinite",
}  # fmt: skip

SWITCHES = {adaptation.switch for adaptation in ADAPTATIONS if adaptation.switch}
"""Fields that choose what is trained."""

ELSEWHERE = {
    "tasks", "model_name_or_path", "model_revision", "method", "protocols", "templates", "reference_dataset",
}  # fmt: skip
"""What a card says in another place than among the settings."""


def all_fields(config: type[MulKIConfig] = MulKIConfig) -> list[dataclasses.Field]:
    """Every field of the configuration that can be given, in order."""
    return [f for cls in (StreamConfig, config) for f in dataclasses.fields(cls) if f.init]


def changed_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Of resolved `settings` what the result depends on and nobody gets without asking, in order.

    That is the difference to the defaults of the same method and adaptation, from which some fields follow.
    """
    default = settled_defaults(settings)
    return {
        name: value
        for name, value in decisive(settings).items()
        if name not in ELSEWHERE and (value != default[name] or (name in SWITCHES and value is not None))
    }


def decisive(settings: dict[str, Any]) -> dict[str, Any]:
    """The [`CONSTANT_FIELDS`] of resolved `settings` that decide here, and a method's own fields, in order.

    Whatever saves and evaluates without a say in the result is left out, and so are defaults inside mappings.
    """
    idle: set[str] = set()
    if not settings.get("load_best_model_at_end"):
        idle.update(SAVING_FIELDS)
        if settings.get("lr_scheduler_type") not in LED_BY_EVALUATION:
            idle.update(EVALUATION_FIELDS)
    config = config_of(settings)
    constant = (CONSTANT_FIELDS | own_names(config)) - idle
    kept = {f.name: settings[f.name] for f in all_fields(config) if f.name in constant and f.name in settings}
    given, default = kept.get("accelerator_config"), AcceleratorConfig().to_dict()
    if isinstance(given, dict):
        changed = {key: value for key, value in given.items() if key not in HARMLESS and value != default.get(key)}
        kept["accelerator_config"] = changed or None
    return kept


def default_settings(config: type[MulKIConfig] = MulKIConfig) -> dict[str, Any]:
    """What each field is when nobody gives it, before others decide about it."""
    values = {
        f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory()
        for f in all_fields(config)
    }
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def settled_defaults(settings: dict[str, Any]) -> dict[str, Any]:
    """What each field is when nobody gives it, with the method and adaptation of `settings`."""
    default = SimpleNamespace(**default_settings(config_of(settings)))
    for name in {"method", *(name for name in SWITCHES if settings.get(name) is not None)}:
        setattr(default, name, settings[name])
    settle(default)
    return vars(default)


def write_recipe(settings: dict[str, Any], path: Path) -> None:
    """The recipe of a finished task: of its `settings` everything that the result depends on, and nothing else."""
    kept = decisive(settings) | {name: settings[name] for name in RECIPE_FIELDS - CONSTANT_FIELDS}
    recipe = {f.name: kept[f.name] for f in all_fields(config_of(settings)) if f.name in kept}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")
