"""From the YAML and the command line to `StreamConfig` and `MulKIConfig`."""

import dataclasses
from pathlib import Path
from typing import Any, TypeVar

import yaml
from transformers import HfArgumentParser

from ..data.config import check_keys
from ..errors import ConfigurationError
from ..hub.fetch import fetch_file
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
        ConfigurationError: a key is unknown, or a value is out of range.
    """
    parser = make_parser()
    finder = HfArgumentParser((), add_help=False, allow_abbrev=False)
    for name in ("config", "resume_from_hub", "hub_token"):
        finder.add_argument(f"--{name}", f"--{name.replace('_', '-')}", dest=name)
    first = finder.parse_known_args(argv)[0]
    # As defaults of the parser, strings such as `1e-5` are converted to the field's type like typed options.
    if first.config is not None:
        parser.set_defaults(**read_yaml(find_recipe(first.config)))
    elif first.resume_from_hub is not None:
        # Somebody else's: it says what is learned, not where to write, what to delete or what to publish.
        recipe = fetch_file(first.resume_from_hub, RECIPE_FILE, first.hub_token)
        parser.set_defaults(**read_yaml(recipe, RECIPE_FIELDS, first.resume_from_hub))
    given = vars(parser.parse_args(argv))
    try:
        return _made(StreamConfig, given), _made(MulKIConfig, given)
    except (ValueError, TypeError) as error:
        raise ConfigurationError(str(error)) from error


def _made(cls: type[T], given: dict[str, Any]) -> T:
    return cls(**{f.name: given[f.name] for f in dataclasses.fields(cls) if f.init})  # type: ignore[arg-type]


def read_yaml(path: Path, fields: set[str] | None = None, source: str | None = None) -> dict:
    """The recipe's keys, each of them one of `fields` (default: any field of the configuration)."""
    source = source or str(path)
    try:
        recipe = yaml.safe_load(path.read_text(encoding="utf-8"))
    except (OSError, yaml.YAMLError) as error:
        raise ConfigurationError(f"--config: can't read {path}: {error}") from error
    if not isinstance(recipe, dict):
        raise ConfigurationError(f"--config: {path} must be a mapping of fields, got {type(recipe).__name__}")
    check_keys(recipe, fields or {f.name for f in all_fields()}, source)
    return recipe
