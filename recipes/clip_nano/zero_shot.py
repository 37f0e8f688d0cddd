"""Zero-shot accuracy of a CLIP folder on the embedded stream.

    python zero_shot.py FOLDER [--split validation]

Watch training on the validation split; the test split is for the final figures alone.
"""

import argparse
import json

import yaml
from accelerate import Accelerator

from mulki_hf import StreamConfig, StreamEvaluator, load_stream
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.resources import find_recipe


def main() -> None:
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("model", help="CLIP folder, or clip-nano")
    parser.add_argument("--split", choices=("validation", "test"), default="validation")
    args = parser.parse_args()
    recipe = yaml.safe_load(find_recipe("quickstart").read_text())
    tasks = load_stream(StreamConfig(tasks=recipe["tasks"], evaluate_on=args.split))
    evaluate = StreamEvaluator(tasks, load_processor(args.model), Accelerator(), batch_size=256)
    accuracy = evaluate(load_model(args.model), learned=0, description="zero-shot")
    print(json.dumps({task.name: round(value, 1) for task, value in zip(tasks, accuracy, strict=True)}))


if __name__ == "__main__":
    main()
