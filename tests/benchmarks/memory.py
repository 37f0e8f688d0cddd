"""Peak memory of training, each row in a process of its own: `python -m tests.benchmarks.memory`.

On an accelerator its peak allocation, on the CPU the process's peak resident memory.
"""

import resource
import subprocess
import sys
from pathlib import Path

import torch

from mulki_hf.report.tables import markdown_table

from .compared import machine, make_parser, make_trainer, scratch, settings_of
from .step import ROWS, WAYS


def peak(name: str, args) -> float:
    """Peak memory in MiB of a few steps of the row `name` in this process."""
    with scratch() as folder:
        # The last of the steps is a sample of the average.
        settings = settings_of(args) | {"max_steps": 3, "lora_r": 16 if args.lora else None}
        if name != "plain" and not args.lora:
            # The teachers' files, made by another process than the one that is measured.
            code = "import sys; from tests.benchmarks.memory import make_teachers; make_teachers(*sys.argv[1:])"
            subprocess.run([sys.executable, "-c", code, args.shape, folder], check=True)
        trainer = make_trainer(name, args.shape, args.towers, Path(folder), **settings)
        trainer.train()
    if torch.cuda.is_available():
        return torch.cuda.max_memory_allocated() / 2**20
    return resource.getrusage(resource.RUSAGE_SELF).ru_maxrss / 2**10


def make_teachers(shape: str, folder: str) -> None:
    make_trainer("mulki-live", shape, "both", Path(folder))


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--towers", choices=ROWS, default="both")
    parser.add_argument("--lora", action="store_true", help="LoRA of rank 16, against plain LoRA fine-tuning with peft")
    parser.add_argument("--row", help="measure this row in this process and print its MiB")
    args = parser.parse_args()
    if args.row:
        print(peak(args.row, args))
        return
    measured = {}
    rows = ("plain", "mulki-cached", "mulki-live") if args.lora else ROWS[args.towers]
    rows = [name for name in rows if name != "plain-again"]
    for name in rows:
        command = [sys.executable, "-m", "tests.benchmarks.memory", *sys.argv[1:], "--row", name]
        measured[name] = float(subprocess.run(command, capture_output=True, text=True, check=True).stdout.split()[-1])
    print(f"{args.shape}, {args.towers}{', LoRA' if args.lora else ''}, {machine()}")
    table = [["peak memory", "MiB", "against plain"]]
    for name, value in measured.items():
        method, _, way = name.partition("-")
        table.append([method + WAYS[way], f"{value:.0f}", f"{value / measured['plain']:.3f}"])
    print(markdown_table(table))


if __name__ == "__main__":
    main()
