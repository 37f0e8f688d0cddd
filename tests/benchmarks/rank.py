"""What it costs to cut stage 4's result to the adapter's rank: `python -m tests.benchmarks.rank --seed 0`.

Runs the quickstart with LoRA on the validation splits. After each task the model is evaluated on every task with the
average and merge as they are, and cut to several ranks; the run itself goes on with the rank of its adapters.
"""

import argparse
from collections import defaultdict
from pathlib import Path
from statistics import mean
from unittest.mock import patch

import torch
from accelerate import Accelerator

from mulki_hf import StreamEvaluator, load_stream
from mulki_hf.adaptation.adapters import PREVIOUS
from mulki_hf.adaptation.lora import adapter_layers, connect_adapters, low_rank
from mulki_hf.config.parser import parse
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.report.tables import markdown_table
from mulki_hf.train import run

from .compared import scratch


RANKS = (None, 64, 32, 16, 8)


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("--seed", default="0")
    args = parser.parse_args()
    accuracies, errors = defaultdict(list), defaultdict(list)
    with scratch() as folder:
        options = ["--seed", args.seed, "--evaluate_on", "validation", "--output_dir", str(Path(folder) / "run")]
        stream, config = parse(["--config", "quickstart_lora", *options])
        processor = load_processor(stream.model_name_or_path)
        evaluate = StreamEvaluator(load_stream(stream), processor, Accelerator(), config.per_device_eval_batch_size)

        @torch.no_grad()
        def compare(student, average, alpha, teacher) -> float:
            # A rank that nothing is cut at gives the result as it is.
            for rank in RANKS:
                model, largest = load_model(stream.model_name_or_path), 0.0
                for name, layer in adapter_layers(student).items():
                    change = (1 - alpha) * average[name]
                    if alpha > 0:
                        change += alpha * layer.get_delta_weight(PREVIOUS)
                    if rank is not None:
                        left, right, error = low_rank(change, rank)
                        change, largest = left @ right, max(largest, error)
                    model.get_submodule(name.removeprefix("base_model.model.")).weight += change
                accuracies[rank].append(evaluate(model, 0, f"rank {rank}"))
                errors[rank].append(largest)
            return connect_adapters(student, average, alpha, teacher)

        with patch("mulki_hf.adaptation.lora.connect_adapters", compare):
            run(stream, config)
    rows = [["rank", *(f"after task {number}" for number in range(1, len(errors[None]) + 1)), "mean", "largest error"]]
    for rank in RANKS:
        means = [mean(row) for row in accuracies[rank]]
        cells = [f"{value:.2f}" for value in (*means, mean(means))]
        rows.append(["as it is" if rank is None else str(rank), *cells, f"{100 * max(errors[rank]):.1f} %"])
    print(f"accuracy, mean over all tasks, seed {args.seed}, adapters of rank {config.lora_r}")
    print(markdown_table(rows))


if __name__ == "__main__":
    main()
