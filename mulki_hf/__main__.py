"""`mulki-hf COMMAND`: every command of the package, each imported when it is called."""

import sys
from contextlib import nullcontext
from difflib import get_close_matches
from importlib import import_module

from .program import ends_in_a_line
from .resources import __version__
from .runs.stopping import leaves_at_once


COMMANDS = {
    "train": ("train", "train a CLIP on a stream of tasks; go on, or add tasks, with --resume"),
    "prepare": ("prepare", "download and check all that a stream needs, say what it will take; trains nothing"),
    "evaluate": ("evaluate", "measure any CLIP, or a run's checkpoints, on a stream's tasks, by any protocol"),
    "compare": ("compare", "put runs side by side: tables, pictures, a page for the browser"),
    "predict": ("predict", "name what is on your pictures, by any checkpoint of a run"),
    "demo": ("demo", "a page on this machine that shows what a run's models answer"),
    "push": ("push", "send a run's checkpoints to the Hub"),
    "recipes": ("list_recipes", "the streams that ship with the package, to run or to change"),
}
"""By name: the module, and what it does in a line."""


def overview() -> str:
    """What `mulki-hf --help` says."""
    lines = "\n".join(f"  {name:<10}{line}" for name, (_, line) in COMMANDS.items())
    return f"""mulki-hf train --config quickstart

usage: mulki-hf COMMAND [OPTIONS]

Continual learning of CLIP, native to Hugging Face.

{lines}

`mulki-hf COMMAND --help` explains its options; `mulki-hf --version` says which version this is. On several GPUs or
processes: `accelerate launch --multi_gpu --num_processes 2 -m mulki_hf.train --config quickstart`.
"""


def main(argv: list[str] | None = None) -> None:
    """Call the command that `argv` (by default the process's own) names first; its exit status is the process's."""
    with leaves_at_once() if argv is None else nullcontext(), ends_in_a_line():
        call(*(sys.argv[1:] if argv is None else argv))


def call(name: str = "--help", *rest: str) -> None:
    """A command by its name, with the options after it."""
    if name in ("-h", "--help", "help"):
        print(overview(), end="")
    elif name in ("-V", "--version"):
        print(f"mulki-hf {__version__}")
    elif name in COMMANDS:
        module, _ = COMMANDS[name]
        import_module(f".{module}", __package__).main([*rest])
    else:
        near = get_close_matches(name, COMMANDS, n=1)
        meant = f"did you mean {near[0]!r}? " if near else ""
        sys.exit(f"error: there is no command {name!r}; {meant}`mulki-hf --help` lists them: {', '.join(COMMANDS)}")


if __name__ == "__main__":
    main()
