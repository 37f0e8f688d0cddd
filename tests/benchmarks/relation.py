"""What MulKI's relation loss costs with many classes: `python -m tests.benchmarks.relation --classes 5000`.

Against the formula as it is written: `C x C` logits of teacher and student for each teacher and kind of prototypes.
Each row in a process of its own: peak memory beyond what the process has before the first step, on an accelerator its
peak allocation, and the time of a later step, both passes.
"""

import argparse
import resource
import statistics
import subprocess
import sys
import time

import torch
import torch.nn.functional as F
from torch import Tensor

from mulki_hf.objectives import FeatureBatch, Prototypes, TeacherFeatures
from mulki_hf.objectives.base import class_logits, distillation
from mulki_hf.objectives.mulki import relation_losses
from mulki_hf.report.tables import markdown_table

from .compared import machine


def written_out(batch: FeatureBatch, teachers: list[TeacherFeatures], temperature: float) -> list[Tensor]:
    """The same numbers as [`relation_losses`]."""

    def related(taught: Tensor, learnt: Tensor, prototypes: Prototypes) -> Tensor:
        return sum(
            distillation(*(class_logits(side, anchors, batch.logit_scale) for side in (taught, learnt)), temperature)
            for anchors in (prototypes.visual, prototypes.textual)
        )

    def loss(teacher: TeacherFeatures, prototypes: Prototypes) -> Tensor:
        texts = related(prototypes.textual, batch.text, prototypes)
        return related(teacher.image, batch.image, prototypes) + texts.mean()

    return [loss(teacher, teacher.prototypes) for teacher in teachers]


ROWS = {"written out": written_out, "here": relation_losses}


def make_batch(classes: int, width: int, device: str) -> FeatureBatch:
    """Of 64 images in a later task, whose teachers are two."""
    generator = torch.Generator().manual_seed(0)

    def unit(rows: int) -> Tensor:
        return F.normalize(torch.randn(rows, width, generator=generator), dim=-1).to(device)

    def teacher() -> TeacherFeatures:
        prototypes = Prototypes(unit(classes), unit(classes), torch.arange(classes, device=device))
        return TeacherFeatures(unit(64), prototypes=prototypes)

    labels = torch.randint(classes, (64,), generator=generator).to(device)
    student = [unit(rows).requires_grad_() for rows in (64, classes)]
    return FeatureBatch(labels, 100.0, *student, original=teacher(), previous=teacher())


def measure(row: str, classes: int, width: int, steps: int) -> tuple[float, float, float]:
    """Peak memory in MiB, the first step's seconds and the median of `steps` later ones, in this process."""
    device = "cuda" if torch.cuda.is_available() else "cpu"

    def peak() -> float:
        if device == "cuda":
            return torch.cuda.max_memory_allocated() / 2**20
        return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10

    # What torch loads at its first use is not the loss's.
    small = make_batch(8, width, device)
    sum(loss.mean() for loss in ROWS[row](small, [small.original], 2.0)).backward()
    batch, seconds = make_batch(classes, width, device), []
    before = peak()
    for _ in range(1 + steps):
        began = time.perf_counter()
        sum(loss.mean() for loss in ROWS[row](batch, [batch.original, batch.previous], 2.0)).backward()
        if device == "cuda":
            torch.cuda.synchronize()
        seconds.append(time.perf_counter() - began)
    return peak() - before, seconds[0], statistics.median(seconds[1:])


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__)
    parser.add_argument("--classes", type=int, default=5000)
    parser.add_argument("--width", type=int, default=64, help="of the features (default 64)")
    parser.add_argument("--steps", type=int, default=3, help="timed steps after the first (default 3)")
    parser.add_argument("--rows", nargs="*", choices=ROWS, default=list(ROWS), help="only these")
    parser.add_argument("--row", choices=ROWS, help="measure this row in this process and print its numbers")
    args = parser.parse_args()
    if args.row:
        print(*measure(args.row, args.classes, args.width, args.steps))
        return
    table = [["relation loss", "MiB", "first step, s", "step, s"]]
    for row in args.rows:
        command = [sys.executable, "-m", "tests.benchmarks.relation", *sys.argv[1:], "--row", row]
        printed = subprocess.run(command, stdout=subprocess.PIPE, text=True, check=True).stdout
        memory, first, later = map(float, printed.split()[-3:])
        table.append([row, f"{memory:.0f}", f"{first:.2f}", f"{later:.2f}"])
    print(f"{args.classes} classes, width {args.width}, {machine()}")
    print(markdown_table(table))


if __name__ == "__main__":
    main()
