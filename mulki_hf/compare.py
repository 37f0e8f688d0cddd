"""Runs side by side: `mulki-hf compare RUN...`.

A run is its folder, the folder of one of its tasks, a results.json, or a task's repository on the Hub. Runs that differ
in the seed alone are one row: mean ± standard deviation. The differences to the first run's row are taken seed by seed.
"""

import argparse
import os
import re
from pathlib import Path

from .errors import ConfigurationError
from .hub.shareable import shareable
from .program import CommandParser, ends_in_a_line
from .report.comparison.beside import beside
from .report.comparison.compared import Comparison, compare
from .report.comparison.files import check_free, write
from .report.comparison.tables import terminal_text
from .results import StreamResults
from .runs.disk import disk_faults


def make_parser() -> argparse.ArgumentParser:
    """The command's options."""
    parser = CommandParser(
        command="compare",
        example="runs/mulki-* runs/finetune-* --output_dir comparison",
        description=__doc__,
    )
    parser.add_argument("runs", nargs="+", metavar="RUN", help="a folder, results.json, or org/mulki-task5[@REVISION]")
    parser.add_argument("--protocol", help="til, cil or xtail; default: the headline's, if all runs have the same")
    parser.add_argument("--against", metavar="RUN", help="whose row is taken from the others; default: the first")
    parser.add_argument(
        "--output_dir",
        type=Path,
        help="folder for comparison.html (one page, needs no network), comparison.md, comparison.csv, curves.png and "
        "transfer_last.png; default: only print",
    )
    parser.add_argument(
        "--published",
        action="store_true",
        help="published results beside the runs: where benchmark, splits, order, protocol and training images are the "
        "same; else why there are none",
    )
    parser.add_argument("--unconfirmed", action="store_true", help="of those also figures that nobody read, marked")
    parser.add_argument("--overwrite", action="store_true", help="of those files also what no comparison has written")
    parser.add_argument("--hub_token", help="default: the one of `hf auth login` or HF_TOKEN")
    return parser


@ends_in_a_line()
def main(argv: list[str] | None = None) -> None:
    """The command: status 0, or 1 with one line on stderr and nothing written."""
    args = make_parser().parse_args(argv)
    if args.unconfirmed and not args.published:
        raise ConfigurationError("--unconfirmed is of published results, which --published asks for")
    with disk_faults(args.output_dir or ".", then="then give the same command again"):
        if args.output_dir is not None:
            check_free(args.output_dir, args.overwrite)
        comparison = compared(args)
        print(terminal_text(comparison))
        if args.output_dir is not None:
            print(f"\nOpen {write(comparison, args.output_dir)} in a browser")


def compared(args: argparse.Namespace) -> Comparison:
    """The runs that `args` name, side by side."""
    from .runs.sources import find_run  # here, because it takes seconds that --help need not wait for

    names = called([*args.runs, *filter(None, [args.against])])
    given = {}
    for source in args.runs:
        if names[source] not in given:
            given[names[source]] = find_run(source, args.hub_token, "RUN").results
    for results in given.values():
        if not results.about.towers:
            described(results)
    comparison = compare(given, args.protocol, names.get(args.against))
    if args.published:
        comparison.beside = beside(comparison, args.unconfirmed)
    return comparison


def called(sources: list[str]) -> dict[str, str]:
    """What each is called in tables, without this machine's folders; what is given twice has one name."""
    names: dict[str, str] = {}
    found = {}
    for source in sources:
        place = os.path.normpath(source)
        if os.path.basename(place) == StreamResults.FILE:
            place = os.path.dirname(place) or "."
        key = os.path.realpath(place) if os.path.exists(place) else place
        if key not in names:
            name = shareable(os.path.abspath(place) if place == "." else place)
            same = sum(re.fullmatch(rf"{re.escape(name)}( \(\d+\))?", other) is not None for other in names.values())
            names[key] = f"{name} ({same + 1})" if same else name
        found[source] = names[key]
    return found


def described(results: StreamResults) -> None:
    """Results of an older version with what tells their settings; this alone imports torch."""
    from .runs.records import describe_method

    describe_method(results)


if __name__ == "__main__":
    main()
