"""Train a CLIP on a stream of tasks: `mulki-hf train --config quickstart`, on several processes by a launcher."""

import signal
import sys
from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from .help import help_text
from .program import ends_in_a_line
from .runs.stopping import leaves_at_once, stops_in_a_line


# What takes seconds to import is imported when it is needed: help does without, and a refusal without half of it.
if TYPE_CHECKING:
    from .config import MulKIConfig, StreamConfig
    from .results import StreamResults


@ends_in_a_line()
def main(argv: list[str] | None = None) -> None:
    """The command: what a person can mend, and pushes left pending, end with one line on stderr and status 1.

    So does Ctrl-C, with status 130, SIGTERM, with 143, and with `--stop_on_usr1` SIGUSR1, with 138: the line says what
    is safe and how to go on. Between optimizer steps a checkpoint comes first.
    """
    argv = sys.argv[1:] if argv is None else argv
    with stops_in_a_line("nothing was written yet; start again") as stops:
        if "-h" in argv or "--help" in argv:
            print(help_text(argv), end="")
            sys.exit(0)
        from .config.parser import parse

        stream, config = parse(argv)
        if stream.stop_on_usr1:
            stops.on(signal.SIGUSR1)
        from .runs.disk import disk_faults
        from .runs.faults import data_faults

        with disk_faults(config.output_dir), data_faults(config.output_dir):
            run(stream, config, argv)


def run(
    stream: "StreamConfig", config: "MulKIConfig", argv: list[str] | None = None, callbacks: Sequence[Any] = ()
) -> "StreamResults":
    """Learn the stream's tasks one after another, evaluating on all of them after each.

    Args:
        stream ([`StreamConfig`]): model, tasks and evaluation.
        config ([`MulKIConfig`]): how each task is trained; `output_dir` receives results, pictures and checkpoints.
        argv (*optional*): options of the command, for the model cards.
        callbacks: for the trainer of every task: a `TrainerCallback` is the same object in all of them, but one with a
            state (`EarlyStoppingCallback`), which begins anew; a class or a function is called for each.

    Returns:
        [`StreamResults`], as in `output_dir/results.json`.

    Raises:
        ConfigurationError: before any training, if something the user gave can't be used.
        TrainingError: a loss or a weight is not finite; finished tasks stay.
        RankError: another rank failed.
        PushError: after all of it, on the main process, if checkpoints did not reach the Hub.
    """
    from .publish import Publisher
    from .runs.lifeline import lifeline
    from .stream import Stream

    with lifeline() as line:  # between the ranks: where one fails, all end, and say why
        life = Stream.open(stream, config, argv, callbacks)  # everything is checked, nothing is written
        publisher = Publisher.open(life)  # asks the Hub; idle without push_to_hub, and on other ranks
        with life.begin():
            with publisher, line.telling():  # on the way out it waits, and says what arrived and what is pending
                publisher.send_earlier()
                life.measure()
                for position in life.remaining():
                    publisher.send(life.learn(position))
                    life.tidy()
                life.close()
            life.tidy()
    life.accelerator.end_training()
    publisher.raise_for_pending()
    return life.results


if __name__ == "__main__":
    with leaves_at_once():
        main()
