"""Send a run's checkpoints to the Hub: `python -m mulki_hf.push OUT`.

Without more it sends the pushes that are pending. With `--hub_model_id` it also publishes the finished tasks that were
never pushed, of a run without `--push_to_hub`.
"""

import argparse
import sys
from pathlib import Path

from .errors import ConfigurationError
from .hub import Outbox, Push, PushError
from .results import StreamResults


def make_parser() -> argparse.ArgumentParser:
    """The options are named and behave as those of `mulki_hf.train`."""
    parser = argparse.ArgumentParser(
        prog="python -m mulki_hf.push", description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter
    )
    parser.add_argument("output_dir", type=Path, help="the run's output_dir")
    parser.add_argument("--hub_model_id", help="org/mulki makes org/mulki-task1, org/mulki-task2, ...")
    parser.add_argument("--hub_token", help="default: the one of `hf auth login` or HF_TOKEN")
    parser.add_argument("--hub_retries", type=int, default=6, help="tries after the first (default 6)")
    parser.add_argument("--hub_timeout", type=float, default=60.0, help="seconds without an answer (default 60)")
    new = parser.add_argument_group("with --hub_model_id")
    new.add_argument(
        "--hub_private_repo", type=string_to_bool, nargs="?", const=True, help="new repositories are private"
    )
    new.add_argument("--hub_revision", help="branch to push to")
    new.add_argument("--hub_collection", help="title of a collection that gathers the repositories")
    new.add_argument("--license", help="licence of the models, for their cards")
    return parser


def string_to_bool(value: str) -> bool:
    """As the options of `mulki_hf.train` take it."""
    words = {"true": True, "yes": True, "1": True, "false": False, "no": False, "0": False}
    if value.lower() not in words:
        raise argparse.ArgumentTypeError(f"true or false, got {value!r}")
    return words[value.lower()]


def main(argv: list[str] | None = None) -> None:
    """The command: status 0 when nothing is pending any more, else 1 with one line on stderr."""
    args = make_parser().parse_args(argv)
    try:
        push(args)
    except (ConfigurationError, PushError) as error:
        sys.exit(f"error: {error}")


def push(args: argparse.Namespace) -> None:
    """Send what `args` ask for, one push after another."""
    if not args.output_dir.is_dir():
        raise ConfigurationError(f"{str(args.output_dir)!r} is no folder")
    if args.hub_retries < 0 or not args.hub_timeout > 0:
        raise ConfigurationError("hub_retries must be >= 0 and hub_timeout > 0")
    outbox = Outbox(args.output_dir, args.hub_token, args.hub_retries, args.hub_timeout)
    waiting = outbox.pending
    if args.hub_model_id is not None:
        waiting += publish(args, outbox)
    elif args.hub_revision or args.hub_collection or args.license or args.hub_private_repo is not None:
        raise ConfigurationError("these options are for new repositories: give --hub_model_id too")
    elif not outbox.pushes:
        raise ConfigurationError(
            f"{str(args.output_dir)!r} records no push; give --hub_model_id to publish its finished tasks"
        )
    for push in waiting:
        outbox.send(push)
    print(outbox.report())
    outbox.raise_for_pending()


def publish(args: argparse.Namespace, outbox: Outbox) -> list[Push]:
    """Pushes of the finished tasks that have none yet, their cards written for where they go."""
    folders = unpublished(args.output_dir, {push.folder for push in outbox.pushes})
    if not folders:
        raise ConfigurationError(
            f"every finished task of {str(args.output_dir)!r} has its push recorded already:\n{outbox.report()}"
        )
    # Here, because it imports torch: pending pushes need no more than the Hub's client.
    from .model_card import draft_card, save_card

    adapters = [path.parent for folder in folders for path in folder.glob("*/adapter_config.json")]
    names = [path.relative_to(args.output_dir).as_posix() for path in (*folders, *adapters)]
    results = {folder: StreamResults.load(folder) for folder in folders}
    for each in results.values():
        each.base.license = args.license or each.base.license
    options = (args.hub_private_repo, args.hub_revision, args.hub_collection)
    outbox.prepare(args.hub_model_id, names, *options, card=draft_card(results[folders[-1]]))
    for folder in folders:
        results[folder].save(folder)
        save_card(results[folder], folder, outbox.planned[folder.name].repo_id)
    return list(outbox.planned.values())


def unpublished(output_dir: Path, recorded: set[str]) -> list[Path]:
    """Checkpoint folders of finished tasks without a recorded push, in the order of the stream."""
    folders = [path.parent for path in output_dir.glob(f"task*-*/{StreamResults.FILE}")]
    if not folders and not recorded:
        raise ConfigurationError(f"{str(output_dir)!r} holds no finished task")
    order = {folder: StreamResults.load(folder).finished for folder in folders if folder.name not in recorded}
    return sorted(order, key=order.get)


if __name__ == "__main__":
    main()
