"""Two gloo ranks through the command, against one process on the same global batch."""

import json

import pytest
import torch
from safetensors.torch import load_file
from support.launch import launch


# One SGD step of rate 1: the change of the weights is the gradient.
ONE_STEP = ["--optim", "sgd", "--learning_rate", "1", "--lr_scheduler_type", "constant", "--max_steps", "1"]
ONE_STEP += ["--max_grad_norm", "1e9", "--save_strategy", "no", "--no_connecting"]


# Of 4 and 3 batches: in each, another pairing with the reference images.
TWO_EPOCHS = ["--max_steps", "7", "--learning_rate", "0.1"]


@pytest.mark.parametrize(("method", "steps"), [("mulki", []), ("snd", TWO_EPOCHS)])
def test_two_ranks_equal_one_process(stream_yaml, tmp_path, method, steps):
    overrides = {"method": method}
    if method == "snd":
        overrides |= {"reference_dataset": "parquet", "reference_data_files": str(tmp_path / "shapes-train.parquet")}
    config = stream_yaml(**overrides)
    launch(config, tmp_path / "one", *ONE_STEP, *steps, "--per_device_train_batch_size", "8")
    # On two ranks in parts as well, of four and three classes.
    options = [*ONE_STEP, *steps, "--per_device_train_batch_size", "4", "--text_chunk", "2"]
    printed = launch(config, tmp_path / "two", *options, processes=2)

    one, two = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("one", "two"))
    # 12 and 9 images on two ranks: nobody is evaluated twice to fill up a batch.
    assert one["zero_shot"] == two["zero_shot"]
    torch.testing.assert_close(torch.tensor(one["accuracy"]), torch.tensor(two["accuracy"]))
    assert printed.count("task 1/2 colours") == 1
    start = load_file(tmp_path / "tiny-clip/model.safetensors")
    largest = 0.0
    for task in ("task1-colours", "task2-shapes"):
        single, double = (load_file(tmp_path / run / task / "model.safetensors") for run in ("one", "two"))
        for name, value in single.items():
            torch.testing.assert_close(value, double[name], rtol=0, atol=1e-5)
            largest = max(largest, (value - start[name]).abs().max().item())
        prototypes = [load_file(tmp_path / run / task / "prototypes.safetensors") for run in ("one", "two")]
        torch.testing.assert_close(*prototypes, rtol=0, atol=1e-4)
    assert largest > 1e-2
