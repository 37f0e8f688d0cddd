"""Recipes: what of the settings the result depends on, where recipes lie, and how a run's own is written."""

import dataclasses
from enum import Enum
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import yaml

from ..adaptation import ADAPTATIONS
from ..adaptation.towers import TowerArguments
from ..errors import ConfigurationError
from ..resources import resource
from .stream import RunArguments, StreamConfig
from .training import ADAPTATION_ARGUMENTS, OBJECTIVE_ARGUMENTS, MethodArguments, MulKIConfig, settle


RECIPE_FILE = "recipe.yaml"

RUN_FIELDS = {*(f.name for f in dataclasses.fields(RunArguments)), "dataset_num_proc"}
"""Fields of [`StreamConfig`] that say how one run goes, not what the stream is."""

CONSTANT_FIELDS = {
    *(
        f.name
        for cls in (StreamConfig, MethodArguments, TowerArguments, *OBJECTIVE_ARGUMENTS, *ADAPTATION_ARGUMENTS)
        for f in dataclasses.fields(cls)
    ),
    *("num_train_epochs", "max_steps", "seed", "data_seed", "per_device_train_batch_size"),
    *("gradient_accumulation_steps", "dataloader_drop_last", "max_grad_norm", "label_smoothing_factor"),
    *("optim", "optim_args", "weight_decay", "adam_beta1", "adam_beta2", "adam_epsilon", "bf16", "fp16"),
    *("learning_rate", "lr_scheduler_type", "lr_scheduler_kwargs", "warmup_steps"),
} - RUN_FIELDS
"""What must not change between a run and its resumption: everything that the result depends on."""

RECIPE_FIELDS = CONSTANT_FIELDS | {"per_device_eval_batch_size", "activation_checkpointing", "license", "language"}

SWITCHES = {adaptation.switch for adaptation in ADAPTATIONS if adaptation.switch}
"""Fields that choose what is trained."""

ELSEWHERE = {
    "tasks", "model_name_or_path", "model_revision", "method", "protocol", "templates", "reference_dataset",
}  # fmt: skip
"""What a card says in another place than among the settings."""


def all_fields() -> list[dataclasses.Field]:
    """Every field of the configuration that can be given, in order."""
    return [f for cls in (StreamConfig, MulKIConfig) for f in dataclasses.fields(cls) if f.init]


def changed_settings(settings: dict[str, Any]) -> dict[str, Any]:
    """Of resolved `settings` what the result depends on and nobody gets without asking, in order.

    That is the difference to the defaults of the same method and adaptation, from which some fields follow.
    """
    asked = {name for name in SWITCHES if settings.get(name) is not None}
    default = SimpleNamespace(**default_settings())
    for name in {"method", *asked}:
        setattr(default, name, settings[name])
    settle(default)
    return {
        f.name: settings[f.name]
        for f in all_fields()
        if f.name in CONSTANT_FIELDS - ELSEWHERE and f.name in settings
        if f.name in asked or settings[f.name] != getattr(default, f.name)
    }


def default_settings() -> dict[str, Any]:
    """What each field is when nobody gives it, before others decide about it."""
    values = {
        f.name: f.default if f.default_factory is dataclasses.MISSING else f.default_factory() for f in all_fields()
    }
    return {name: value.value if isinstance(value, Enum) else value for name, value in values.items()}


def write_recipe(settings: dict[str, Any], path: Path) -> None:
    """The recipe of a finished task: of its `settings` everything that the result depends on, and nothing else."""
    recipe = {f.name: settings[f.name] for f in all_fields() if f.name in RECIPE_FIELDS}
    path.write_text(yaml.safe_dump(recipe, sort_keys=False, allow_unicode=True, width=120), encoding="utf-8")


def find_recipe(name: str) -> Path:
    """The YAML at the path `name`, else the recipe of that name that ships with the package."""
    if Path(name).is_file():
        return Path(name)
    folder = resource("recipes")
    path = folder / (name if name.endswith((".yaml", ".yml")) else f"{name}.yaml")
    if path.is_file():
        return path
    shipped = ", ".join(sorted(path.stem for path in folder.glob("*.yaml")))
    raise ConfigurationError(f"--config: no file {name!r}, and no recipe of that name; recipes: {shipped}")
