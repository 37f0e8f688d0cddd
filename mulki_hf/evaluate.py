"""Evaluate any CLIP on any stream's tasks, without training: `mulki-hf evaluate MODEL`, or by a launcher."""

import argparse
import sys
from typing import TYPE_CHECKING

from .errors import ConfigurationError
from .program import PICKLED_WEIGHTS, CommandParser, ends_in_a_line
from .runs.stopping import leaves_at_once, stops_in_a_line


# What takes seconds to import is imported when it is needed: help does without.
if TYPE_CHECKING:
    from .results import StreamResults

USAGE = "%(prog)s MODEL [--config STREAM] [--protocols til,cil,xtail] [--output_dir OUT] [...]"
DESCRIPTION = """
Evaluate any CLIP on any stream's tasks, without training, by several protocols in one pass. MODEL is
  - a run's folder: all of its checkpoints, and the model that it started from. On its own tasks and without
    --output_dir it gets the protocols that it was not evaluated with;
  - a finished task's folder or repository, a CLIP (folder, Hub id `org/name[@REVISION]`, clip-nano), or a PEFT adapter
    (folder or Hub id), on its base.
The tasks are those of the run that the model belongs to, or those of --config. All other options about tasks,
protocols, precision and batches are those of `mulki-hf train --help` (--per_device_eval_batch_size, --bf16, --use_cpu,
--evaluate_on, ...); what a stream's YAML says of training is passed over.
"""


def make_parser() -> argparse.ArgumentParser:
    """The options that an evaluation alone has; those of a stream are the parser's of `mulki_hf.train`."""
    parser = CommandParser(
        command="evaluate",
        example="my-stream --protocols til,cil,xtail",
        usage=USAGE,
        description=DESCRIPTION,
    )
    parser.add_argument("model", metavar="MODEL", help="what is evaluated; the first word")
    parser.add_argument(
        "--base", help="the CLIP that an adapter belongs to, or that a run started from, where it is now"
    )
    parser.add_argument("--pickled_weights", **PICKLED_WEIGHTS)
    parser.add_argument("--output_dir", help="a new folder for results.json and pictures (default: evaluated-MODEL)")
    parser.add_argument("--overwrite", action="store_true", help="replace an earlier evaluation in output_dir")
    parser.add_argument(
        "--per_class", nargs="+", default=[], metavar="TASK", help="print and write the accuracy of each class"
    )
    parser.add_argument(
        "--confusion", nargs="+", default=[], metavar="TASK", help="draw and write which class was taken for which"
    )
    which = "of a run: whose answers those are: last (default), zero-shot, a task's number or name"
    parser.add_argument("--checkpoint", help=which)
    parser.add_argument("--data_root", help="folder with what relative paths name, where a run on the Hub has some")
    parser.add_argument("--hub_token", help="default: the one of `hf auth login` or HF_TOKEN")
    return parser


@ends_in_a_line()
def main(argv: list[str] | None = None) -> None:
    """The command; errors, Ctrl-C and SIGTERM end it as they end `mulki_hf.train`."""
    argv = sys.argv[1:] if argv is None else argv
    with stops_in_a_line("nothing was written; start again"):
        if "-h" in argv or "--help" in argv:
            print(make_parser().format_help(), end="")
            sys.exit(0)
        if not argv or argv[0].startswith("-"):
            raise ConfigurationError("MODEL, what is evaluated, comes first: mulki-hf evaluate MODEL [...]")
        args, options = make_parser().parse_known_args(argv)
        from .runs.disk import disk_faults
        from .runs.faults import data_faults

        then = "then give the same command again"
        with disk_faults(args.output_dir or args.model, then), data_faults(args.model, then):
            evaluate(args, options, argv)


def evaluate(args: argparse.Namespace, options: list[str], argv: list[str] | None = None) -> "StreamResults":
    """Evaluate what `args` name on the stream that the other `options` do.

    Args:
        args: of [`make_parser`].
        options: of a stream.
        argv (*optional*): the command's words, for the results.

    Returns:
        [`StreamResults`], as in `results.json`.

    Raises:
        ConfigurationError: something the user gave can't be used; nothing was written.
    """
    from .measuring import Evaluation
    from .runs.lifeline import lifeline

    evaluation = Evaluation.open(args, options, argv)
    with lifeline() as line, evaluation.begin(), line.telling():
        evaluation.measure()
        evaluation.close()
    evaluation.accelerator.end_training()
    return evaluation.results


if __name__ == "__main__":
    with leaves_at_once():
        main()
