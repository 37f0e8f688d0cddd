"""This package as it is installed: its version, and the files that ship with it, recipes among them."""

from importlib.metadata import PackageNotFoundError, version
from pathlib import Path

from .errors import ConfigurationError


PACKAGE = Path(__file__).parent

try:
    __version__ = version("mulki-hf")
except PackageNotFoundError:  # a clone that is not installed
    __version__ = "0+unknown"


def resource(name: str) -> Path:
    """A file or folder that ships, `recipes` or `model_cards/clip-nano.md`: inside a wheel, or beside the package in a
    clone.
    """
    installed = PACKAGE / name
    return installed if installed.exists() else PACKAGE.parent / name


SUFFIXES = (".yaml", ".yml")
"""Of recipes; those that ship have the first."""

NO_RECIPES = {"nano_mtil/grid", "accelerate"}
"""Files and folders among them that are something else."""


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship, by name: `quickstart`, `mtil/mulki`; parts of others (`mtil/_order_1`) left out."""
    return {name: path for name, path in _shipped_files().items() if not path.name.startswith("_")}


def _shipped_files() -> dict[str, Path]:
    folder = resource("recipes")
    paths = {path.relative_to(folder).with_suffix("").as_posix(): path for path in folder.rglob("*.yaml")}
    # Those without a folder first.
    recipes = (name for name in paths if NO_RECIPES.isdisjoint((name, name.partition("/")[0])))
    names = sorted(recipes, key=lambda name: ("/" in name, name))
    return {name: paths[name] for name in names}


def find_recipe(name: str, where: str = "--config") -> Path:
    """The YAML at the path `name`, else the recipe of that name that ships with the package.

    Raises:
        ConfigurationError: there is neither; `where` is the option that names it.
    """
    if Path(name).is_file():
        return Path(name)
    return shipped_recipe(name, f"{where}: no file {name!r}, and no recipe of that name")


def shipped_recipe(name: str, without: str) -> Path:
    """The recipe `name` that ships; where there is none, an error that begins with `without` names those that do."""
    path = _shipped_files().get(name.removesuffix(".yaml").removesuffix(".yml"))
    if path is None:
        raise ConfigurationError(f"{without}; recipes: {', '.join(shipped_recipes())}")
    return path
