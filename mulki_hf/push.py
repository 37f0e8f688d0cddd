"""Send a run's checkpoints to the Hub: `mulki-hf push OUT`.

Without more it sends the pushes that are pending. With `--hub_model_id` it also publishes the finished tasks that were
never pushed, of a run without `--push_to_hub`.
"""

import argparse
from pathlib import Path

from .errors import ConfigurationError
from .hub.outbox import Outbox
from .program import SWITCH, CommandParser, ends_in_a_line
from .publish import publish, unpublished
from .runs.disk import disk_faults


def make_parser() -> argparse.ArgumentParser:
    """The options are named and behave as those of `mulki_hf.train`."""
    parser = CommandParser(
        command="push",
        example="my-stream --hub_model_id org/mulki",
        description=__doc__,
    )
    parser.add_argument("output_dir", type=Path, help="the run's output_dir")
    parser.add_argument("--hub_model_id", help="org/mulki makes org/mulki-task1, org/mulki-task2, ...")
    parser.add_argument("--hub_token", help="default: the one of `hf auth login` or HF_TOKEN")
    parser.add_argument("--hub_retries", type=int, default=6, help="tries after the first (default 6)")
    parser.add_argument("--hub_timeout", type=float, default=60.0, help="seconds without an answer (default 60)")
    new = parser.add_argument_group("with --hub_model_id")
    new.add_argument("--hub_private_repo", **SWITCH, help="new repositories are private")
    new.add_argument("--hub_revision", help="branch to push to")
    new.add_argument("--hub_collection", help="title of a collection that gathers the repositories")
    new.add_argument("--license", help="licence of the models, for their cards")
    return parser


@ends_in_a_line()
def main(argv: list[str] | None = None) -> None:
    """The command: status 0 when nothing is pending any more, else 1 with one line on stderr."""
    args = make_parser().parse_args(argv)
    with disk_faults(args.output_dir, then="then give the same command again"):
        push(args)


def push(args: argparse.Namespace) -> None:
    """Send what `args` ask for, one push after another."""
    if not args.output_dir.is_dir():
        raise ConfigurationError(f"{str(args.output_dir)!r} is no folder")
    if args.hub_retries < 0 or not args.hub_timeout > 0:
        raise ConfigurationError("hub_retries must be >= 0 and hub_timeout > 0")
    outbox = Outbox(args.output_dir, args.hub_token, args.hub_retries, args.hub_timeout)
    waiting = outbox.pending
    if args.hub_model_id is not None:
        options = (args.hub_private_repo, args.hub_revision, args.hub_collection, args.license)
        waiting += publish(outbox, args.hub_model_id, *options)
    elif args.hub_revision or args.hub_collection or args.license or args.hub_private_repo is not None:
        raise ConfigurationError("these options are for new repositories: give --hub_model_id too")
    elif not outbox.pushes:
        raise ConfigurationError(
            f"{str(args.output_dir)!r} records no push; give --hub_model_id to publish its finished tasks"
        )
    for push in waiting:
        outbox.send(push)
    print(outbox.report())
    left = unpublished(args.output_dir, {push.folder for push in outbox.pushes})
    if left:
        names = ", ".join(folder.name for folder in left)
        print(f"finished, without a recorded push: {names}; give --hub_model_id to publish")
    outbox.raise_for_pending()


if __name__ == "__main__":
    main()
