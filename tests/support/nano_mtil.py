"""The benchmark's scripts, as importable modules, and a grid of tiny streams for them."""

import sys
from pathlib import Path

import yaml
from support.tiny import save_tiny, stream_writer


FOLDER = Path(__file__).parents[2] / "recipes/nano_mtil"
# As when one of them is started.
sys.path.insert(0, str(FOLDER))

METHODS = {
    "zero_shot": {"seeds": [0]},
    "tuned": {
        "method": "finetune",
        "base": {"weight_decay": 0.1},
        "trials": [{"learning_rate": "1e-3"}, {"learning_rate": "3e-4"}],
        "chosen": {"learning_rate": 0.001},
    },
    "mulki": {"base": {"feature_weight": 2}},
    "joint": {"orders": [1]},
}
FEW = {"zero_shot": METHODS["zero_shot"] | {"orders": [1]}, "tuned": METHODS["tuned"], "joint": METHODS["joint"]}
CONTENT = {
    "orders": ["order_1.yaml", "order_2.yaml"],
    "seeds": [0, 1],
    "methods": METHODS,
    "ablation": {"of": "mulki", "variants": {"no-stage-1": {"eliciting": False}}},
}


def write_grid(folder: Path, data: Path, **changes) -> Path:
    """A grid of two tiny tasks in both orders; keyword arguments replace keys."""
    save_tiny(folder / "tiny-clip")
    recipe = stream_writer(folder, str(folder), str(data))(save_strategy="no", save_steps=None, max_steps=1)
    for number, name in enumerate(CONTENT["orders"]):
        content = yaml.safe_load(recipe.read_text())
        for task in content["tasks"]:
            task["validation_split"] = "test"
        if number:
            content["tasks"].reverse()
        (folder / name).write_text(yaml.safe_dump(content))
    path = folder / "grid.yaml"
    path.write_text(yaml.safe_dump(CONTENT | changes, sort_keys=False))
    return path
