"""Two gloo ranks through the command, against one process on the same global batch."""

import json

import pytest
import torch
from safetensors.torch import load_file
from support.launch import launch, ranks, two_ranks

from mulki_hf.train import main


# Not beside others of their kind: each takes two cores.
pytestmark = pytest.mark.xdist_group("ranks")

# One SGD step of rate 1: the change of the weights is the gradient.
ONE_STEP = ["--optim", "sgd", "--learning_rate", "1", "--lr_scheduler_type", "constant", "--max_steps", "1"]
ONE_STEP += ["--max_grad_norm", "1e9", "--save_strategy", "no", "--no_connecting"]
ONE_STEP += ["--views_per_sample", "0.5"]

HALF = ["--per_device_train_batch_size", "4"]

# The same images in two micro-batches, of which the first synchronises nothing.
TWICE = ["--per_device_train_batch_size", "2", "--gradient_accumulation_steps", "2"]

# Of 4 and 3 batches: in each, another pairing with the reference images.
TWO_EPOCHS = ["--max_steps", "7", "--learning_rate", "0.1"]


def one_process(config, output, *options):
    """With the whole batch; in this interpreter, which computes what one of its own would."""
    main(["--config", str(config), "--output_dir", str(output), *options, "--per_device_train_batch_size", "8"])


@pytest.mark.parametrize(("method", "steps", "half"), [("mulki", [], TWICE), ("snd", TWO_EPOCHS, HALF)])
def test_two_ranks_equal_one_process(stream_yaml, tmp_path, tasks_files, on_two_ranks, method, steps, half):
    overrides = {"method": method, "protocols": "til,xtail"}
    if method == "snd":
        overrides |= {"reference_dataset": "parquet", "reference_data_files": str(tasks_files / "shapes-train.parquet")}
    config = stream_yaml(**overrides)
    one_process(config, tmp_path / "one", *ONE_STEP, *steps)
    # On two ranks in parts as well, of four and three classes.
    options = [*ONE_STEP, *steps, "--text_chunk", "2"]
    on_two_ranks(main, ["--config", str(config), "--output_dir", str(tmp_path / "two"), *options, *half])

    one, two = (json.loads((tmp_path / run / "results.json").read_text()) for run in ("one", "two"))
    # 12 and 9 images on two ranks: nobody is evaluated twice to fill up a batch.
    for first, second in ((one, two), (one["others"]["xtail"], two["others"]["xtail"])):
        assert first["zero_shot"] == second["zero_shot"]
        torch.testing.assert_close(torch.tensor(first["accuracy"]), torch.tensor(second["accuracy"]))
    assert [said.count("task 1/2 colours") for said in on_two_ranks.printed] == [1, 0]
    start = load_file(tmp_path / "tiny-clip/model.safetensors")
    largest = 0.0
    for task in ("task1-colours", "task2-shapes"):
        single, double = (load_file(tmp_path / run / task / "model.safetensors") for run in ("one", "two"))
        for name, value in single.items():
            torch.testing.assert_close(value, double[name], rtol=0, atol=3e-5)
            largest = max(largest, (value - start[name]).abs().max().item())
        if method == "mulki":
            prototypes = [load_file(tmp_path / run / task / "prototypes.safetensors") for run in ("one", "two")]
            torch.testing.assert_close(*prototypes, rtol=0, atol=1e-4)
    assert largest > 1e-2


@pytest.mark.long
def test_one_process_through_accelerate(stream_yaml, tmp_path):
    """As the README has it; the same to the bit as a call of the command's function."""
    config = stream_yaml()
    one_process(config, tmp_path / "here", "--max_steps", "2")
    options = ["--max_steps", "2", "--per_device_train_batch_size", "8"]
    assert "task 2/2 shapes" in launch(config, tmp_path / "launched", *options)
    files = [tmp_path / run / "task2-shapes/model.safetensors" for run in ("here", "launched")]
    assert files[0].read_bytes() == files[1].read_bytes()


@pytest.mark.long
def test_two_ranks_equal_one_process_with_lora(stream_yaml, tmp_path, on_two_ranks):
    """With stage 4: both ranks sample, merge and cut the same. And with crops, which are a sample's, not a rank's."""
    config = stream_yaml(lora_r=2, average_every=1, merge_alpha=0.2, random_resized_crop=0.3)
    options = [option for option in ONE_STEP if option != "--no_connecting"]
    one_process(config, tmp_path / "one", *options)
    on_two_ranks(main, ["--config", str(config), "--output_dir", str(tmp_path / "two"), *options, *HALF])
    start, largest = load_file(tmp_path / "tiny-clip/model.safetensors"), 0.0
    for task in ("task1-colours", "task2-shapes"):
        one, two = (load_file(tmp_path / run / task / "model.safetensors") for run in ("one", "two"))
        for name, value in one.items():
            torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-4)
            largest = max(largest, (value - start[name]).abs().max().item())
    assert largest > 1e-2
    assert not list(tmp_path.rglob("*weight_average*"))


ONE_RANK_MET_IT = """
import torch
from accelerate import Accelerator
from mulki_hf.errors import TrainingError
from mulki_hf.finite import FiniteWatch
accelerator, watch = Accelerator(cpu=True), FiniteWatch("pets")
rank = accelerator.process_index
watch.see(1, torch.tensor(1.0), torch.tensor([10, 11]) + rank)
watch.see(2, torch.tensor(float("nan") if rank else 1.0), torch.tensor([20, 21]) + 2 * rank)
watch.see(3, torch.tensor(float("nan")), torch.tensor([30, 31]) + 2 * rank)
try:
    watch.check_logs({"loss": float("nan")}, 3, scaled=False)
except TrainingError as error:
    print(error)
accelerator.end_training()
"""


def test_a_loss_that_is_not_finite_on_one_rank_stops_both(tmp_path):
    for printed in ranks(["-c", ONE_RANK_MET_IT], tmp_path / "two"):
        assert "that of step 2, rows 22, 23 of the training data" in printed


def test_two_ranks_stop_with_one_line_and_write_nothing(stream_yaml, tmp_path):
    printed = two_ranks(stream_yaml(learning_rate=1e30), tmp_path / "two", *HALF, status=1)
    assert "error: task 'colours': " in printed and "rows" in printed and "Traceback" not in printed
    assert not list((tmp_path / "two").glob("task*"))
