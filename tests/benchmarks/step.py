"""A step of MulKI and of Select-and-Distill against a step of plain fine-tuning: `python -m tests.benchmarks.step`.

All rows take turns in one process, so that a noisy machine hurts them alike; the ratios are medians over the turns,
each against the plain steps of the same turn. A step is the time from the end of one to the end of the next, with data
loading and everything that Trainer does.
"""

import time
from collections import defaultdict
from pathlib import Path
from statistics import median

import torch
from transformers import TrainerCallback

from mulki_hf.results import markdown_table

from .compared import machine, make_parser, make_trainer, scratch, settings_of


ROWS = {
    "both": ("plain", "mulki-cached", "mulki-live", "mulki-research"),
    "vision": ("plain", "mulki-cached", "mulki-live", "mulki-research", "snd-cached", "snd-live", "snd-research"),
}
WAYS = {"": "", "cached": ", cached", "live": ", caches off", "research": ", as the research code"}


class Clock(TrainerCallback):
    """Times of the steps of the last `train()`, without the first."""

    def __init__(self):
        self.ends = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.ends = []

    def on_step_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    def steps(self) -> list[float]:
        return [later - earlier for earlier, later in zip(self.ends, self.ends[1:], strict=False)]


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--towers", choices=ROWS, default="both")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every row (default 5)")
    parser.add_argument("--steps", type=int, default=6, help="timed steps of a turn (default 6)")
    parser.add_argument("--rows", nargs="*", help="of the rows only these; plain is always there")
    args = parser.parse_args()
    names = [name for name in ROWS[args.towers] if name == "plain" or not args.rows or name in args.rows]
    ratios, seconds = defaultdict(list), defaultdict(list)
    with scratch() as folder:
        trainers, clocks = {}, {}
        for name in names:
            settings = settings_of(args) | {"max_steps": args.steps + 1}
            trainers[name] = make_trainer(name, args.shape, args.towers, Path(folder), **settings)
            clocks[name] = Clock()
            trainers[name].add_callback(clocks[name])
        for _ in range(args.rounds):
            for name, trainer in trainers.items():
                trainer.train()
                seconds[name].append(median(clocks[name].steps()))
                ratios[name].append(seconds[name][-1] / seconds["plain"][-1])
    print(f"{args.shape}, {args.towers}, batch {trainers['plain'].args.train_batch_size}, {machine()}")
    table = [["step", "seconds", "against plain", "spread"]]
    for name in names:
        method, _, way = name.partition("-")
        spread = f"{min(ratios[name]):.3f} to {max(ratios[name]):.3f}"
        table.append([method + WAYS[way], f"{median(seconds[name]):.4f}", f"{median(ratios[name]):.3f}", spread])
    print(markdown_table(table))


if __name__ == "__main__":
    main()
