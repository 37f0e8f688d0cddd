"""Which settings are paths: those whose fields say so, `Annotated[str, PATH]`; no name, template or pattern."""

import re
from collections.abc import Callable, Mapping
from types import NoneType, UnionType
from typing import Annotated, Any, TypeAlias, Union, get_args, get_origin, get_type_hints

from ..data.task_config import TaskConfig
from ..hub.shareable import PATH, shareable
from .stream import StreamConfig
from .training import MulKIConfig, config_of


Change: TypeAlias = Callable[[str, str, Mapping[str, Any]], str]

TRAINER_PATHS = {
    "output_dir", "logging_dir", "resume_from_checkpoint", "deepspeed", "fsdp_config", "accelerator_config",
}  # fmt: skip
"""Fields of `transformers.TrainingArguments` that hold paths, which can't say so themselves."""

# Inside what other libraries define, a PEFT tuner's fields for one, names have to do.
_PATH_KEY = re.compile(r"(?:^|_)(?:path|file|dir)$")


def path_types(*classes: type) -> dict[str, Any]:
    """By field: the type of those of its values that are paths; `object` where it has no others."""
    types = {}
    for cls in classes:
        for name, hint in get_type_hints(cls, include_extras=True).items():
            parts = get_args(hint) if get_origin(hint) in (Union, UnionType) else (hint,)
            paths = [get_args(part)[0] for part in parts if get_origin(part) is Annotated and PATH in get_args(part)]
            if paths:
                types[name] = paths[0] if len({*parts} - {NoneType}) > 1 else object
    return types


TASK_PATHS = path_types(TaskConfig)
NAMES = ("class_names",)
"""Fields of a task whose mappings have names of classes as keys, which tell nothing of paths."""

SETTING_PATHS = path_types(StreamConfig, MulKIConfig) | dict.fromkeys(TRAINER_PATHS, object)


def paths_in(settings: Mapping[str, Any]) -> dict[str, Any]:
    """[`SETTING_PATHS`], and those of a method of the user's, if `settings` name one."""
    config = config_of(settings)
    return SETTING_PATHS if config is MulKIConfig else SETTING_PATHS | path_types(config)


def map_paths(settings: Mapping[str, Any], change: Change) -> dict[str, Any]:
    """A copy of `settings`, of all or of some, with every path in them changed, those of the tasks too.

    Args:
        settings: by field.
        change: of a path, the field that holds it and the mapping that has that field, the settings or a task's.
    """
    # Tasks have fields of their own.
    others = {name: value for name, value in settings.items() if name != "tasks"}
    mapped = dict(settings) | _mapped(others, paths_in(settings), change)
    if isinstance(tasks := settings.get("tasks"), list):
        mapped["tasks"] = [_mapped(task, TASK_PATHS, change) if isinstance(task, dict) else task for task in tasks]
    return mapped


def _mapped(given: Mapping[str, Any], types: dict[str, Any], change: Change) -> dict[str, Any]:
    def walked(name: str, value: Any) -> Any:
        if name in NAMES and isinstance(value, dict):
            return value
        return _walked(value, isinstance(value, types.get(name, ())), lambda path: change(path, name, given))

    return {name: walked(name, value) for name, value in given.items()}


def _walked(value: Any, is_path: bool, change: Callable[[str], str]) -> Any:
    if isinstance(value, dict):
        return {key: _walked(part, is_path or _is_path(key), change) for key, part in value.items()}
    if isinstance(value, list | tuple):
        return [_walked(part, is_path, change) for part in value]
    return change(value) if is_path and isinstance(value, str) else value


def _is_path(key: Any) -> bool:
    return bool(_PATH_KEY.search(str(key)))


def shareable_settings(settings: Mapping[str, Any]) -> dict[str, Any]:
    """`settings` with paths that may leave the machine, see [`shareable`]; those in `data_root` relative to it."""
    return map_paths(settings, lambda path, *_: shareable(path, settings.get("data_root")))
