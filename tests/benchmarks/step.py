"""A step of MulKI and of Select-and-Distill against a step of plain fine-tuning: `python -m tests.benchmarks.step`.

All rows take turns in one process, so that a noisy machine hurts them alike. A turn is ten steps (and one before them),
so that MulKI takes a sample of its weight average in each; its time runs from the end of the first step to the end of
the last, with data loading and everything that Trainer does. The ratios are medians over the turns, each against the
plain steps of the same turn.
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
    "both": ("plain", "mulki-cached", "mulki-images", "mulki-live", "mulki-research"),
    "vision": (
        *("plain", "mulki-cached", "mulki-images", "mulki-live", "mulki-research"),
        *("snd-cached", "snd-live", "snd-research"),
    ),
}
WAYS = {
    "": "",
    "cached": ", cached",
    "images": ", cached, images too",
    "live": ", caches off",
    "research": ", as the research code",
}


class Clock(TrainerCallback):
    """Time of a step in the last `train()`, without the first."""

    def __init__(self):
        self.ends = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.ends = []

    def on_step_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.ends.append(time.perf_counter())

    @property
    def step(self) -> float:
        return (self.ends[-1] - self.ends[0]) / (len(self.ends) - 1)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--towers", choices=ROWS, default="both")
    parser.add_argument("--rounds", type=int, default=5, help="turns of every row (default 5)")
    parser.add_argument("--steps", type=int, default=10, help="timed steps of a turn (default 10)")
    parser.add_argument("--lora", action="store_true", help="LoRA of rank 16, against plain LoRA fine-tuning with peft")
    parser.add_argument("--rows", nargs="*", help="of the rows only these; plain is always there")
    args = parser.parse_args()
    rows = ("plain", "mulki-cached", "mulki-live") if args.lora else ROWS[args.towers]
    names = [name for name in rows if name == "plain" or not args.rows or name in args.rows]
    ratios, seconds = defaultdict(list), defaultdict(list)
    with scratch() as folder:
        trainers, clocks = {}, {}
        for name in names:
            settings = settings_of(args) | {"max_steps": args.steps + 1, "lora_r": 16 if args.lora else None}
            trainers[name] = make_trainer(name, args.shape, args.towers, Path(folder), **settings)
            clocks[name] = Clock()
            trainers[name].add_callback(clocks[name])
        for _ in range(args.rounds):
            for name, trainer in trainers.items():
                trainer.train()
                seconds[name].append(clocks[name].step)
                ratios[name].append(seconds[name][-1] / seconds["plain"][-1])
    towers = f"{args.towers}, LoRA" if args.lora else args.towers
    print(f"{args.shape}, {towers}, batch {trainers['plain'].args.train_batch_size}, {machine()}")
    table = [["step", "seconds", "against plain", "spread"]]
    for name in names:
        method, _, way = name.partition("-")
        spread = f"{min(ratios[name]):.3f} to {max(ratios[name]):.3f}"
        table.append([method + WAYS[way], f"{median(seconds[name]):.4f}", f"{median(ratios[name]):.3f}", spread])
    print(markdown_table(table))


if __name__ == "__main__":
    main()
