"""Settings of an evaluation: of a stream's those that its figures depend on, read by the same parser."""

import dataclasses
from collections.abc import Callable, Mapping, Sequence
from typing import Any

from ..data.config import DataArguments
from ..errors import ConfigurationError
from ..evaluation.protocols import EvaluationArguments
from ..extends import read_mapping
from ..hub.fetch import fetch_file
from .composed import option_names
from .from_hub import confined
from .parser import checked, configured, given_recipe
from .recipes import RECIPE_FILE, all_fields
from .stream import StreamConfig
from .training import MulKIConfig, config_class


NO_TRAINING = "zero_shot"
"""The method of a model that is evaluated as it is."""

_TRAINING_DATA = {"random_resized_crop", *(f.name for f in dataclasses.fields(DataArguments) if "reference" in f.name)}
_MACHINE = {"dataset_num_proc", "dataloader_num_workers", "ddp_backend", "ddp_timeout", "disable_tqdm", "log_level"}
FIGURES = {
    *(f.name for cls in (DataArguments, EvaluationArguments) for f in dataclasses.fields(cls)),
    *("bf16", "fp16", "tf32", "use_cpu", "per_device_eval_batch_size", "cache_images"),
} - (_TRAINING_DATA | _MACHINE)
"""What accuracies depend on, or how they are computed: taken over from a run."""
EVALUATION = FIGURES | _MACHINE
"""What an evaluation takes from a stream's YAML and from the command line."""


def evaluation_settings(
    options: list[str],
    earlier: Callable[[], dict[str, Any]] | None,
    source: str,
    model: tuple[str, str],
    output_dir: str,
) -> tuple[StreamConfig, MulKIConfig]:
    """The stream that `--config` and the other `options` name, without its training, or the one of a run.

    Args:
        options: of the command line, but for those that an evaluation alone has.
        earlier (*optional*): says those of the run that the model belongs to; asked where no `--config` is given.
        source: the model as it was given, for messages.
        model: its name and revision, which come in the place of a stream's.
        output_dir: where results go, whatever the stream says.

    Raises:
        ConfigurationError: there are no tasks, a setting is wrong, or an option of training is among them.
    """
    refuse_training(options)
    if any(word.partition("=")[0] == "--config" for word in options):
        recipe, _ = given_recipe(options)
    else:
        recipe = earlier() if earlier is not None else {}
    recipe = {name: value for name, value in recipe.items() if name in EVALUATION}
    named = any(word.partition("=")[0] == "--tasks" for word in options)
    if not recipe.get("tasks") and not named:
        raise ConfigurationError(
            f"tasks: {source!r} belongs to no run whose tasks it could be evaluated on; name a stream with --config, a "
            "YAML or one that the package ships (quickstart)"
        )
    given = {"method": NO_TRAINING, "model_name_or_path": model[0], "model_revision": model[1]}
    return configured(options, recipe | given | {"output_dir": output_dir}, config_class(NO_TRAINING), "evaluate")


def run_settings(settings: Mapping[str, Any], source: str) -> dict[str, Any]:
    """Of a run's recorded settings what its figures depend on."""
    kept = {name: value for name, value in settings.items() if name in FIGURES}
    return checked(kept, MulKIConfig, FIGURES, f"{source}: results.json, config")


def hub_settings(repository: str, token: str | None, data_root: str | None, asked_by: str) -> dict[str, Any]:
    """The same from the recipe of a checkpoint on the Hub, which is somebody else's; see [`confined`]."""
    recipe = read_mapping(fetch_file(repository, RECIPE_FILE, token, asked_by), asked_by)
    kept = {name: value for name, value in recipe.items() if name in FIGURES or name == "protocol"}  # of older ones
    kept = checked(kept, MulKIConfig, FIGURES, repository, mine=False)
    return confined(kept, repository, data_root, asked_by)


def refuse_training(options: Sequence[str]) -> None:
    """Raise `ConfigurationError` for an option that has no say in an evaluation."""
    fields = {name for field in all_fields() for name in option_names(field) if field.name not in EVALUATION}
    for word in options:
        name = word[2:].partition("=")[0].replace("-", "_") if word.startswith("--") else ""
        if name in ("model_name_or_path", "model_revision"):
            raise ConfigurationError(f"--{name}: the model is the command's first word, MODEL or MODEL@REVISION")
        if name in fields or name.removeprefix("no_") in fields:
            raise ConfigurationError(
                f"--{name} has no say in an evaluation, which trains nothing: leave it (in a stream's YAML such "
                "settings are passed over)"
            )
