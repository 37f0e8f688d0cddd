"""How commands are called, and how their help begins."""

import argparse
import os
import sys
from pathlib import Path
from typing import Any

from .resources import PACKAGE


def program(command: str) -> str:
    """The command as this process was called: `mulki-hf push`, or by its module, with or without a launcher."""
    called = Path(sys.argv[0])
    if called == PACKAGE / f"{command}.py":
        return f"{'accelerate launch' if launched() else 'python'} -m mulki_hf.{command}"
    return f"python -m mulki_hf {command}" if called == PACKAGE / "__main__.py" else f"mulki-hf {command}"


def launched() -> bool:
    """Whether `accelerate launch` started this process: it sets such variables for it."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults are said, and the lines of a description stay."""


class ExampleFirst:
    """Of a parser: its help opens with one example.

    Args:
        command: its name, see [`program`].
        example: what follows the name there; in front of its usage.
    """

    prog: str

    def __init__(self, *args: Any, command: str, example: str, **kwargs: Any):
        self.example = example
        super().__init__(*args, **{"prog": program(command), "formatter_class": HelpFormatter} | kwargs)

    def format_help(self) -> str:
        return f"{self.prog} {self.example}\n\n{super().format_help()}"  # type: ignore[misc]


class CommandParser(ExampleFirst, argparse.ArgumentParser):
    """The options of a command."""
