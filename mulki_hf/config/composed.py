"""The configuration of a method of the user's: all that `MulKIConfig` has, and the method's own fields."""

import json
from copy import copy
from dataclasses import Field, fields, is_dataclass, make_dataclass
from typing import Any, TypeVar, get_type_hints

from transformers import HfArgumentParser

from ..errors import ConfigurationError, shown
from ..objectives import Objective
from .stream import StreamConfig


T = TypeVar("T")

RESERVED = {"config", "help", "num_processes"}
"""Options and recorded settings that are no field."""


def compose(config: type[T], groups: tuple[type, ...], objective: type[Objective]) -> type[T]:
    """A configuration that has the fields of the objective's `arguments` too; `config` itself where there are none.

    Args:
        config: a dataclass of options, with a class attribute `groups`.
        groups: its dataclasses, a group of options each.
        objective: the method.

    Raises:
        ConfigurationError: a field has the name of another, or a type that no option can have.
    """
    arguments = objective.arguments
    if arguments is None or issubclass(config, arguments):
        return config
    check_names(config, objective, arguments)
    try:
        types = get_type_hints(arguments, include_extras=True)
        HfArgumentParser(arguments)
    except Exception as error:  # of many kinds, one for each thing that it can't do
        raise _refusal(objective, f"whose arguments can't be options: {error}") from error
    if not hasattr(arguments, "_argument_group_name"):
        arguments = type(arguments.__name__, (arguments,), {"_argument_group_name": objective.__name__})
    method, *others = (group for group in groups if not issubclass(arguments, group))
    # By keyword alone: `output_dir` stays the first without one.
    known = {id(field) for field in fields(config)}  # type: ignore[arg-type]
    own = [(field.name, types[field.name], copy(field)) for field in fields(arguments) if id(field) not in known]
    for _, _, field in own:
        field.kw_only = True
    content = {"__module__": __name__, "groups": (method, arguments, *others)}
    return make_dataclass(f"{objective.__name__}Config", own, bases=(config, arguments), namespace=content)


def check_names(config: type, objective: type[Objective], arguments: type) -> None:
    """Raise `ConfigurationError` for a field that would take the place of another, or of an option."""
    known = RESERVED | {name for cls in (StreamConfig, config) for field in fields(cls) for name in option_names(field)}
    for field in fields(arguments):
        names = {name.removeprefix("no_") for name in option_names(field)}  # which switches another off
        # A dataclass derived from one of ours brings its fields along, and may change their defaults.
        shared = [cls for cls in config.__mro__ if is_dataclass(cls) and issubclass(arguments, cls)]
        inherited = any(field.name in cls.__dataclass_fields__ for cls in shared)
        if not inherited and any(name in known or hasattr(config, name) for name in names):
            raise _refusal(
                objective, f"among whose arguments {field.name} has the name of another field: call it something else"
            )


def option_names(field: Field) -> set[str]:
    """What a field is called on the command line, without dashes: its own name, and others that its metadata have."""
    aliases = field.metadata.get("aliases", [])
    aliases = [aliases] if isinstance(aliases, str) else aliases
    return {field.name, *(alias.lstrip("-").replace("-", "_") for alias in aliases)}


def check_plain(args: Any, names: set[str]) -> None:
    """Raise `ValueError` for fields `names` of `args` that results and recipes could not hold as they are."""
    for name, value in args.to_dict().items():
        try:
            plain = name not in names or json.loads(json.dumps(value)) == value
        except (TypeError, ValueError):
            plain = False
        if not plain:
            raise ValueError(
                f"{name} must be made of numbers, strings, lists and mappings with strings as keys, as results and "
                f"recipes are, got {shown(value)}"
            )


def _refusal(objective: type[Objective], why: str) -> ConfigurationError:
    return ConfigurationError(f"method {objective.__module__}:{objective.__qualname__} is one {why}")
