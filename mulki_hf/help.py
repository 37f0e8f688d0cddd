"""The help of `mulki-hf train`, without an import of torch: what its options are ships with the package.

That was made with one version of transformers, whose options most of them are. With another one it is made when it is
asked for first, which takes seconds, and kept in the user's cache. Anew, after a change of options: `make options`.
"""

import argparse
import hashlib
import json
import os
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path
from typing import Any

from .errors import ConfigurationError
from .program import CommandParser, HelpFormatter
from .resources import PACKAGE, __version__
from .strict_yaml import read_yaml


SHIPPED = PACKAGE / "options.json"
OLDEST_TORCH = (2, 8)
"""Before it transformers has another optimizer by default."""
KEPT = 4
"""Descriptions in the user's cache: one for each environment."""


def help_text(argv: Sequence[str] = ()) -> str:
    """What the parser of `mulki-hf train` says of its options.

    Raises:
        ConfigurationError: `argv` names a method of the user's that can't be used.
    """
    options = training_options(argv)
    page = {name: options[name] for name in ("example", "usage", "description")}
    parser = CommandParser(command="train", add_help=False, formatter_class=HelpFormatter, **page)
    add_options(parser, options)
    return parser.format_help()


def training_options(argv: Sequence[str] = ()) -> dict[str, Any]:
    """The options of `mulki-hf train` as [`described`] has them; of a user's own method, if `argv` names one, too."""
    method = chosen_method(argv)
    if method is not None and ":" in method:
        return made(method)
    shipped = json.loads(SHIPPED.read_text(encoding="utf-8"))
    torch = tuple(int(part) for part in version("torch").split(".")[:2])
    if shipped["transformers"] == version("transformers") and torch >= OLDEST_TORCH:
        return shipped
    path = help_folder() / f"{fingerprint()}.json"
    with suppress(OSError, ValueError):
        return json.loads(path.read_text(encoding="utf-8"))
    options = made()
    with suppress(OSError):  # nowhere to keep it
        path.parent.mkdir(parents=True, exist_ok=True)
        write(options, path)
        for old in sorted(path.parent.glob("*.json"), key=lambda file: file.stat().st_mtime)[:-KEPT]:
            old.unlink()
    return options


def made(method: str = "mulki") -> dict[str, Any]:
    """The options by the parser itself, for which it is imported."""
    from .config.parser import make_parser
    from .config.training import config_class

    return {"transformers": version("transformers")} | described(make_parser(config_class(method)))


def described(parser: Any) -> dict[str, Any]:
    """What the help of a parser is made of, as JSON takes it."""
    groups = [
        {"title": group.title, "description": group.description, "options": [*map(_option, group._group_actions)]}
        for group in parser._action_groups
    ]
    return {name: getattr(parser, name) for name in ("example", "usage", "description")} | {"groups": groups}


def _option(action: argparse.Action) -> dict[str, Any]:
    shown = ("option_strings", "dest", "nargs", "metavar", "help")
    option = {name: getattr(action, name) for name in shown}
    option["choices"] = None if action.choices is None else [*map(str, action.choices)]
    option["default"] = None if action.default is argparse.SUPPRESS else str(action.default)
    return option


def add_options(parser: argparse.ArgumentParser, options: dict[str, Any]) -> None:
    """Let a parser's help say what [`described`] holds; it can't parse them."""
    for group in options["groups"]:
        own = next((known for known in parser._action_groups if known.title == group["title"]), None)
        own = own or parser.add_argument_group(group["title"], group["description"])
        for option in group["options"]:
            default = argparse.SUPPRESS if option["default"] is None else option["default"]
            own._add_action(argparse.Action(**option | {"default": default}))


def write(options: dict[str, Any], path: Path) -> None:
    """Write them whole or not at all."""
    temporary = path.with_suffix(f".{os.getpid()}")
    temporary.write_text(json.dumps(options, indent=1, ensure_ascii=False) + "\n", encoding="utf-8")
    os.replace(temporary, path)


def chosen_method(argv: Sequence[str]) -> str | None:
    """The method that options name, themselves or by the file that is their recipe; told without an import of torch."""
    finder = argparse.ArgumentParser(add_help=False, allow_abbrev=False)
    for name in ("--method", "--config"):
        finder.add_argument(name, nargs="?")
    given = finder.parse_known_args(argv)[0]
    recipe = None
    if given.method is None and given.config is not None and Path(given.config).is_file():
        with suppress(ConfigurationError):  # which running it will say
            recipe = read_yaml(given.config, "--config")
    named = recipe.get("method") if isinstance(recipe, dict) else given.method
    return named if isinstance(named, str) else None


def help_folder() -> Path:
    """Where the user's caches lie."""
    caches = os.environ.get("XDG_CACHE_HOME") or os.path.join(os.path.expanduser("~"), ".cache")
    return Path(caches, "mulki-hf", "help")


def fingerprint() -> str:
    """Of all that the options are made of: code and versions."""
    own = sorted(Path(__file__).parent.rglob("*.py"))
    package = find_spec("transformers")  # which does not import it
    assert package is not None and package.origin is not None
    theirs = [Path(package.origin).with_name(name) for name in ("training_args.py", "hf_argparser.py")]
    files = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in [*own, *theirs]]
    versions = [__version__, sys.version, *(version(name) for name in ("transformers", "torch", "accelerate"))]
    return hashlib.sha256(repr([files, versions]).encode()).hexdigest()[:32]


if __name__ == "__main__":
    write(made(), SHIPPED)
