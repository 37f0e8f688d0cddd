"""Where the time of a step goes: `python -m tests.benchmarks.parts`.

In milliseconds: loading, the student's forward over images and texts, the teachers, the losses and all else in
`compute_loss`, backward, optimizer and the running average (a sample every ten steps, spread over them). On an
accelerator the clock waits for it at the end of every part.
"""

import time
from collections import defaultdict
from pathlib import Path

import torch
from transformers import TrainerCallback

from mulki_hf import MulKITrainer
from mulki_hf.report.tables import markdown_table

from .compared import machine, make_parser, make_trainer, scratch, settings_of
from .step import ROWS, WAYS, Clock


def timed(owner, name: str, spent: dict[str, float], part: str) -> None:
    """Add the time of every call of a method to `spent[part]`."""
    method = getattr(owner, name)

    def call(*args, **kwargs):
        began = time.perf_counter()
        result = method(*args, **kwargs)
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        spent[part] += time.perf_counter() - began
        return result

    setattr(owner, name, call)


class OptimizerClock(TrainerCallback):
    """Adds the time of the optimizer's steps to `spent`."""

    def __init__(self, spent: dict[str, float]):
        self.spent = spent

    def on_pre_optimizer_step(self, args, state, control, **kwargs):
        self.began = time.perf_counter()

    def on_optimizer_step(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.spent["optimizer"] += time.perf_counter() - self.began


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--towers", choices=ROWS, default="both")
    parser.add_argument("--steps", type=int, default=20, help="timed steps (default 20)")
    parser.add_argument("--rows", nargs="*", help="only these")
    args = parser.parse_args()
    parts = ("loading", "images", "texts", "teachers", "losses", "backward", "optimizer", "average")
    table = [["ms a step", *parts, "whole step"]]
    with scratch() as folder:
        for name in args.rows or (row for row in ROWS[args.towers] if row != "plain-again"):
            settings = settings_of(args) | {"max_steps": args.steps}
            trainer, clock = make_trainer(name, args.shape, args.towers, Path(folder), **settings), Clock()
            trainer.train()
            # Once more: the teachers' tables are there, and nothing happens for the first time.
            spent = defaultdict(float)
            timed(trainer, "get_batch_samples", spent, "loading")
            timed(trainer, "compute_loss", spent, "forward")
            timed(trainer.model.vision_model, "forward", spent, "images")
            timed(trainer.model.text_model, "forward", spent, "texts")
            timed(trainer.accelerator, "backward", spent, "backward")
            if isinstance(trainer, MulKITrainer):
                timed(trainer.features, "said", spent, "teachers")
                if trainer.weight_average is not None:
                    timed(trainer.weight_average, "step", spent, "average")
            for callback in (OptimizerClock(spent), clock):
                trainer.add_callback(callback)
            trainer.train()
            spent["losses"] = spent["forward"] - spent["images"] - spent["texts"] - spent["teachers"]
            method, _, way = name.partition("-")
            cells = [f"{1000 * spent[part] / args.steps:.1f}" for part in parts]
            table.append([method + WAYS[way], *cells, f"{1000 * clock.step:.1f}"])
    print(f"{args.shape}, {args.towers}, batch {trainer.args.train_batch_size}, {machine()}")
    print(markdown_table(table))


if __name__ == "__main__":
    main()
