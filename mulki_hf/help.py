"""The command's help, kept once it was made: what it says needs an import of several seconds, what reads it none."""

import argparse
import hashlib
import os
import shutil
import sys
from collections.abc import Sequence
from contextlib import suppress
from importlib.metadata import version
from importlib.util import find_spec
from pathlib import Path

from .errors import ConfigurationError
from .resources import __version__
from .strict_yaml import read_yaml


KEPT = 8
"""Texts that are kept: one for each width of a terminal."""


def help_text(argv: Sequence[str] = ()) -> str:
    """What the parser of `mulki_hf.train` says of its options; those of a user's own method are not kept.

    Raises:
        ConfigurationError: `argv` names a method of the user's that can't be used.
    """
    method = chosen_method(argv)
    if method is not None and ":" in method:
        from .config.parser import make_parser
        from .config.training import config_class

        return make_parser(config_class(method)).format_help()
    path = help_folder() / f"{fingerprint()}.txt"
    with suppress(OSError, UnicodeError):
        return path.read_text(encoding="utf-8")
    from .config.parser import make_parser

    text = make_parser().format_help()
    with suppress(OSError):  # nowhere to keep it
        path.parent.mkdir(parents=True, exist_ok=True)
        temporary = path.with_suffix(f".{os.getpid()}")
        temporary.write_text(text, encoding="utf-8")
        os.replace(temporary, path)
        for old in sorted(path.parent.glob("*.txt"), key=lambda file: file.stat().st_mtime)[:-KEPT]:
            old.unlink()
    return text


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
    """Of all that the help is made of: code, versions, the terminal."""
    own = sorted(Path(__file__).parent.rglob("*.py"))
    package = find_spec("transformers")  # which does not import it
    assert package is not None and package.origin is not None
    theirs = [Path(package.origin).with_name(name) for name in ("training_args.py", "hf_argparser.py")]
    files = [(str(file), file.stat().st_mtime_ns, file.stat().st_size) for file in [*own, *theirs]]
    versions = [__version__, sys.version, *(version(name) for name in ("transformers", "torch", "accelerate"))]
    colours = [os.environ.get(name) for name in ("NO_COLOR", "FORCE_COLOR", "PYTHON_COLORS", "TERM")]
    terminal = [shutil.get_terminal_size().columns, sys.stdout.isatty(), *colours]
    return hashlib.sha256(repr([files, versions, terminal]).encode()).hexdigest()[:32]
