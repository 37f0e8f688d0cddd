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


def shipped_recipes() -> dict[str, Path]:
    """The recipes that ship, by name."""
    return {path.stem: path for path in sorted(resource("recipes").glob("*.yaml"))}


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
    shipped = shipped_recipes()
    path = shipped.get(name.removesuffix(".yaml").removesuffix(".yml"))
    if path is None:
        raise ConfigurationError(f"{without}; recipes: {', '.join(shipped)}")
    return path
