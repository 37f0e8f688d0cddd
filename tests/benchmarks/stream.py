"""Evaluation against the bare forward, and data loading against the step: `python -m tests.benchmarks.stream`.

The pairs take turns in one process; the figures are medians over the turns.
"""

import time
from pathlib import Path
from statistics import median

import torch
from accelerate import Accelerator

from mulki_hf import StreamEvaluator
from mulki_hf.data.tables import ArrayCache
from mulki_hf.models.encoding import encode_images
from mulki_hf.report.tables import markdown_table

from .compared import (
    SHAPES,
    machine,
    make_model,
    make_parser,
    make_processor,
    make_task,
    make_trainer,
    scratch,
    settings_of,
)
from .step import Clock


def seconds(action) -> float:
    began = time.perf_counter()
    action()
    if torch.cuda.is_available():
        torch.cuda.synchronize()
    return time.perf_counter() - began


def main() -> None:
    parser = make_parser(__doc__)
    parser.add_argument("--rounds", type=int, default=5)
    args = parser.parse_args()
    shape, accelerator = SHAPES[args.shape], Accelerator(mixed_precision="bf16" if args.bf16 else "no")
    batch = args.batch or shape.batch
    model = make_model(args.shape).to(accelerator.device).eval()
    task = make_task(shape)
    pixels = torch.rand(batch, 3, shape.side, shape.side, device=accelerator.device)
    rows = [["against", "figure", "median", "spread"]]

    def add(against: str, figure: str, values: list[float]) -> None:
        rows.append([against, figure, f"{median(values):.3f}", f"{min(values):.3f} to {max(values):.3f}"])

    def bare() -> None:
        for _ in range(shape.images // batch):
            with torch.no_grad(), accelerator.autocast():
                encode_images(model, pixels)

    with scratch() as folder:
        cache = ArrayCache(Path(folder) / "cache", accelerator, batch)
        for figure, image_cache in (("images/s of evaluation", None), ("the same, --cache_images", cache)):
            evaluate = StreamEvaluator(
                [task], make_processor(args.shape), accelerator, batch, protocol="til", image_cache=image_cache
            )
            # The classes are a part of evaluation that images/s is not about: they are encoded before.
            evaluate.trained_towers = "vision"
            evaluate(model, 0, "warm-up")
            bare()
            ratios = [seconds(bare) / seconds(lambda run=evaluate: run(model, 0, "timed")) for _ in range(args.rounds)]
            add("bare forward", figure, ratios)
        for figure, way in (("share of data loading", "cached"), ("the same, --cache_images", "images")):
            settings = settings_of(args) | {"max_steps": 8}
            trainer = make_trainer(f"mulki-{way}", args.shape, "both", Path(folder), **settings)
            clock = Clock()
            trainer.add_callback(clock)
            shares = []
            for _ in range(args.rounds):
                trainer.train()
                loader = iter(trainer.get_train_dataloader())
                next(loader)
                loading = median(seconds(lambda loader=loader: next(loader)) for _ in range(3))
                shares.append(loading / clock.step)
            add("MulKI step", figure, shares)
    print(f"{args.shape}, batch {batch}, {machine()}")
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
