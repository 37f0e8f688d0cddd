"""From the YAML and the command line to `StreamConfig` and `MulKIConfig`."""

import argparse
import dataclasses
from pathlib import Path
from typing import Any, TypeVar, get_type_hints

from transformers import HfArgumentParser

from ..errors import ConfigurationError, shown
from ..fields import check_keys, conformed
from ..hub.fetch import fetch_file
from ..strict_yaml import read_yaml
from .from_hub import confined
from .recipes import RECIPE_FIELDS, RECIPE_FILE, all_fields, find_recipe
from .stream import StreamConfig
from .training import MulKIConfig


T = TypeVar("T")


def make_parser() -> HfArgumentParser:
    """A parser with one documented group of options for each dataclass of the configuration."""
    parser = HfArgumentParser(
        (StreamConfig, *MulKIConfig.__bases__),
        usage="accelerate launch -m mulki_hf.train --config RECIPE [--FIELD VALUE ...]",
        description="Train a CLIP on a stream of tasks. Every field can stand in the YAML; the command line overrides.",
        allow_abbrev=False,
    )
    parser.add_argument("--config", help="YAML file, or the name of a recipe that the package ships (quickstart).")
    return parser


def parse(argv: list[str] | None = None) -> tuple[StreamConfig, MulKIConfig]:
    """Read `--config`, then the other options of `argv` (default: the process's) over it.

    Raises:
        ConfigurationError: a key is unknown or there twice, or a value is of another type or out of range.
    """
    parser, recipe = make_parser(), argparse.Namespace()
    finder = HfArgumentParser((), add_help=False, allow_abbrev=False)
    for name in ("config", "resume_from_hub", "data_root", "hub_token"):
        finder.add_argument(f"--{name}", f"--{name.replace('_', '-')}", dest=name)
    first = finder.parse_known_args(argv)[0]
    if first.config is not None:
        if first.data_root is not None:
            raise ConfigurationError("data_root is for a recipe from the Hub: write the paths into that of --config")
        vars(recipe).update(read_recipe(find_recipe(first.config)))
    elif first.resume_from_hub is not None:
        # Somebody else's: it says what is learned, not what to read, where to write, what to delete or to publish.
        path = fetch_file(first.resume_from_hub, RECIPE_FILE, first.hub_token)
        given = read_recipe(path, RECIPE_FIELDS, first.resume_from_hub)
        vars(recipe).update(confined(given, first.resume_from_hub, first.data_root))
    given = vars(parser.parse_args(argv, recipe))
    try:
        return _made(StreamConfig, given), _made(MulKIConfig, given)
    except (ValueError, TypeError, OSError, ImportError) as error:
        raise ConfigurationError(" ".join(str(error).split())) from error


def _made(cls: type[T], given: dict[str, Any]) -> T:
    return cls(**{f.name: given[f.name] for f in dataclasses.fields(cls) if f.init})  # type: ignore[arg-type]


def read_recipe(path: Path, fields: set[str] | None = None, source: str | None = None) -> dict[str, Any]:
    """The recipe's keys, each of them one of `fields` (default: any field of the configuration), and their values.

    They have their fields' types; strings such as `1e-5` are converted like typed options.
    """
    recipe, source = read_yaml(path, "--config"), source or str(path)
    if not isinstance(recipe, dict):
        raise ConfigurationError(f"--config: {path} must be a mapping of fields, got {shown(recipe)}")
    check_keys(recipe, fields or {f.name for f in all_fields()}, source)
    # Its tasks are checked one by one, each by its name.
    types = get_type_hints(StreamConfig) | get_type_hints(MulKIConfig) | {"tasks": Any}
    return conformed(recipe, types, source, strings=True)
