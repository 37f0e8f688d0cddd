"""A page that shows a stream's models at work: `mulki-hf demo RUN`.

RUN is a run's folder or a task's repository on the Hub. The page, on this machine alone, takes a picture and class
names and shows the answers of all models side by side, zero-shot first, with the run's curves. Needs
`pip install "mulki-hf[demo]"`. With `--push_to_space org/name` the page becomes a Space that loads the stream's models
from the Hub, where they have to be.
"""

import argparse
import signal
import time
from collections.abc import Sequence
from pathlib import Path
from typing import Any

from .errors import ConfigurationError
from .program import PICKLED_WEIGHTS, SWITCH, CommandParser, ends_in_a_line


def make_parser() -> argparse.ArgumentParser:
    """Options of the Hub are named and behave as those of `mulki_hf.train`."""
    parser = CommandParser(
        command="demo",
        example="my-stream",
        description=__doc__,
    )
    parser.add_argument("run", metavar="RUN", help="a run's folder, or a task's repository on the Hub")
    parser.add_argument("--port", type=int, help="default: the first free one from 7860")
    parser.add_argument("--examples", type=int, default=2, help="pictures of each task to click on (default 2)")
    parser.add_argument("--use_cpu", **SWITCH, default=False, help="also where there is a GPU")
    parser.add_argument("--pickled_weights", **PICKLED_WEIGHTS)
    space = parser.add_argument_group("as a Space")
    space.add_argument("--push_to_space", metavar="ORG/NAME", help="send the page there in place of showing it here")
    space.add_argument("--hub_private_repo", **SWITCH, help="a new Space is private")
    space.add_argument("--hub_token", help="default: the one of `hf auth login` or HF_TOKEN")
    space.add_argument("--hub_retries", type=int, default=6, help="tries after the first (default 6)")
    space.add_argument("--hub_timeout", type=float, default=60.0, help="seconds without an answer (default 60)")
    return parser


@ends_in_a_line(OSError)
def main(argv: list[str] | None = None) -> None:
    """The command: status 0, else 1 with one line on stderr."""
    run(make_parser().parse_args(argv))


def run(args: argparse.Namespace) -> None:
    """Show the page until Ctrl-C, or send it to a Space."""
    if args.examples < 0 or args.hub_retries < 0 or not args.hub_timeout > 0:
        raise ConfigurationError("examples and hub_retries must be >= 0, hub_timeout > 0")
    if args.port is not None and not 0 < args.port < 65536:
        raise ConfigurationError(f"port must be between 1 and 65535, got {args.port}")
    # Here: the help page answers without torch.
    from .page.examples import find_examples
    from .page.page import gradio
    from .prediction.stages import find_models

    gradio()
    models = find_models(args.run, args.hub_token, pickled=args.pickled_weights)
    if models.results is None:
        raise ConfigurationError(f"{args.run!r} is one model, not a stream's run; ask it with mulki-hf predict")
    from_hub = args.run if models.run is not None and models.run.repository is not None else None
    examples, notes = find_examples(models.results, args.examples, from_hub)
    if args.push_to_space is not None:
        from .hub.space import push_space
        from .page.space import OURS, space_files

        files, kept = space_files(args.push_to_space, models, examples, args.pickled_weights)
        options = (args.hub_token, args.hub_private_repo, args.hub_retries, args.hub_timeout)
        address = push_space(args.push_to_space, files, OURS, *options)
        print("\n".join([*notes, *kept, address]))
        return
    title = Path(args.run).name
    with open_page(title, models, examples, notes, args.use_cpu) as page:
        try:
            address = page.launch(server_name="127.0.0.1", server_port=args.port)
        except OSError as error:
            raise ConfigurationError(
                f"port {args.port or 'from 7860'} can't be had: it is taken; give another"
            ) from error
        print("\n".join([*notes, f"{title}: {address} (Ctrl-C ends it)"]), flush=True)
        wait(page)


def serve(title: str, models: dict[str, str], examples: str, pickled_weights: bool = False) -> None:
    """The page of a Space, until it is stopped; its `app.py` calls this.

    Args:
        models: by name where they are, `org/name@COMMIT`, the stream's last model last.
        examples: the folder of example pictures.
        pickled_weights: the model that the stream started from may have such; see [`ModelArguments`].

    Raises:
        ConfigurationError: Gradio is not installed, or a model is not there.
    """
    from .page.examples import read_examples
    from .prediction.stages import models_at

    with open_page(title, models_at(models, pickled_weights), read_examples(Path(examples)), (), False) as page:
        # Where it listens the Space says in its environment.
        print(page.launch(), flush=True)
        wait(page)


def open_page(title: str, models: Any, examples: Sequence[Any], notes: Sequence[str], use_cpu: bool) -> Any:
    """The [`Page`] of models that were found."""
    from accelerate import Accelerator

    from .page.page import Page

    return Page(models, examples, notes, Accelerator(cpu=use_cpu), title)


def wait(page: Any) -> None:
    """Keep `page` there until somebody interrupts or ends the process."""
    signal.signal(signal.SIGTERM, signal.default_int_handler)
    try:
        while True:
            time.sleep(3600)
    except KeyboardInterrupt:
        print("closed")


if __name__ == "__main__":
    main()
