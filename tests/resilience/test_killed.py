"""Whatever moment a run is killed at, with `--resume` it ends as one that nobody touched: to the last bit."""

import random

import pytest
from support.killing import Phase, Victim, drawn, same


WRITING, TRAINING = "*/unfinished/writing/task2-shapes", "*unfinished/task2-shapes"
SECOND = f"{TRAINING}/checkpoint-2"
"""Of the second task."""

STREAM, FOLDER, EVALUATOR = "mulki_hf.stream", "mulki_hf.runs.folder", "mulki_hf.evaluation.evaluator.StreamEvaluator"
FEATURES, TENSORS = "mulki_hf.features.task_features", "safetensors.torch.serialize_file"

PHASES = {
    "start-up, before anything is written": Phase("mulki_hf.runs.lock.FolderLock.take"),
    "start-up, when the folder is made": Phase(f"{FOLDER}.RunFolder.take", "after"),
    "images are cached, part of a table": Phase("accelerate.Accelerator.gather_for_metrics", nth=2),
    "images are cached, before the rename": Phase("os.replace", of="*evaluation-1-pixels*.partial"),
    "zero-shot evaluation": Phase(f"{EVALUATOR}._images", nth=2),
    "results of the zero-shot evaluation, torn": Phase("pathlib.Path.write_text", "torn", of="*results.json.tmp"),
    "teacher's features, half of a table": Phase(f"{FEATURES}.encode_images", nth=3),
    "teacher's features, before the rename": Phase("os.replace", of="*train-original*.partial"),
    "prompts' table, before the rename": Phase("os.replace", of="*words-original*.partial"),
    "teacher's features of the second task": Phase(f"{FEATURES}.encode_images", nth=11),
    "step, before the backward pass": Phase("accelerate.Accelerator.backward", nth=5),
    "step, before the optimizer's": Phase("torch.optim.AdamW.step", nth=5),
    "step, after the optimizer's": Phase("torch.optim.AdamW.step", "after", nth=5),
    "checkpoint, half of the average": Phase("numpy.save", "after", nth=40, of=f"{SECOND}/weight_average/*"),
    "checkpoint, torn file of the average": Phase("numpy.save", "torn", nth=40, of=f"{SECOND}/weight_average/*"),
    "checkpoint, torn weights": Phase(TENSORS, "torn", of=f"{SECOND}/*"),
    "checkpoint, after the weights": Phase(TENSORS, "after", of=f"{SECOND}/*"),
    "checkpoint, torn optimizer": Phase("torch.save", "torn", of=f"{SECOND}/optimizer.pt"),
    "checkpoint, after the optimizer": Phase("torch.save", "after", of=f"{SECOND}/optimizer.pt"),
    "checkpoint, after the random numbers' state": Phase("torch.save", "after", of=f"{SECOND}/rng_state.pth"),
    "checkpoint, torn trainer state": Phase("transformers.TrainerState.save_to_json", "torn", of=f"{SECOND}/*"),
    "checkpoint, after the trainer state": Phase("transformers.TrainerState.save_to_json", "after", of=f"{SECOND}/*"),
    "checkpoint, before an old one goes": Phase("shutil.rmtree", of=f"{TRAINING}/checkpoint-1"),
    "checkpoint, an old one is half gone": Phase("shutil.rmtree", "torn", of=f"{TRAINING}/checkpoint-1"),
    "before stage 4": Phase("mulki_hf.trainer.MulKITrainer.make_connections", nth=2),
    "stage 4": Phase("mulki_hf.adaptation.averaging.WeightAverage.clear", nth=2),
    "evaluation after the task": Phase(f"{EVALUATOR}._images", nth=6),
    "prototypes": Phase(f"{FEATURES}.compute_prototypes", nth=4),
    "task's folder, torn weights": Phase(TENSORS, "torn", of=f"{WRITING}/*"),
    "task's folder, after the weights": Phase(f"{STREAM}.save_model", "after", nth=2),
    "task's folder, after the prototypes": Phase(f"{STREAM}.save_prototypes", "after", nth=2),
    "task's folder, after the card": Phase(f"{STREAM}.describe_checkpoint", "after", nth=2),
    "task's folder, before the rename": Phase("os.replace", of=f"{WRITING}"),
    "between the folder and the results": Phase(f"{STREAM}.Stream.save", nth=3),
    "results, torn": Phase("pathlib.Path.write_text", "torn", nth=3, of="*results.json.tmp"),
    "results, before the rename": Phase("os.replace", nth=3, of="*/results.json"),
    "pictures": Phase("shutil.copyfile", nth=5, of="*.png"),
    "between results and clearing": Phase(f"{FOLDER}.RunFolder.keep_logs", nth=2),
    "clearing, half done": Phase("shutil.rmtree", "torn", of=TRAINING),
    "between tasks": Phase(f"{STREAM}.Stream.adaptation", nth=2),
    "end, before the caches go": Phase(f"{FOLDER}.RunFolder.finish"),
    "end, the caches are half gone": Phase("shutil.rmtree", "torn", of="*unfinished/cache"),
    "end, the lock is half gone": Phase("pathlib.Path.unlink", of="*unfinished/lock"),
}
QUICK = {
    "start-up, before anything is written",
    "teacher's features, half of a table",
    "checkpoint, torn optimizer",
    "between the folder and the results",
}
"""Those that `make test` looks at."""


def of_phases(names, quick):
    return [pytest.param(name, id=name, marks=() if name in quick else pytest.mark.long) for name in names]


@pytest.mark.parametrize("phase", of_phases(PHASES, QUICK))
def test_at_a_phase(whole, recipe, tmp_path, phase):
    victim = Victim(tmp_path / "run", recipe("mulki"))
    assert victim.killed(PHASES[phase])
    victim.finishes("--resume")
    same(victim.out, whole("mulki")[0])


RANDOM = [
    ("mulki", 2), ("finetune", 3), ("snd", 2), ("lora", 2), ("crops", 2),
    ("mulki", 3), ("finetune", 2), ("snd", 3), ("lora", 3), ("crops", 3),
] * 2  # fmt: skip


@pytest.mark.parametrize(
    ("seed", "which"),
    [
        pytest.param(seed, which, id=f"{seed} {which[0]} {which[1]}", marks=() if seed < 2 else pytest.mark.long)
        for seed, which in enumerate(RANDOM)
    ],
)
def test_at_random_moments(whole, recipe, tmp_path, seed, which):
    """Once, twice or three times in a row."""
    expected, lines = whole(*which)
    rng, victim = random.Random(seed), Victim(tmp_path / "run", recipe(*which))
    first = drawn(rng, lines)
    print("first killed before", lines[first.last], first)
    assert victim.killed(first)
    for number in range(seed % 3):
        moment = drawn(rng, lines[: len(lines) // 2])
        print(number, "then killed at", moment, victim.killed(moment, "--resume"))
    victim.finishes("--resume")
    same(victim.out, expected)
