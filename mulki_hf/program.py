"""How commands are called, how their help begins, and how they end."""

import argparse
import os
import signal
import sys
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from typing import Any, NoReturn

from .errors import ConfigurationError, PushError, TrainingError, printable
from .resources import PACKAGE
from .tokens import hide_tokens, without_tokens


def program(command: str) -> str:
    """The command as this process was called: `mulki-hf push`, or by its module, with or without a launcher."""
    called = Path(sys.argv[0])
    if called == PACKAGE / f"{command}.py":
        return f"{'accelerate launch' if launched() else 'python'} -m mulki_hf.{command}"
    return f"python -m mulki_hf {command}" if called == PACKAGE / "__main__.py" else f"mulki-hf {command}"


def launched() -> bool:
    """Whether `accelerate launch` started this process: it sets such variables for it."""
    return "ACCELERATE_MIXED_PRECISION" in os.environ


@contextmanager
def ends_in_a_line(*others: type[Exception]) -> Iterator[None]:
    """Around a command, or as its decorator: errors of ours end it with status 1, Ctrl-C with 130, and with one line.

    Args:
        others: errors that are said so, too.
    """
    told: tuple[type[Exception], ...] = (ConfigurationError, PushError, TrainingError, *others)
    hide_tokens()
    try:
        yield
    except told as error:
        sys.exit(f"error: {printable(without_tokens(str(error)))}")
    except KeyboardInterrupt:
        print("stopped", file=sys.stderr)
        sys.exit(128 + signal.SIGINT)  # as shells have it


class HelpFormatter(argparse.ArgumentDefaultsHelpFormatter, argparse.RawDescriptionHelpFormatter):
    """Defaults are said, and the lines of a description stay."""


class ExampleFirst:
    """Of a parser: its help opens with one example; what it can't take is an error in a line, as everywhere.

    Args:
        command: its name, see [`program`].
        example: what follows the name there; in front of its usage.
    """

    prog: str

    def __init__(self, *args: Any, command: str, example: str, **kwargs: Any):
        self.example = example
        super().__init__(
            *args, **{"prog": program(command), "formatter_class": HelpFormatter, "allow_abbrev": False} | kwargs
        )

    def format_help(self) -> str:
        return f"{self.prog} {self.example}\n\n{super().format_help()}"  # type: ignore[misc]

    def error(self, message: str) -> NoReturn:
        raise ConfigurationError(f"{' '.join(message.split())}; see --help")


class TwoSpellings(argparse._ActionsContainer):
    """Of a parser and its groups: `--all_tasks` is also `--all-tasks`, as in `mulki_hf.train`."""

    def add_argument(self, *names: str, **kwargs: Any) -> argparse.Action:
        hyphens = [name.replace("_", "-") for name in names if name.startswith("--") and "_" in name]
        return super().add_argument(*names, *hyphens, **kwargs)

    def add_argument_group(self, *args: Any, **kwargs: Any) -> argparse._ArgumentGroup:
        self._action_groups.append(group := Group(self, *args, **kwargs))
        return group

    def add_mutually_exclusive_group(self, **kwargs: Any) -> argparse._MutuallyExclusiveGroup:
        self._mutually_exclusive_groups.append(group := ExclusiveGroup(self, **kwargs))
        return group


class Group(TwoSpellings, argparse._ArgumentGroup):
    """A titled group of options."""


class ExclusiveGroup(TwoSpellings, argparse._MutuallyExclusiveGroup):
    """Options of which one alone can be given."""


class CommandParser(ExampleFirst, TwoSpellings, argparse.ArgumentParser):
    """The options of a command, whose help says those defaults that are worth a word."""

    def __init__(self, *args: Any, **kwargs: Any):
        super().__init__(*args, **{"formatter_class": argparse.RawDescriptionHelpFormatter} | kwargs)


def string_to_bool(value: str) -> bool:
    """As the options of `mulki_hf.train` take it."""
    words = dict.fromkeys(("true", "yes", "t", "y", "1"), True) | dict.fromkeys(("false", "no", "f", "n", "0"), False)
    if value.lower() not in words:
        raise argparse.ArgumentTypeError(f"its value is true, false or left out, got {value!r}")
    return words[value.lower()]


SWITCH: dict[str, Any] = {"type": string_to_bool, "nargs": "?", "const": True}
"""Of an option that is on without a value."""

PICKLED_WEIGHTS: dict[str, Any] = SWITCH | {
    "default": False,
    "help": "Also load a model that has no safetensors but pytorch_model.bin, as OpenAI's ViT-B/16: a pickle, of which "
    "only tensors are read.",
}
"""Of the option of that name."""
