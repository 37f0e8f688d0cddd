"""A stream learned with LoRA: one backbone alive, two artefacts a task."""

import gc
import json
import shutil

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import PeftModel
from safetensors.torch import load_file
from support.adapted import DEVICE, LORA, features, logits
from support.interrupt import interrupted
from support.tiny import save_tiny, stream_writer
from transformers import CLIPModel, TrainerCallback

from mulki_hf import MulKIConfig, MulKITrainer
from mulki_hf.adaptation.adapters import AdapterTeacher
from mulki_hf.adaptation.lora import add_lora
from mulki_hf.models.loading import load_model
from mulki_hf.train import main


@pytest.fixture(scope="module")
def learned(tmp_path_factory, tasks_files):
    """The folder of a finished run, to be read alone, and how many models more than before were alive in its steps."""
    folder, alive = tmp_path_factory.mktemp("lora"), []

    class Count(TrainerCallback):
        def on_step_end(self, *_, **kwargs):
            alive.append(sum(isinstance(thing, CLIPModel) for thing in gc.get_objects()))

    save_tiny(folder / "tiny-clip")
    config = stream_writer(folder, str(folder), str(tasks_files))(**LORA)
    original = MulKITrainer.__init__
    gc.collect()
    before = sum(isinstance(thing, CLIPModel) for thing in gc.get_objects())
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(
            MulKITrainer, "__init__", lambda self, *a, **k: original(self, *a, **k | {"callbacks": [Count()]})
        )
        main(["--config", str(config)])
    return folder / "out", {count - before for count in alive}


def test_two_artefacts_a_task(learned):
    out, alive = learned
    # Student, teacher O and teacher P are one model.
    assert alive == {1}
    for task in ("task1-colours", "task2-shapes"):
        folder = out / task
        config = json.loads((folder / "adapter/adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["r"]) == ("tiny-clip", 2)
        base = CLIPModel.from_pretrained(out.parent / "tiny-clip")
        adapted = PeftModel.from_pretrained(base, folder / "adapter").eval()
        merged = CLIPModel.from_pretrained(folder).eval()
        torch.testing.assert_close(features(adapted), features(merged), rtol=0, atol=1e-5)
        torch.testing.assert_close(logits(adapted), logits(merged), rtol=0, atol=1e-5)
        assert not any("lora" in name for name in merged.state_dict())
        assert {path.name for path in (folder / "adapter").iterdir()} == {
            "README.md",
            "adapter_config.json",
            "adapter_model.safetensors",
        }
        card = ModelCard.load(folder / "adapter/README.md")
        assert card.data.library_name == "peft" and "relative" in card.text
        assert str(out.parent) not in card.content + (folder / "README.md").read_text()
    tasks = json.loads((out / "results.json").read_text())["tasks"]
    assert all(0 < task["facts"]["lora_error"] < 1 for task in tasks)
    assert "cut back to rank 2" in card.text


def test_card_without_stage_4(stream_yaml, tmp_path):
    main(["--config", str(stream_yaml(**LORA, method="finetune"))])
    card = ModelCard.load(tmp_path / "out/task2-shapes/adapter/README.md")
    assert "stage 4" not in card.text and "PeftModel.from_pretrained" in card.text


def three_tasks(stream_yaml):
    """The third is the first again, in other words."""
    tasks = yaml.safe_load(stream_yaml().read_text())["tasks"]
    return stream_yaml(**LORA, tasks=[*tasks, tasks[0] | {"name": "again", "templates": ["one {}"]}])


@pytest.fixture(scope="module")
def whole(tmp_path_factory, tasks_files):
    """The folder of a run of three tasks that nothing interrupted."""
    folder = tmp_path_factory.mktemp("whole")
    save_tiny(folder / "tiny-clip")
    main(["--config", str(three_tasks(stream_writer(folder, str(folder), str(tasks_files))))])
    return folder / "out"


@pytest.mark.parametrize("step", [3, 4])
def test_three_tasks_resumed_equal_uninterrupted(stream_yaml, whole, tmp_path, step):
    config = three_tasks(stream_yaml)
    interrupted(config, step)
    main(["--config", str(config), "--resume"])
    for task in ("task2-shapes", "task3-again"):
        expected, resumed = (load_file(run / task / "model.safetensors") for run in (whole, tmp_path / "out"))
        for name, value in expected.items():
            torch.testing.assert_close(value, resumed[name], rtol=0, atol=1e-5)
    # Teacher P of the third task: the second one's result, averaged, merged and cut.
    before = tmp_path / "out/task2-shapes"
    model = add_lora(load_model(tmp_path / "tiny-clip"), MulKIConfig(lora_r=2, use_cpu=True), before / "adapter")
    with AdapterTeacher("previous", model).active(DEVICE) as previous:
        checkpoint = CLIPModel.from_pretrained(before).eval()
        torch.testing.assert_close(features(previous), features(checkpoint), rtol=0, atol=1e-5)


def test_changed_adapters_are_refused_on_resume(learned, tmp_path):
    shutil.copytree(learned[0], tmp_path / "copy")
    options = ["--config", str(learned[0].parent / "stream.yaml"), "--output_dir", str(tmp_path / "copy")]
    with pytest.raises(SystemExit, match="lora_alpha was 4.0 and is now 8.0"):
        main([*options, "--resume", "--lora_r", "4"])


def test_bad_targets_end_before_training(stream_yaml, tmp_path):
    with pytest.raises(SystemExit, match="lora_targets 'qkv' matches no layer"):
        main(["--config", str(stream_yaml(**LORA)), "--lora_targets", "qkv"])
    assert not (tmp_path / "out").exists()
