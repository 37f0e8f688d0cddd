"""Runs of two gloo ranks that are stopped and go on, also on another number of processes."""

import json
import shutil

import pytest
import torch
from safetensors.torch import load_file
from support.interrupt import interrupted
from support.tiny import save_tiny, stream_writer

from mulki_hf.train import main


# Not beside others of their kind: each takes two cores.
pytestmark = [pytest.mark.xdist_group("ranks"), pytest.mark.long]

STREAM = {"optim": "sgd", "learning_rate": 0.05, "lr_scheduler_type": "constant", "max_grad_norm": 1e9}
STREAM |= {"max_steps": 7, "save_steps": 1, "random_resized_crop": 0.3, "average_every": 1, "seed": 5}
"""Of 32 and 24 images: 4 and 3 steps an epoch, each with a last batch that is not full."""

ONE, TWO = ("--per_device_train_batch_size", "10"), ("--per_device_train_batch_size", "5")


class Runs:
    """Of one stream, in folders of their own."""

    def __init__(self, folder, ranks):
        save_tiny(folder / "tiny-clip")
        self.folder, self.ranks = folder, ranks
        self.config = stream_writer(folder, str(folder))(**STREAM)

    def whole(self, name: str, ranks: int) -> str:
        self.run(name, ranks)
        return name

    def run(self, name: str, ranks: int, *options: str) -> None:
        words = ["--config", str(self.config), "--output_dir", str(self.folder / name), *options]
        if ranks == 1:
            main([*words, *ONE])
        else:
            self.ranks(main, [*words, *TWO])

    def stopped(self, name: str, ranks: int, step: int) -> str:
        """In the second task's `step`, of which nothing was saved."""
        output = ("--output_dir", str(self.folder / name))
        if ranks == 1:
            interrupted(self.config, step, *output, *ONE)
        else:
            self.ranks(interrupted, self.config, step, *output, *TWO)
        return name

    def taken_up(self, stopped: str, name: str, ranks: int) -> str:
        shutil.copytree(self.folder / stopped, self.folder / name)
        self.run(name, ranks, "--resume")
        return name

    def left(self, name: str) -> dict:
        """What a run leaves: weights, prototypes and accuracies."""
        files = sorted((self.folder / name).glob("task*/*.safetensors"))
        tensors = {f"{path.parent.name}/{path.name}/{key}": value for path in files
                   for key, value in load_file(path).items()}  # fmt: skip
        results = json.loads((self.folder / name / "results.json").read_text())
        return tensors | {"accuracy": torch.tensor(results["accuracy"])}


@pytest.fixture(scope="module")
def runs(tmp_path_factory, on_two_ranks):
    return Runs(tmp_path_factory.mktemp("runs"), on_two_ranks)


@pytest.fixture(scope="module")
def one(runs):
    return runs.left(runs.whole("one", 1))


@pytest.fixture(scope="module")
def two(runs):
    return runs.left(runs.whole("two", 2))


@pytest.fixture(scope="module")
def two_stopped(runs):
    """In the middle of the second task's second epoch."""
    return runs.stopped("two-stopped", 2, 6)


def test_two_ranks_equal_one_process(runs, one, two):
    begun = load_file(runs.folder / "tiny-clip/model.safetensors")
    changes = [(value - one[f"task2-shapes/model.safetensors/{name}"]).abs().max() for name, value in begun.items()]
    assert max(changes) > 0.05
    same_up_to_rounding(one, two)


def test_two_ranks_go_on_exactly(runs, two, two_stopped):
    gone_on = runs.left(runs.taken_up(two_stopped, "two-two", 2))
    assert gone_on.keys() == two.keys()
    assert all(torch.equal(value, gone_on[name]) for name, value in two.items())


def test_two_ranks_go_on_as_one_process(runs, one, two_stopped):
    """Inside a task: the steps are the same."""
    same_up_to_rounding(one, runs.left(runs.taken_up(two_stopped, "two-one", 1)))
    config = json.loads((runs.folder / "two-one/results.json").read_text())["config"]
    assert (config["num_processes"], config["per_device_train_batch_size"]) == (1, 10)


@pytest.mark.parametrize("step", [1, 6], ids=["between tasks", "inside a task"])
def test_one_process_goes_on_as_two_ranks(runs, one, step):
    stopped = runs.stopped(f"one-stopped-{step}", 1, step)
    unfinished = runs.folder / stopped / "unfinished"
    assert bool([*unfinished.glob("task2*/checkpoint-*")]) == (step > 1)
    same_up_to_rounding(one, runs.left(runs.taken_up(stopped, f"one-two-{step}", 2)))


def same_up_to_rounding(first: dict, second: dict) -> None:
    assert first.keys() == second.keys()
    for name, value in first.items():
        torch.testing.assert_close(
            second[name], value, rtol=0, atol=2e-5, msg=lambda told, name=name: f"{name}: {told}"
        )
