"""From the YAML and the command line to `StreamConfig` and `MulKIConfig`."""

import argparse
import dataclasses
import sys
from typing import Any, TypeVar, get_type_hints

from transformers import HfArgumentParser

from ..data.own_settings import NAMES as OWN_SETTINGS
from ..data.task import check_not_streamed
from ..data.task_config import LIMITS, TaskConfig
from ..errors import ConfigurationError
from ..evaluation.protocols import renamed
from ..extends import merged, outdone, read_layers, read_mapping
from ..fields import check_keys, conformed
from ..hub.fetch import fetch_file
from ..objectives import FORMER_SETTINGS
from ..program import ExampleFirst, program
from ..resources import find_recipe
from .from_hub import check_method, confined
from .recipes import RECIPE_FIELDS, RECIPE_FILE, all_fields
from .stream import StreamConfig
from .training import MulKIConfig, config_class, own_names


T = TypeVar("T")

TASK_FIELDS = {f.name for f in dataclasses.fields(TaskConfig)}


class TrainParser(ExampleFirst, HfArgumentParser):
    """The options of `mulki-hf train`; its help is also that of `mulki_hf/options.json`."""


def make_parser(config: type[MulKIConfig] = MulKIConfig) -> TrainParser:
    """A parser with one documented group of options for each dataclass of the configuration."""
    parser = TrainParser(
        (StreamConfig, *config.groups),
        command="train",
        example="--config quickstart",
        usage="%(prog)s --config RECIPE [--FIELD VALUE ...]",
        description="Train a CLIP on a stream of tasks. Every field can stand in the YAML; the command line\n"
        "overrides. This is one process; several are started by a launcher, on two GPUs by\n"
        "  accelerate launch --multi_gpu --num_processes 2 -m mulki_hf.train --config RECIPE",
    )
    parser.add_argument("--config", help="YAML file, or the name of a recipe that the package ships (quickstart).")
    return parser


def parse(argv: list[str] | None = None, command: str | None = None) -> tuple[StreamConfig, MulKIConfig]:
    """Read `--config`, then the other options of `argv` (default: the process's) over it.

    Args:
        argv (*optional*): the options.
        command (*optional*): whose they are, if not those of `train`.

    Raises:
        ConfigurationError: a key or option is unknown, a key there twice, a value of another type or out of range.
    """
    return configured(argv, *given_recipe(argv), command)


def given_recipe(argv: list[str] | None) -> tuple[dict[str, Any], type[MulKIConfig]]:
    """What `--config` or `--resume_from_hub` say, checked, and the class of the method's configuration."""
    finder = TrainParser((), command="train", example="", add_help=False)
    for name in ("config", "resume_from_hub", "data_root", "hub_token", "method"):
        finder.add_argument(*dict.fromkeys((f"--{name}", f"--{name.replace('_', '-')}")), dest=name)
    first = finder.parse_known_args(argv)[0]
    recipe: dict[str, Any] = {}
    if first.config is not None:
        if first.data_root is not None:
            raise ConfigurationError("data_root is for a recipe from the Hub: write the paths into that of --config")
        layers = read_layers(find_recipe(first.config))
        recipe = merged(layers)
    elif first.resume_from_hub is not None:
        # Somebody else's: it says what is learned, not what to read, where to write, what to delete or to publish.
        source = first.resume_from_hub
        recipe = read_mapping(fetch_file(source, RECIPE_FILE, first.hub_token), "--config")
        check_method(recipe, source, first.method)
    config = config_class(first.method or named_method(recipe))
    if first.config is not None:
        # Each file by itself, for messages that name it.
        known, method = {f.name for f in all_fields(config)}, named_method(recipe)
        recipe = merged([(source, checked(said, config, known, source, method=method)) for source, said in layers])
    elif first.resume_from_hub is not None:
        recipe = confined(
            checked(recipe, config, RECIPE_FIELDS | own_names(config), source, mine=False), source, first.data_root
        )
    return recipe, config


def configured(
    argv: list[str] | None, recipe: dict[str, Any], config: type[MulKIConfig], command: str | None = None
) -> tuple[StreamConfig, MulKIConfig]:
    """The options of `argv` over a `recipe` that is checked; `command` is whose they are, if not those of `train`."""
    parser = make_parser(config)
    if command is not None:
        parser.prog, parser.usage = program(command), "%(prog)s [OPTIONS]; see --help"
    words = sys.argv[1:] if argv is None else argv
    typed = {word[2:].partition("=")[0].replace("-", "_") for word in words if word.startswith("--")}
    recipe = {name: value for name, value in recipe.items() if name not in outdone(typed)}
    given = vars(parser.parse_args(argv, argparse.Namespace(**recipe)))
    # The command line wins over what tasks say of their own, too.
    gone = typed & {*OWN_SETTINGS, *LIMITS} | outdone(typed) | ({"rows"} if typed & {*LIMITS} else set())
    if gone and isinstance(given["tasks"], list):
        given["tasks"] = [
            {name: value for name, value in task.items() if name not in gone} if isinstance(task, dict) else task
            for task in given["tasks"]
        ]
    try:
        return _made(StreamConfig, given), _made(config, given)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise ConfigurationError(" ".join(str(error).split())) from error


def _made(cls: type[T], given: dict[str, Any]) -> T:
    return cls(**{f.name: given[f.name] for f in dataclasses.fields(cls) if f.init})  # type: ignore[arg-type]


def named_method(recipe: dict[str, Any]) -> str:
    """The recipe's method, or the default; of what is no name, which its field's type will say."""
    method = recipe.get("method")
    return method if isinstance(method, str) else MulKIConfig.method


def without_former(recipe: dict[str, Any], method: str, source: str, mine: bool = True) -> dict[str, Any]:
    """The recipe without what is gone of methods other than its own, `method`; of that such a setting is an error."""
    for name in FORMER_SETTINGS.get(method, ()):
        if name in recipe:
            advice = "remove it to train by today's" if mine else "go on with that version, or start anew"
            raise ConfigurationError(
                f"{source}: {name} is a setting of {method} as an older version had it, with other equations: {advice}"
            )
    gone = {name for names in FORMER_SETTINGS.values() for name in names}
    return {name: value for name, value in recipe.items() if name not in gone}


def checked(
    recipe: dict[str, Any],
    config: type[MulKIConfig],
    known: set[str],
    source: str,
    mine: bool = True,
    method: str | None = None,
) -> dict[str, Any]:
    """The recipe with values of its fields' types; strings such as `1e-5` are converted like typed options.

    Args:
        recipe: as its YAML says.
        config: of the method.
        known: the fields that it may have.
        source: where it came from, for messages.
        mine: whether it is the user's own, who can change it.
        method (*optional*): of the whole, where it is a part of one.
    """
    recipe = renamed(recipe, source)
    if isinstance(tasks := recipe.get("tasks"), dict):  # changes of those that another recipe has
        for name, change in tasks.items():
            check_keys(change if isinstance(change, dict) else (), TASK_FIELDS, f"{source}: tasks: {name}")
    recipe = without_former(recipe, method or named_method(recipe), source, mine)
    check_not_streamed(recipe, source, "reference_samples, or a slice as reference_split, `train[:10%]`")
    check_keys(recipe, known, source)
    # Its tasks are checked one by one, each by its name.
    types = get_type_hints(StreamConfig) | get_type_hints(config) | {"tasks": Any}
    return conformed(recipe, types, source, strings=True)
