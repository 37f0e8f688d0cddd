"""Train a CLIP on a stream of tasks: `accelerate launch -m mulki_hf.train --config quickstart`."""

import sys

from .config import MulKIConfig, StreamConfig
from .config.parser import parse
from .errors import ConfigurationError, PushError
from .publish import Publisher
from .results import StreamResults
from .stream import Stream


def main(argv: list[str] | None = None) -> None:
    """The command: what a person can mend, and pushes left pending, end with one line on stderr and status 1."""
    argv = sys.argv[1:] if argv is None else argv
    try:
        run(*parse(argv), argv)
    except (ConfigurationError, PushError) as error:
        sys.exit(f"error: {error}")


def run(stream: StreamConfig, config: MulKIConfig, argv: list[str] | None = None) -> StreamResults:
    """Learn the stream's tasks one after another, evaluating on all of them after each.

    Args:
        stream ([`StreamConfig`]): model, tasks and evaluation.
        config ([`MulKIConfig`]): how each task is trained; `output_dir` receives results, pictures and checkpoints.
        argv (*optional*): options of the command, for the model cards.

    Returns:
        [`StreamResults`], as in `output_dir/results.json`.

    Raises:
        ConfigurationError: before any training, if something the user gave can't be used.
        PushError: after all of it, on the main process, if checkpoints did not reach the Hub.
    """
    life = Stream.open(stream, config, argv)  # everything is checked, nothing is written
    publisher = Publisher.open(life)  # asks the Hub; idle without push_to_hub, and on other ranks
    life.begin()
    with publisher:  # on the way out: waits, says what arrived and what is pending
        publisher.send_earlier()
        life.measure()
        for position in life.remaining():
            publisher.send(life.learn(position))
        life.close()
    life.accelerator.end_training()
    publisher.raise_for_pending()
    return life.results


if __name__ == "__main__":
    main()
