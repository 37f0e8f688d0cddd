"""`extends:` in a recipe, which then says only what it changes of others."""

from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import ConfigurationError, shown
from .resources import SUFFIXES, shipped_recipe
from .strict_yaml import read_yaml


EXTENDS = "extends"
MAX_DEPTH = 10

Layer = tuple[str, dict[str, Any]]
"""What one file says, and its path."""


def read_layers(path: Path, where: str = "--config") -> list[Layer]:
    """What a recipe and those that it extends say, the furthest first; each without its `extends`.

    `extends` names a recipe or a list of them, of which later ones win: a file, from the folder of the one that names
    it, with or without `.yaml`, else a recipe that ships.

    Args:
        path: of the recipe.
        where: the option that names it, for messages.

    Raises:
        ConfigurationError: a file can't be read or is no mapping, or they extend each other in a circle or more than
            [`MAX_DEPTH`] deep.
    """
    return _layers(path, where, ())


def _layers(path: Path, where: str, above: tuple[Path, ...]) -> list[Layer]:
    chain = (*above, path.resolve())
    told = " > ".join(file.name for file in chain)
    if chain[-1] in above:
        raise ConfigurationError(f"{where}: recipes extend each other in a circle, {told}: take one `extends` out")
    if len(chain) > MAX_DEPTH:
        raise ConfigurationError(f"{where}: recipes extend each other more than {MAX_DEPTH} deep, {told}")
    said = read_mapping(path, where)
    named = said.pop(EXTENDS, [])
    names = [named] if isinstance(named, str) else named
    if not isinstance(names, list) or not all(isinstance(name, str) and name for name in names):
        raise ConfigurationError(f"{path}: extends must name a recipe, or be a list of names, got {shown(named)}")
    bases = [layer for name in names for layer in _layers(_base(name, path), f"{path}: extends", chain)]
    return [*bases, (str(path), said)]


def read_mapping(path: Path, where: str) -> dict[str, Any]:
    """What one file says, as it says it; raises as [`read_layers`]."""
    said = read_yaml(path, where)
    if not isinstance(said, dict):
        raise ConfigurationError(f"{where}: {path} must be a mapping of fields, got {shown(said)}")
    return said


def _base(name: str, path: Path) -> Path:
    beside = [path.parent / f"{name}{suffix}" for suffix in ("", *SUFFIXES)]
    found = next((file for file in beside if file.is_file()), None)
    what = f"{path}: extends: no file {name!r} in its folder, and no recipe of that name ships"
    return found or shipped_recipe(name, what)


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """The recipe that `layers` make, of which later ones win, key by key.

    Of `tasks` a list takes the place of those before it. A mapping changes the tasks of these names, in whichever layer
    their list stands; a key with nothing is taken out.

    Raises:
        ConfigurationError: a mapping names a task that is not there, or is none of mappings.
    """
    recipe: dict[str, Any] = {}
    changes: list[tuple[str, Any, Any]] = []
    for source, said in layers:
        recipe |= {name: value for name, value in said.items() if not (name == "tasks" and isinstance(value, dict))}
        if isinstance(tasks := said.get("tasks"), dict):
            changes += [(source, name, change) for name, change in tasks.items()]
    if not changes:
        return recipe
    tasks = recipe.get("tasks", [])
    tasks = [dict(task) if isinstance(task, dict) else task for task in tasks if isinstance(tasks, list)]
    by_name = {task.get("name"): task for task in tasks if isinstance(task, dict)}
    for source, name, change in changes:
        if name not in by_name:
            known = f"those are {', '.join(map(str, by_name))}" if by_name else "it has none"
            raise ConfigurationError(
                f"{source}: tasks is a mapping, which changes tasks of the recipes that it extends, and names "
                f"{shown(name)}: {known}"
            )
        if not isinstance(change, dict):
            raise ConfigurationError(f"{source}: tasks: {name} must be a mapping of fields, got {shown(change)}")
        by_name[name].update(change)
        for key in [key for key, value in change.items() if value is None]:
            del by_name[name][key]
    return recipe | {"tasks": tasks}
