"""A step of MulKI and of Select-and-Distill against a step of plain fine-tuning: `python -m tests.benchmarks.step`.

All rows train at once, in one process, and take turns, so that a noisy machine hurts them alike. The time of a step
runs from the end of the one before it, with data loading and everything that Trainer does. `median` and `quartiles`: of
the ratios to the plain row's turn of the same round; `sums`: of all turns. MulKI samples its weight average in every
tenth step. The second plain row is the same again: what the ratios of equal work differ by.
"""

import threading
import time
from pathlib import Path
from statistics import mean, quantiles

import torch
from transformers import Trainer, TrainerCallback

from mulki_hf.report.tables import markdown_table

from .compared import machine, make_parser, make_trainer, scratch, settings_of


ROWS = {
    "both": ("plain", "plain-again", "mulki-cached", "mulki-images", "mulki-live", "mulki-research"),
    "vision": (
        *("plain", "plain-again", "mulki-cached", "mulki-images", "mulki-live", "mulki-research"),
        *("snd-cached", "snd-images", "snd-live", "snd-research"),
    ),
}
WAYS = {
    "": "",
    "again": ", again",
    "cached": ", cached",
    "images": ", cached, images too",
    "live": ", caches off",
    "research": ", as the research code",
}


class Turns:
    """Whose turn it is among `count` threads; the others wait."""

    def __init__(self, count: int):
        self.count = count
        self.turn = 0
        self.failure: BaseException | None = None
        self.changed = threading.Condition()

    def wait(self, number: int) -> None:
        with self.changed:
            self.changed.wait_for(lambda: self.turn == number or self.failure)
        if self.failure:
            raise RuntimeError("another row has failed") from self.failure

    def pass_on(self, failure: BaseException | None = None) -> None:
        with self.changed:
            self.turn, self.failure = (self.turn + 1) % self.count, self.failure or failure
            self.changed.notify_all()


class Clock(TrainerCallback):
    """Seconds of a trainer's steps. It takes turns of `length` steps with others, after a first step of each."""

    def __init__(self, turns: Turns | None = None, number: int = 0, length: int = 1):
        self.turns = turns or Turns(1)
        self.number = number
        self.length = length
        self.seconds = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.seconds = []
        self.began = time.perf_counter()

    def on_step_end(self, args, state, control, **kwargs):
        if torch.cuda.is_available():
            torch.cuda.synchronize()
        self.seconds.append(time.perf_counter() - self.began)
        if state.global_step % self.length == 1 % self.length:
            self.turns.pass_on()
            self.turns.wait(self.number)
        self.began = time.perf_counter()

    def sums(self) -> list[float]:
        """Seconds of each turn, without the first step."""
        return [sum(self.seconds[at : at + self.length]) for at in range(1, len(self.seconds), self.length)]

    @property
    def step(self) -> float:
        """Mean, without the first."""
        return mean(self.seconds[1:])

    def train(self, trainer: Trainer) -> None:
        failure = None
        try:
            self.turns.wait(self.number)
            trainer.train()
        except BaseException as error:
            failure = error
        self.turns.pass_on(failure)


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--towers", choices=ROWS, default="both")
    parser.add_argument("--rounds", type=int, default=10, help="turns of each row (default 10)")
    parser.add_argument("--turn", type=int, default=10, help="steps of a turn (default 10; 1 is fairer to long steps)")
    parser.add_argument("--lora", action="store_true", help="LoRA of rank 16, against plain LoRA fine-tuning with peft")
    parser.add_argument("--rows", nargs="*", help="of the rows only these; plain is always there")
    args = parser.parse_args()
    rows = ("plain", "plain-again", "mulki-cached", "mulki-live") if args.lora else ROWS[args.towers]
    names = [name for name in rows if name == "plain" or not args.rows or name in args.rows]
    turns, clocks, threads = Turns(len(names)), {}, []
    with scratch() as folder:
        for number, name in enumerate(names):
            settings = settings_of(args) | {
                "max_steps": args.rounds * args.turn + 1,
                "lora_r": 16 if args.lora else None,
            }
            trainer = make_trainer(name, args.shape, args.towers, Path(folder), **settings)
            clocks[name] = Clock(turns, number, args.turn)
            trainer.add_callback(clocks[name])
            threads.append(threading.Thread(target=clocks[name].train, args=(trainer,)))
        for thread in threads:
            thread.start()
        for thread in threads:
            thread.join()
    if turns.failure:
        raise turns.failure
    towers = f"{args.towers}, LoRA" if args.lora else args.towers
    print(f"{args.shape}, {towers}, batch {trainer.args.train_batch_size}, {machine()}")
    table = [["step", "seconds", "median", "quartiles", "sums"]]
    for name in names:
        pairs = zip(clocks[name].sums(), clocks["plain"].sums(), strict=True)
        low, middle, high = quantiles((own / plain for own, plain in pairs), n=4)
        method, _, way = name.partition("-")
        seconds, sums = clocks[name].step, clocks[name].step / clocks["plain"].step
        cells = [f"{seconds:.4f}", f"{middle:.3f}", f"{low:.3f} to {high:.3f}", f"{sums:.3f}"]
        table.append([method + WAYS[way], *cells])
    print(markdown_table(table))


if __name__ == "__main__":
    main()
