"""Look at all that a stream needs, and train nothing: `mulki-hf prepare --config my-stream`, or by a launcher."""

import argparse
import sys
from typing import TYPE_CHECKING

from .program import CommandParser, ends_in_a_line
from .runs.stopping import leaves_at_once, stops_in_a_line


# What takes seconds to import is imported when it is needed: help does without.
if TYPE_CHECKING:
    from .config import MulKIConfig, StreamConfig
    from .preparing.problems import Problems

USAGE = "%(prog)s --config RECIPE [--all] [--FIELD VALUE ...]"
DESCRIPTION = """
Look at all that a stream needs before it is trained: download data and model, check splits, columns, class names,
counts and a sample of the images, prompts and settings, and the room on the disk; name every problem at once, in a
table. Where there is none, take a few steps and evaluate a little, on as many processes as the command was started
with, and say what time, memory and disk the whole stream will take.

Nothing is trained, and nothing but the caches of data and model is written. Training finds there what was downloaded
and, after --all, which images were checked. Options are those of `mulki-hf train --help`. The exit status is 1 if
there is a problem.
"""


def make_parser() -> argparse.ArgumentParser:
    """The options that this command alone has; the others are the parser's of `mulki_hf.train`."""
    parser = CommandParser(command="prepare", example="--config quickstart", usage=USAGE, description=DESCRIPTION)
    parser.add_argument("--config", help="YAML file, or the name of a recipe that the package ships (quickstart)")
    parser.add_argument("--all", action="store_true", dest="every", help="decode every image, not 256 of each split")
    return parser


@ends_in_a_line()
def main(argv: list[str] | None = None) -> None:
    """The command: status 1 with problems; errors, Ctrl-C and SIGTERM end it as they end `mulki_hf.train`."""
    argv = sys.argv[1:] if argv is None else argv
    with stops_in_a_line("what was downloaded is kept; start again"):
        if "-h" in argv or "--help" in argv:
            print(make_parser().format_help(), end="")
            sys.exit(0)
        every = "--all" in argv
        from .config.parser import parse

        stream, config = parse([word for word in argv if word != "--all"], "prepare")
        from .runs.disk import disk_faults
        from .runs.faults import data_faults

        then = "then give the same command again"
        with disk_faults("the caches of data and model", then), data_faults(config.output_dir, then):
            problems = prepare(stream, config, every)
        if problems:
            some = "one problem" if len(problems) == 1 else f"{len(problems)} problems"
            sys.exit(f"error: {some} to mend before this stream is trained")


def prepare(stream: "StreamConfig", config: "MulKIConfig", every: bool = False) -> "Problems":
    """Look at a stream, print what was found and, where nothing is wrong, what it will take.

    Args:
        stream, config: the settings.
        every: decode every image, not a sample.

    Returns:
        [`Problems`], the same on every rank.
    """
    from .preparing.estimates import measured
    from .preparing.looking import LOOKED_AT, Look
    from .preparing.tables import estimate_text, problems_table, tasks_table

    look = Look(stream, config, every)
    say = look.accelerator.print
    if look.tasks:
        decoded = "every image" if every else f"{LOOKED_AT} images of each split (--all: every one)"
        say(f"{tasks_table(look)}\n\nDecoded: {decoded}\n")
    found = None if look.problems else measured(look)
    say(estimate_text(look, *found) if found else problems_table(look.problems))
    look.accelerator.end_training()
    return look.problems


if __name__ == "__main__":
    with leaves_at_once():
        main()
