"""Whatever moment a run is killed at, with `--resume` it ends as one that nobody touched: to the last bit."""

import random
import sys

import pytest
from support.killing import Victim, differences
from support.launch import run
from support.moments import Phase, drawn


TRAINING = "*unfinished/task2-shapes"
SECOND, WRITING = f"{TRAINING}/checkpoint-2", "*unfinished/writing/task2-shapes"
WRITE, REPLACE, DELETE = "pathlib.Path.write_text", "os.replace", "shutil.rmtree"
TENSORS, STATE = "safetensors.torch.serialize_file", "transformers.TrainerState.save_to_json"
STREAM, FOLDER, IMAGES = "mulki_hf.stream", "mulki_hf.runs.folder.RunFolder", "mulki_hf.evaluation.evaluator"
FEATURES = "mulki_hf.features.task_features"

PHASES = {
    "start-up and zero-shot": {
        "nothing is written": Phase("mulki_hf.runs.lock.FolderLock.take"),
        "the folder is made": Phase(f"{FOLDER}.take", "after"),
        "part of the images is cached": Phase("accelerate.Accelerator.gather_for_metrics", nth=2),
        "images of a task, before the rename": Phase(REPLACE, of="*evaluation-1-pixels*.partial"),
        "zero-shot evaluation": Phase(f"{IMAGES}.StreamEvaluator._images", nth=2),
        "its picture, torn": Phase("PIL.Image.Image.save", "torn", nth=2, of="*out/*.png*"),
        "its results, torn": Phase(WRITE, "torn", of="*out/results.json.tmp"),
        "its results, before the rename": Phase(REPLACE, of="*out/results.json"),
    },
    "tables": {
        "half of the teacher's features": Phase(f"{FEATURES}.encode_images", nth=3),
        "the teacher's features, before the rename": Phase(REPLACE, of="*train-original*.partial"),
        "prompts' features, before the rename": Phase(REPLACE, of="*words-original*.partial"),
        "between tasks": Phase(f"{STREAM}.Stream.adaptation", nth=2),
        "half of the features of the second task": Phase(f"{FEATURES}.encode_images", nth=2),
        "those of the previous teacher, before the rename": Phase(REPLACE, of="*train-previous*.partial"),
    },
    "steps and checkpoints": {
        "before the first task's checkpoints go": Phase(f"{FOLDER}.keep_logs"),
        "before the backward pass": Phase("accelerate.Accelerator.backward", nth=2),
        "before the optimizer's step": Phase("torch.optim.AdamW.step"),
        "after the optimizer's step": Phase("torch.optim.AdamW.step", "after"),
        "half of the average": Phase("numpy.save", "after", nth=40, of=f"{SECOND}/weight_average/*"),
        "a torn file of the average": Phase("numpy.save", "torn", nth=40, of=f"{SECOND}/weight_average/*"),
        "torn weights": Phase(TENSORS, "torn", of=f"{SECOND}/*"),
        "after the weights": Phase(TENSORS, "after", of=f"{SECOND}/*"),
        "torn optimizer": Phase("torch.save", "torn", of=f"{SECOND}/optimizer.pt"),
        "after the optimizer": Phase("torch.save", "after", of=f"{SECOND}/optimizer.pt"),
        "after the random numbers' state": Phase("torch.save", "after", of=f"{SECOND}/rng_state.pth"),
        "torn trainer state": Phase(STATE, "torn", of=f"{SECOND}/*"),
        "after the trainer state": Phase(STATE, "after", of=f"{SECOND}/*"),
        "torn manifest": Phase(WRITE, "torn", of=f"{SECOND}/manifest.json.tmp"),
        "before the manifest counts": Phase(REPLACE, of=f"{SECOND}/manifest.json"),
        "after it does": Phase(REPLACE, "after", of=f"{SECOND}/manifest.json"),
        "before an old checkpoint goes": Phase(DELETE, of=f"{TRAINING}/checkpoint-1"),
    },
    "end of a task": {
        "an old checkpoint is half gone": Phase(DELETE, "torn", of=f"{TRAINING}/checkpoint-1"),
        "before stage 4": Phase("mulki_hf.trainer.MulKITrainer.make_connections"),
        "in stage 4": Phase("mulki_hf.adaptation.averaging.WeightAverage.clear"),
        "evaluation": Phase(f"{IMAGES}.StreamEvaluator._images", nth=2),
        "prototypes": Phase(f"{FEATURES}.compute_prototypes", nth=3),
        "torn weights": Phase(TENSORS, "torn", of=f"{WRITING}/*"),
        "after the model": Phase(f"{STREAM}.save_model", "after"),
        "after the prototypes": Phase(f"{STREAM}.save_prototypes", "after"),
        "after the card": Phase(f"{STREAM}.describe_checkpoint", "after"),
        "torn manifest": Phase(WRITE, "torn", of=f"{WRITING}/manifest.json.tmp"),
        "before the folder's rename": Phase(REPLACE, of=WRITING),
        "between the folder and the results": Phase(f"{STREAM}.Stream.save"),
    },
    "a folder is replaced, and the end": {
        "between the folder and the results": Phase(f"{STREAM}.Stream.save", nth=3),
        "between two renames": Phase(REPLACE, "after", of=f"{WRITING}.old"),
        "between them again": Phase(REPLACE, of=WRITING),
        "torn picture": Phase("shutil.copyfile", "torn", nth=2, of="*out/*.png.tmp"),
        "the earlier folder is half gone": Phase(DELETE, "torn", of=f"{WRITING}.old"),
        "torn results": Phase(WRITE, "torn", of="*out/results.json.tmp"),
        "before the results' rename": Phase(REPLACE, of="*out/results.json"),
        "before the training state goes": Phase(f"{FOLDER}.keep_logs"),
        "it is half gone": Phase(DELETE, "torn", of=TRAINING),
        "before the caches go": Phase(f"{FOLDER}.finish"),
        "they are half gone": Phase(DELETE, "torn", of="*unfinished/cache"),
        "the lock is half gone": Phase("pathlib.Path.unlink", of="*unfinished/lock"),
    },
}
"""Parts of a life; a run is killed at each of their phases, one after another."""


@pytest.mark.parametrize(
    "part", [pytest.param(part, marks=pytest.mark.long if number else ()) for number, part in enumerate(PHASES)]
)
def test_at_every_phase(whole, recipe, tmp_path, part):
    victim, more = Victim(tmp_path / "run", recipe("mulki", 2)), []
    for phase, killed in PHASES[part].items():
        assert victim.killed(killed, *more), f"did not come to: {phase}"
        assert len([*victim.out.glob("unfinished/*/checkpoint-*")]) <= 3, f"more than two and a new one: {phase}"
        more = ["--resume"]
    victim.finishes("--resume")
    assert differences(victim.out, whole("mulki", 2)[0]) == []


@pytest.mark.long
def test_the_adapter_is_written(whole, recipe, tmp_path):
    victim = Victim(tmp_path / "run", recipe("lora", 3))
    assert victim.killed(Phase("mulki_hf.adaptation.adapters.save_adapter", "after", nth=2))
    victim.finishes("--resume")
    assert differences(victim.out, whole("lora", 3)[0]) == []


RUNS = [("mulki", 2, 2), ("lora", 3, 4), ("snd", 2, 4), ("crops", 3, 4), ("finetune", 2, 4), ("mulki", 3, 4)]
"""Recipe, tasks, and how often it is killed."""


@pytest.mark.parametrize(
    ("name", "tasks", "times"), [pytest.param(*run, marks=pytest.mark.long if run != RUNS[0] else ()) for run in RUNS]
)
def test_at_random_moments(whole, recipe, tmp_path, name, tasks, times):
    """Some of them in the middle of a file, one after another."""
    expected, lines = whole(name, tasks)
    victim, more = Victim(tmp_path / "run", recipe(name, tasks)), []
    for moment in drawn(random.Random(times * tasks), lines, times):
        assert victim.killed(moment, *more)
        more = ["--resume"]
    victim.finishes("--resume")
    assert differences(victim.out, expected) == []


def test_disk_use_is_bounded(whole):
    """Inside a task Trainer's last checkpoints and one that is being written, after it the task's folder alone."""
    there: set[str] = set()
    most = 0
    for event, *paths in map(str.split, whole("mulki", 2)[1]):
        folder = paths[0].removeprefix("unfinished/") if paths else ""
        if event == "os.mkdir" and folder.startswith("task"):
            task, _, checkpoint = folder.partition("/")
            assert {other.partition("/")[0] for other in there} <= {task}, "of another task"
            there |= {folder} if checkpoint.startswith("checkpoint-") and "/" not in checkpoint else set()
        elif event == "os.rmdir":
            there.discard(folder)
        most = max(most, len(there))
    assert most == 3 and not there


@pytest.mark.long
def test_a_fork_computes_what_a_process_of_its_own_does(whole, recipe, tmp_path):
    run(sys.executable, "-m", "mulki_hf.train", *recipe("lora", 3), cwd=tmp_path)
    assert [
        name
        for name in differences(tmp_path / "out", whole("lora", 3)[0])
        if not name.endswith((".png", "manifest.json"))
    ] == []
