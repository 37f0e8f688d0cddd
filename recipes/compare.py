"""Mean and spread of runs: `python recipes/compare.py runs/*/results.json [--record FILE]`.

Runs of equal method, adapters and learning rates are seeds of one row. `--record` also writes every run, with seed and
versions, into one JSON file.
"""

import argparse
import json
from collections import defaultdict
from pathlib import Path
from statistics import mean, stdev

from mulki_hf.report.tables import markdown_table
from mulki_hf.results import StreamResults


METRICS = ("transfer", "avg", "last", "forgetting", "degradation")


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("results", type=Path, nargs="+", help="results.json files")
    parser.add_argument("--record", type=Path, help="JSON file to write")
    args = parser.parse_args()
    runs = [StreamResults.load(path.parent) for path in args.results]
    groups = defaultdict(list)
    for run in runs:
        name, rank, tuner = run.method, run.config["lora_r"], run.config.get("peft_config")
        if run.config.get("snd_gate", "sample") == "batch" and run.method == "snd":
            name += ", gate: batch"
        name += f", LoRA r={rank}" if rank else f", {json.dumps(tuner)}" if tuner else ""
        rate, text = run.config["learning_rate"], run.config.get("text_learning_rate")
        groups[name, f"{rate:g}" + (f", text {text:g}" if text is not None else "")].append(run.metrics)
    rows = [["method", "learning rate", "seeds", *(metric.capitalize() for metric in METRICS)]]
    for (method, rate), metrics in groups.items():
        spread = [[run[metric] for run in metrics] for metric in METRICS]
        cells = [f"{mean(v):.1f} ± {stdev(v):.1f}" if len(v) > 1 else f"{v[0]:.1f}" for v in spread]
        rows.append([method, rate, str(len(metrics)), *cells])
    print(markdown_table(rows))
    if args.record:
        kept = (
            "lora_r",
            "peft_config",
            "snd_gate",
            "seed",
            "max_steps",
            "learning_rate",
            "text_learning_rate",
            "per_device_train_batch_size",
            "evaluate_on",
        )
        record = [
            {
                "method": run.method,
                **{name: run.config[name] for name in kept if applies(name, run)},
                "zero_shot": [round(value, 2) for value in run.zero_shot],
                "accuracy": [[round(value, 2) for value in row] for row in run.accuracy],
                "metrics": {name: value and round(value, 2) for name, value in run.metrics.items()},
                "versions": run.versions,
            }
            for run in runs
        ]
        args.record.write_text(json.dumps(record, indent=1) + "\n")


def applies(name: str, run: StreamResults) -> bool:
    """Whether a setting says anything of the run."""
    return run.config.get(name) is not None and (name != "snd_gate" or run.method == "snd")


if __name__ == "__main__":
    main()
