"""Streams that are killed, and what they leave when nobody touches them."""

import pytest
from support.adapted import LORA
from support.killing import Victim, contents
from support.moments import Moments
from support.tiny import rows, save_tasks, stream_writer, tiny_model, tiny_processor


SHORT = {"output_dir": "out", "max_steps": 3, "save_steps": 1, "save_total_limit": 2, "per_device_eval_batch_size": 8}
CONNECTED = {"average_every": 1, "merge_alpha": 0.2}
RECIPES = {
    "mulki": CONNECTED | {"cache_images": True, "average_on_disk": True, "protocols": "til,xtail"},
    # Its workers outlive it by seconds.
    "finetune": {"method": "finetune", "save_steps": 2, "dataloader_num_workers": 1},
    "snd": {"method": "snd", "reference_dataset": "parquet", "save_steps": 2},
    "lora": LORA | {"lora_dropout": 0.1},
    "crops": CONNECTED | {"random_resized_crop": 0.3, "keep_checkpoints": "last"},
}
"""Of a model with dropout."""
TASKS = ("colours", "shapes", "mixed")


@pytest.fixture(scope="session")
def data(tmp_path_factory):
    """The files of three tasks, and a CLIP with dropout."""
    folder = save_tasks(tmp_path_factory.mktemp("killed"))
    for split, per_class in (("train", 8), ("test", 3)):
        rows(["frame", "red", "white"], per_class, 2).to_parquet(folder / f"mixed-{split}.parquet")
    model = tiny_model()
    model.config.text_config.attention_dropout = model.config.vision_config.attention_dropout = 0.1
    model.save_pretrained(folder / "tiny-clip")
    tiny_processor().save_pretrained(folder / "tiny-clip")
    return folder


@pytest.fixture(scope="session")
def recipe(data):
    """Writes the YAML of one of the recipes; returns the command's options."""

    def write(name: str, tasks: int) -> list[str]:
        place = data / f"{name}-{tasks}"
        place.mkdir(exist_ok=True)
        changes = SHORT | RECIPES[name]
        if "reference_dataset" in changes:
            changes["reference_data_files"] = str(data / "shapes-train.parquet")
        entries = []
        for task in TASKS[:tasks]:
            files = {part: str(data / f"{task}-{part}.parquet") for part in ("train", "test")}
            entries.append({"name": task, "dataset": "parquet", "data_files": files})
        return ["--config", str(stream_writer(place, str(data), str(data))(tasks=entries, **changes))]

    return write


@pytest.fixture(scope="session")
def whole(recipe, tmp_path_factory):
    """What a run leaves that nobody touches, and the lines that it recorded; by recipe, tasks and ranks."""
    known = {}

    def run(name: str, tasks: int, ranks: int = 1):
        if (name, tasks, ranks) not in known:
            place = tmp_path_factory.mktemp("whole")
            victim = Victim(place, recipe(name, tasks), ranks)
            victim.finishes(arm=Moments(record=str(place / "moments")))
            known[name, tasks, ranks] = contents(victim.out), (place / "moments").read_text().splitlines()
        return known[name, tasks, ranks]

    return run
