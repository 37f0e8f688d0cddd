"""`extends:` in a recipe, which then says only what it changes of others."""

from collections.abc import Iterable, Mapping, Sequence
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
    if isinstance(said.get("tasks"), list):
        # It takes the place of theirs, with all that they change of it.
        bases = [(source, {key: value for key, value in own.items() if key != "tasks"}) for source, own in bases]
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


EXCLUSIVE = ({"max_steps", "num_train_epochs"}, {"shots", "max_train_samples"})
"""Fields of which one takes the other's place."""


def outdone(given: Iterable[str]) -> set[str]:
    """Fields that are said in vain where the fields `given` are said later."""
    return {name for pair in EXCLUSIVE if pair & {*given} for name in pair - {*given}}


def over(said: Mapping[str, Any], later: Mapping[str, Any]) -> dict[str, Any]:
    """What `said` and, winning over it, `later` say of fields."""
    gone = outdone(later)
    return {name: value for name, value in said.items() if name not in gone} | dict(later)


def merged(layers: Sequence[Layer]) -> dict[str, Any]:
    """The recipe that `layers` make, of which later ones win, key by key.

    Of `tasks` a list takes the place of those before it. A mapping changes the tasks of these names; a key with nothing
    is taken out. Where the list stands in a later layer, that wins too, and tasks that it has not are passed over.

    Raises:
        ConfigurationError: a mapping names a task that is not there, or is none of mappings.
    """
    recipe: dict[str, Any] = {}
    before: list[tuple[str, Any, Any]] = []
    after: list[tuple[str, Any, Any]] = []
    for source, said in layers:
        changed = said.get("tasks")
        if isinstance(changed, dict):
            after += [(source, name, change) for name, change in changed.items()]
            said = {key: value for key, value in said.items() if key != "tasks"}
        elif "tasks" in said:
            before, after = before + after, []
        recipe = over(recipe, said)
    if before or after:
        recipe["tasks"] = _changed(recipe.get("tasks"), before, after)
    return recipe


def _changed(tasks: Any, before: Sequence[tuple[str, Any, Any]], after: Sequence[tuple[str, Any, Any]]) -> Any:
    """The list of `tasks` with the changes of layers before and after it."""
    listed = [dict(task) if isinstance(task, dict) else task for task in tasks] if isinstance(tasks, list) else []
    by_name = {name: task for task in listed if isinstance(task, dict) and isinstance(name := task.get("name"), str)}
    for source, name, change in (*before, *after):
        if not isinstance(name, str):
            raise ConfigurationError(f"{source}: tasks: names must be strings, got {shown(name)} (quote it in YAML?)")
        if not isinstance(change, dict):
            raise ConfigurationError(f"{source}: tasks: {name} must be a mapping of fields, got {shown(change)}")
    given: dict[str, dict[str, Any]] = {}
    for _, name, change in before:
        given[name] = over(given.get(name, {}), change)
    for name in given.keys() & by_name.keys():
        _set(by_name[name], over(given[name], by_name[name]))
    for source, name, change in after:
        if name not in by_name:
            known = f"those are {', '.join(by_name)}" if by_name else "it has none"
            raise ConfigurationError(
                f"{source}: tasks is a mapping, which changes tasks of the recipes that it extends, and names "
                f"{shown(name)}: {known}"
            )
        _set(by_name[name], over(by_name[name], change))
    return listed if isinstance(tasks, list) else tasks


def _set(task: dict[str, Any], fields: Mapping[str, Any]) -> None:
    task.clear()
    task.update({name: value for name, value in fields.items() if value is not None})
