"""An image that can be read when a run begins, and no more later: said with its row, and nothing is lost."""

import re
import shutil

import numpy as np
import pytest
from PIL import Image
from support.launch import told
from support.tiny import COLOURS, SHAPES, picture, tiny_model, tiny_task
from support.training import trainer_of
from transformers import TrainerCallback

from mulki_hf import MulKITrainer
from mulki_hf.errors import TrainingError, UnreadableImage
from mulki_hf.evaluate import main as evaluate
from mulki_hf.train import main


FOLDER = "imagefolder"


@pytest.fixture
def folders(stream_yaml, tmp_path):
    """Two tasks whose images lie in files of their own; writes their YAML."""
    for name, names in (("colours", list(COLOURS)), ("shapes", list(SHAPES))):
        for split, count in (("train", 6), ("test", 2)):
            rng = np.random.default_rng(count)
            for number in range(count):
                for label in names:
                    place = tmp_path / name / split / label / f"{number}.png"
                    place.parent.mkdir(parents=True, exist_ok=True)
                    picture(COLOURS.get(label, (200, 200, 60)), SHAPES.get(label, 0), rng).save(place)

    def write(**overrides):
        tasks = [{"name": name, "dataset": FOLDER, "data_dir": str(tmp_path / name)} for name in ("colours", "shapes")]
        settings = {"tasks": tasks, "templates": ["a {}."], "output_dir": "out", "logging_steps": 1, "save_steps": 1}
        return stream_yaml(**settings | overrides)

    return write


def gone(path, how: str) -> None:
    """Keeps the file beside it, as it was."""
    shutil.copy2(path, path.with_suffix(".kept"))
    if how == "deleted":
        path.unlink()
    elif how == "truncated":
        path.write_bytes(path.read_bytes()[:-60])
    else:
        path.write_bytes(b"<html>404</html>")


def back(path) -> None:
    shutil.move(path.with_suffix(".kept"), path)


class AfterStep(TrainerCallback):
    """Does something in the second task, after some step."""

    def __init__(self, step, action):
        self.step, self.action = step, action

    def on_step_end(self, args, state, control, **kwargs):
        if "task2" in args.output_dir and state.global_step == self.step:
            self.action()


def after_step(monkeypatch, step, action):
    init = MulKITrainer.__init__

    def made(self, *args, **kwargs):
        init(self, *args, **kwargs)
        self.add_callback(AfterStep(step, action))

    monkeypatch.setattr(MulKITrainer, "__init__", made)


@pytest.mark.parametrize(
    ("how", "workers"),
    [
        ("truncated", 0),
        pytest.param("deleted", 0, marks=pytest.mark.long),
        pytest.param("replaced", 0, marks=pytest.mark.long),
        pytest.param("truncated", 1, marks=pytest.mark.long),
    ],
)
def test_in_training(folders, tmp_path, monkeypatch, how, workers):
    """Also in a worker. The run that goes on ends as one that was never disturbed."""
    monkeypatch.chdir(tmp_path)
    options = {"method": "finetune", "dataloader_num_workers": workers, "max_steps": 6}
    main(["--config", str(folders(**options, output_dir="whole"))])
    config, image = folders(**options), tmp_path / "shapes/train/frame/3.png"
    with monkeypatch.context() as patch:
        after_step(patch, 2, lambda: gone(image, how))
        line = told(config)
    assert re.match("error: task 'shapes', training images, split 'train': the image of row 9 can't be read any", line)
    assert f"(file '{image}', " in line and "put it back as it was when training began; 1 of 2 tasks is" in line
    assert re.search(r"task 2 is at step \d \(checkpoint-\d\); go on with --resume$", line)
    assert "unreadable image(s), the first in row 9" in told(config, "--resume") if how != "deleted" else True
    back(image)
    main(["--config", str(config), "--resume"])
    for task in ("task1-colours", "task2-shapes"):
        ends = [(tmp_path / run / task / "model.safetensors").read_bytes() for run in ("whole", "out")]
        assert ends[0] == ends[1]


@pytest.mark.parametrize(
    "settings",
    [
        {},
        pytest.param({"cache_images": True}, marks=pytest.mark.long),
        pytest.param({"random_resized_crop": 0.5}, marks=pytest.mark.long),
    ],
    ids=str,
)
def test_while_a_table_is_made(folders, tmp_path, monkeypatch, settings):
    """What teachers say of the second task, or its images decoded; or in the crops of the first step."""
    monkeypatch.chdir(tmp_path)
    config, image = folders(method="mulki", **settings), tmp_path / "shapes/train/stripe/1.png"
    finish = MulKITrainer.make_connections

    def connected(self):
        finish(self)
        if not image.with_suffix(".kept").exists():
            gone(image, "deleted")

    with monkeypatch.context() as patch:
        patch.setattr(MulKITrainer, "make_connections", connected)
        line = told(config)
    assert f"(file '{image}', FileNotFoundError" in line and "task 'shapes', training images, split 'train'" in line
    assert "1 of 2 tasks is finished in out, task 2 begins anew; go on with --resume" in line
    back(image)
    main(["--config", str(config), "--resume"])
    assert (tmp_path / "out/task2-shapes/model.safetensors").is_file()


def test_in_evaluation(folders, tmp_path, monkeypatch):
    """After the last step; what was learned of the task is not learned again."""
    monkeypatch.chdir(tmp_path)
    config, image = folders(method="finetune"), tmp_path / "colours/test/red/0.png"
    with monkeypatch.context() as patch:
        after_step(patch, 4, lambda: gone(image, "replaced"))
        line = told(config)
    assert "task 'colours', evaluation images, split 'test': the image of row 4 can't be read any more (file" in line
    assert "UnidentifiedImageError" in line and "task 2 is at step 4 (checkpoint-4); go on with --resume" in line
    back(image)
    main(["--config", str(config), "--resume"])

    # Of a finished run, by the command; its check of the data comes first, so that the file goes after it.
    from mulki_hf import StreamEvaluator

    cells = StreamEvaluator.cells

    def late(*args, **kwargs):
        gone(image, "truncated")
        return cells(*args, **kwargs)

    monkeypatch.setattr(StreamEvaluator, "cells", late)
    with pytest.raises(SystemExit, match="row 4 can't be read .*image file is truncated.*same command again"):
        evaluate(["out", "--output_dir", "again", "--dataloader_num_workers", "0"])


def test_a_worker_hands_the_sentence_on():
    """Its traceback comes as text, and the sentence is the last of it."""
    text = "Caught UnreadableImage in DataLoader worker process 0.\nOriginal Traceback (most recent call last):\n"
    assert str(UnreadableImage(f"{text}mulki_hf.errors.UnreadableImage: row 3: gone\n")) == "row 3: gone"
    assert str(UnreadableImage("row 3: gone")) == "row 3: gone" and issubclass(UnreadableImage, TrainingError)


def test_a_trainer_by_itself(make_args, processor, tmp_path):
    """In Python, where no command says how to go on; in the images that a user evaluates on."""
    import datasets

    image = tmp_path / "one.png"
    Image.new("RGB", (16, 16)).save(image)
    own = datasets.Dataset.from_dict({"image": [str(image)], "label": [0]}).cast_column("image", datasets.Image())
    trainer = trainer_of(tiny_model(), make_args(method="finetune"), processor, tiny_task())
    trainer.evaluate(own)
    image.unlink()
    with pytest.raises(UnreadableImage, match="^task 'colours', images to evaluate on: the image of row 0 can't be"):
        trainer.evaluate(own)
