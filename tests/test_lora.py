"""Adapters: one backbone for student and teachers, stage 4 on the weight change, two artefacts a task."""

import copy
import gc
import json
import os
import shutil
import subprocess
import sys

import pytest
import torch
import yaml
from huggingface_hub import ModelCard
from peft import LoraConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from support.hub import hub_environment, tiny_hub
from support.tiny import rows, save_tiny, stream_writer, tiny_model, tiny_processor, tiny_task
from transformers import CLIPModel, TrainerCallback

from mulki_hf import ConfigurationError, MulKIConfig, MulKITrainer
from mulki_hf.adaptation.adapters import AdapterTeacher, save_adapter
from mulki_hf.adaptation.averaging import WeightAverage
from mulki_hf.adaptation.lora import adapter_layers, add_lora, connect_adapters, low_rank, target_layers, weight_changes
from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.models.loading import load_model
from mulki_hf.train import main


DEVICE = torch.device("cpu")


def merge(model) -> CLIPModel:
    return model.merge_and_unload(adapter_names=["default"])


@pytest.fixture
def lora_args(make_args):
    def make(**overrides):
        return make_args(**{"lora_r": 2, "learning_rate": 1e-2, "average_every": 2} | overrides)

    return make


def trainer_of(model, args, processor, task=None, **kwargs):
    if args.method == "snd":
        kwargs["reference_dataset"] = rows(["red", "blue"], 5, seed=9).select_columns(["image"])
    return MulKITrainer(model, args, task or tiny_task(), processor, **kwargs)


def features(model: CLIPModel) -> torch.Tensor:
    """What both towers say of three images and three texts, behind one another."""
    pixels = torch.rand(3, 3, 16, 16, generator=torch.Generator().manual_seed(0))
    prompts = tokenize_prompts(tiny_processor().tokenizer, ["red", "blue", "frame"], ["a {}."])
    with torch.no_grad():
        images = model.get_image_features(pixel_values=pixels).pooler_output
        return torch.cat([images, model.get_text_features(**prompts).pooler_output])


def logits(model: CLIPModel) -> torch.Tensor:
    images, texts = (torch.nn.functional.normalize(side, dim=-1) for side in features(model).chunk(2))
    return model.logit_scale.exp().detach() * images @ texts.T


@pytest.fixture
def trained(lora_args, processor, tmp_path):
    """A model that learned a task, its adapter on disk and merged, and one that goes on from there."""
    first = add_lora(tiny_model(), lora_args())
    trainer_of(first, lora_args(), processor).train()
    save_adapter(first, tmp_path / "adapter", "tiny", "v1")
    merged = merge(first)
    return merged, add_lora(tiny_model(), lora_args(), tmp_path / "adapter")


class TestTraining:
    @pytest.mark.parametrize("method", ["mulki", "snd", "finetune"])
    def test_adapters_move_and_nothing_else(self, lora_args, processor, method):
        args = lora_args(method=method)
        model = add_lora(tiny_model(), args)
        before = copy.deepcopy(model.state_dict())
        seen = []

        class Gradients(TrainerCallback):
            def on_pre_optimizer_step(self, *_, **kwargs):
                seen.append({name for name, p in model.named_parameters() if p.grad is not None})

        trainer_of(model, args, processor, callbacks=[Gradients()]).train()
        adapters = {name for name in before if "lora_" in name}
        moved = {name for name, value in model.state_dict().items() if not torch.equal(before[name], value)}
        assert moved == adapters and len(adapters) == 2 * len(adapter_layers(model))
        assert all(names == adapters for names in seen) and len(seen) == 4
        vision_only = all("vision" in name or "visual" in name for name in adapters)
        assert vision_only == (method == "snd")

    @pytest.mark.parametrize("later", [False, True])
    @pytest.mark.parametrize("bf16", [False, True])
    def test_original_teacher_is_the_base_bit_for_bit(self, trained, lora_args, processor, tmp_path, later, bf16):
        expected = features(tiny_model().eval())
        model = add_lora(tiny_model(), lora_args(), tmp_path / "adapter" if later else None)
        found = []

        class Look(TrainerCallback):
            def on_step_end(self, *_, **kwargs):
                with trainer.adaptation.teachers["original"].active(DEVICE) as original:
                    found.append(features(original))

        trainer = trainer_of(model, lora_args(bf16=bf16), processor, callbacks=[Look()])
        trainer.train()
        with trainer.adaptation.teachers["original"].active(DEVICE) as original:
            found.append(features(original))
        assert len(found) == 5 and all(torch.equal(one, expected) for one in found)
        assert not torch.allclose(features(model.eval()), expected, atol=1e-3)
        base = tiny_model().state_dict()
        kept = {name.replace(".base_layer", ""): value for name, value in model.get_base_model().state_dict().items()}
        assert all(torch.equal(kept[name], value) for name, value in base.items())

    def test_previous_teacher_is_the_previous_checkpoint(self, trained, lora_args, processor):
        merged, model = trained
        trainer = trainer_of(model, lora_args(), processor, tiny_task("shapes", ["stripe", "frame"]))
        found = []
        for _ in range(2):
            with trainer.adaptation.teachers["previous"].active(DEVICE) as previous:
                found.append(features(previous))
            trainer.train()
        for one in found:
            torch.testing.assert_close(one, features(merged.eval()), rtol=0, atol=1e-5)
        assert torch.equal(*found)
        assert {name for name, p in model.named_parameters() if p.requires_grad} == {
            name for name, _ in model.named_parameters() if ".default." in name
        }

    def test_live_teachers_say_the_same_as_cached_ones(self, trained, lora_args, processor, tmp_path):
        states = []
        for cached in (True, False):
            args = lora_args(cache_teachers=cached, output_dir=str(tmp_path / f"{cached}"))
            model = add_lora(tiny_model(), args, tmp_path / "adapter")
            trainer_of(model, args, processor, tiny_task("shapes", ["stripe", "frame"])).train()
            states.append({name: value for name, value in model.state_dict().items() if "default" in name})
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=1e-3, atol=1e-4)

    def test_activation_checkpointing_changes_nothing(self, trained, lora_args, processor, tmp_path):
        counts, states = [], []
        for wanted in (False, True):
            model, calls = add_lora(tiny_model(), lora_args(), tmp_path / "adapter"), []
            model.vision_model.encoder.layers[0].mlp.register_forward_pre_hook(lambda *_, calls=calls: calls.append(1))
            args = lora_args(activation_checkpointing=wanted, output_dir=str(tmp_path / f"{wanted}"))
            trainer_of(model, args, processor).train()
            counts.append(len(calls))
            states.append(model.state_dict())
        # Every one of the four steps computes the layer once more.
        assert counts[1] == counts[0] + 4
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=1e-4, atol=1e-5)

    @pytest.mark.parametrize("settings", [{"bf16": True}, {"lora_dropout": 0.5}])
    def test_settings_that_train(self, lora_args, processor, settings):
        args = lora_args(**settings)
        model = add_lora(tiny_model(), args)
        trainer = trainer_of(model, args, processor)
        trainer.train()
        assert torch.isfinite(torch.tensor(trainer.state.log_history[0]["loss"]))
        assert all(p.abs().max() > 0 for name, p in model.named_parameters() if "lora_B" in name)

    def test_merge_without_averaging(self, trained, lora_args, processor):
        _, model = trained
        trainer = trainer_of(model, lora_args(average_every=0, merge_alpha=0.3), processor)
        trainer.train()
        assert trainer.weight_average is None and trainer.adaptation.error > 0

    def test_previous_adapter_says_where_it_belongs(self, trained, tmp_path):
        config = json.loads((tmp_path / "adapter/adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == ("tiny", "v1")

    def test_misuse_is_refused(self, lora_args, processor):
        with pytest.raises(ConfigurationError, match="the model has no adapters"):
            trainer_of(tiny_model(), lora_args(), processor)
        with pytest.raises(ConfigurationError, match="is its own teacher"):
            trainer_of(add_lora(tiny_model(), lora_args()), lora_args(), processor, previous_model=tiny_model())
        named = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["q_proj"]), adapter_name="mine")
        with pytest.raises(ConfigurationError, match="must be called 'default', got mine"):
            trainer_of(named, lora_args(), processor)

    def test_a_peft_model_of_the_users_own(self, make_args, processor):
        model = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["q_proj", "v_proj"]))
        trainer = trainer_of(model, make_args(), processor)
        trainer.train()
        with trainer.adaptation.teachers["original"].active(DEVICE) as original:
            assert torch.equal(features(original), features(tiny_model().eval()))

    @pytest.mark.parametrize("method", ["mulki", "finetune"])
    @pytest.mark.parametrize("how", ["loaded to infer", "added to a loaded one"])
    def test_a_users_adapter_that_is_frozen_or_not_active(self, make_args, processor, tmp_path, method, how):
        config = LoraConfig(r=2, target_modules=["q_proj", "v_proj"])
        get_peft_model(tiny_model(), config).save_pretrained(tmp_path / "saved")
        name = "default" if how == "loaded to infer" else "previous"
        model = PeftModel.from_pretrained(tiny_model(), tmp_path / "saved", adapter_name=name)
        if name == "previous":
            model.add_adapter("default", config)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trainer_of(model, make_args(method=method), processor).train()
        changed = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert changed == {name for name in before if ".default." in name}

    @pytest.mark.parametrize("init", ["orthogonal", "gaussian", False])
    def test_inits_that_leave_the_model_alone(self, make_args, processor, init):
        config = LoraConfig(r=2, target_modules=["q_proj"], init_lora_weights=init)
        trainer = trainer_of(get_peft_model(tiny_model(), config), make_args(), processor)
        with trainer.adaptation.teachers["original"].active(DEVICE) as original:
            assert torch.equal(features(original), features(tiny_model().eval()))


def test_checkpoints_of_a_later_task_ask_no_hub(trained, lora_args, processor, monkeypatch):
    """peft would look there for the model that the previous adapter names."""
    from peft.utils import save_and_load

    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", lambda *_, **__: pytest.fail("asked the Hub"))
    _, model = trained
    trainer_of(model, lora_args(save_strategy="steps", save_steps=2), processor).train()


def test_fingerprint_is_the_same_in_every_process(trained, tmp_path):
    _, model = trained
    merge(add_lora(tiny_model(), MulKIConfig(lora_r=2, use_cpu=True))).save_pretrained(tmp_path / "base")
    script = """
import sys
from mulki_hf import MulKIConfig
from mulki_hf.adaptation.adapters import AdapterTeacher
from mulki_hf.adaptation.lora import add_lora
from mulki_hf.models.loading import load_model
model = add_lora(load_model(sys.argv[1]), MulKIConfig(lora_r=2, use_cpu=True), sys.argv[2])
print(*(AdapterTeacher(name, model).fingerprint() for name in ("original", "previous")), sep="|")
"""
    said = set()
    for seed in ("1", "2"):
        command = [sys.executable, "-c", script, str(tmp_path / "base"), str(tmp_path / "adapter")]
        done = subprocess.run(command, capture_output=True, text=True, env=os.environ | {"PYTHONHASHSEED": seed})
        assert done.returncode == 0, done.stderr
        said.add(done.stdout.splitlines()[-1])
    assert len(said) == 1 and len(set(said.pop().split("|"))) == 2


class TestTargets:
    @pytest.mark.parametrize(
        ("targets", "towers", "count"),
        [("attention", "both", 16), ("mlp", "vision", 4), ("all", "text", 13), ("all", "both", 26)],
    )
    def test_by_name(self, targets, towers, count):
        assert len(target_layers(tiny_model(), targets, towers)) == count

    def test_regular_expression(self):
        found = target_layers(tiny_model(), r".*layers\.1\.mlp\.fc[12]", "both")
        assert len(found) == 4 and all(".layers.1.mlp" in name for name in found)

    def test_nothing_matches_lists_what_could(self):
        with pytest.raises(ConfigurationError, match=r"'qkv' matches no layer .* text_model\.\S*layers\.N\.mlp\.fc1"):
            target_layers(tiny_model(), "qkv", "both")
        with pytest.raises(ConfigurationError, match="no regular expression"):
            target_layers(tiny_model(), "(", "both")

    @pytest.mark.parametrize(
        ("field", "value"),
        [("lora_r", 0), ("lora_r", -4), ("lora_dropout", 1.0), ("lora_alpha", 0), ("lora_towers", "x")],
    )
    def test_out_of_range(self, make_args, field, value):
        with pytest.raises(ValueError, match=f"{field} must be .*{value}"):
            make_args(**{"lora_r": 4} | {field: value})

    @pytest.mark.parametrize(
        ("field", "value"), [("lora_alpha", 8.0), ("lora_targets", "mlp"), ("lora_towers", "both")]
    )
    def test_nothing_of_it_without_a_rank(self, make_args, field, value):
        with pytest.raises(ValueError, match=f"{field} needs lora_r, got {value!r}"):
            make_args(**{field: value})

    def test_model_already_adapted(self, lora_args):
        model = add_lora(tiny_model(), lora_args())
        for adapted in (model, model.get_base_model()):
            with pytest.raises(ConfigurationError, match="has adapters already"):
                add_lora(adapted, lora_args())

    def test_peft_missing(self, lora_args, monkeypatch):
        monkeypatch.setitem(sys.modules, "peft", None)
        with pytest.raises(ConfigurationError, match=r"pip install \"mulki-hf\[lora\]\""):
            add_lora(tiny_model(), lora_args())


def changes(model, adapter="default") -> dict[str, torch.Tensor]:
    return {name: layer.get_delta_weight(adapter).detach() for name, layer in adapter_layers(model).items()}


class TestConnections:
    """Stage 4 on the weight change, against the same on full matrices."""

    @pytest.fixture
    def student(self, lora_args):
        model = add_lora(tiny_model(), lora_args())
        self.move(model)
        return model

    def move(self, model):
        for layer in adapter_layers(model).values():
            for factors in (layer.lora_A, layer.lora_B):
                torch.nn.init.normal_(factors["default"].weight, std=0.1)

    @pytest.mark.parametrize("shape", [(9, 7), (5, 8)])
    def test_low_rank_is_the_best_of_its_rank(self, shape):
        matrix = torch.randn(*shape)
        u, sigma, v = torch.linalg.svd(matrix, full_matrices=False)
        for rank in (1, 3, 5, 9):
            left, right, error = low_rank(matrix, rank)
            assert (left.shape, right.shape) == ((shape[0], rank), (rank, shape[1]))
            best = (u[:, :rank] * sigma[:rank]) @ v[:rank]
            torch.testing.assert_close(left @ right, best, rtol=1e-4, atol=1e-4)
            assert error == pytest.approx(float((matrix - best).norm() / matrix.norm()), abs=1e-4)

    def test_low_rank_of_nothing(self):
        left, right, error = low_rank(torch.zeros(4, 3), 2)
        assert (left @ right).abs().max() == 0 and error == 0

    @pytest.mark.parametrize("folder", [None, "average"])
    def test_average_is_that_of_the_products(self, student, tmp_path, folder):
        """Eleven samples of rank 2 have a mean of a higher rank: exact in the average, the best of rank 2 after it."""
        average = WeightAverage(lambda: weight_changes(student), 1, folder and tmp_path / folder)
        samples = [changes(student)]
        average.start()
        for step in range(1, 11):
            self.move(student)
            average.step(step)
            samples.append(changes(student))
        exact = {name: torch.stack([sample[name] for sample in samples]).mean(dim=0) for name in samples[0]}
        for name, value in average.average.items():
            torch.testing.assert_close(value, exact[name])
        error = connect_adapters(student, average.average, 0.0, "previous")
        errors = []
        for name, value in changes(student).items():
            _, sigma, _ = torch.linalg.svd(exact[name])
            errors.append(float((value - exact[name]).norm() / exact[name].norm()))
            assert errors[-1] == pytest.approx(float(sigma[2:].norm() / sigma.norm()), abs=1e-4)
        assert error == pytest.approx(max(errors), abs=1e-4) and error > 0.1

    @pytest.mark.parametrize("teacher", ["previous", "original"])
    def test_average_and_merge_are_cut_once(self, trained, lora_args, teacher):
        _, model = trained
        self.move(model)
        average = {name: torch.randn_like(value) for name, value in changes(model).items()}
        kept = {name: value.clone() for name, value in average.items()}
        previous = changes(model, "previous")
        error = connect_adapters(model, average, 0.25, teacher)
        for name, value in changes(model).items():
            expected = 0.75 * average[name] + 0.25 * previous[name] * (teacher == "previous")
            left, right, _ = low_rank(expected, 2)
            torch.testing.assert_close(value, left @ right, rtol=1e-4, atol=1e-5)
            assert torch.equal(average[name], kept[name])
        assert 0 < error < 1
        assert all(torch.equal(previous[name], value) for name, value in changes(model, "previous").items())

    def test_what_has_the_rank_stays_exact(self, trained):
        _, model = trained
        before = changes(model)
        assert connect_adapters(model, {}, 0.25, "previous") < 1e-5
        # The student starts as the previous adapter: their mixture is the same again.
        for name, value in changes(model).items():
            torch.testing.assert_close(value, before[name], rtol=1e-4, atol=1e-6)

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"use_dora": True}, "LoRA of linear layers, without DoRA; .*q_proj"),
            ({"target_modules": ["token_embedding"]}, "LoRA of linear layers, without DoRA; .*token_embedding"),
            ({"lora_bias": True}, "lora_bias must be off, got True"),
        ],
    )
    def test_what_cannot_be_connected_is_refused(self, make_args, processor, settings, message):
        config = LoraConfig(**{"r": 2, "target_modules": ["q_proj"]} | settings)
        with pytest.raises(ConfigurationError, match=message):
            trainer_of(get_peft_model(tiny_model(), config), make_args(), processor)
        trainer_of(get_peft_model(tiny_model(), config), make_args(connecting=False), processor).train()

    @pytest.mark.parametrize(
        "settings", [{"bias": "all"}, {"init_lora_weights": "olora"}, {"modules_to_save": ["text_projection"]}]
    )
    def test_adapters_that_change_the_model_are_refused(self, make_args, processor, settings):
        """With them off, what is left is not the original teacher."""
        config = LoraConfig(**{"r": 2, "target_modules": ["q_proj"]} | settings)
        name = next(iter(settings))
        with pytest.raises(ConfigurationError, match=f"the adapter's {name} must be .*original teacher"):
            trainer_of(get_peft_model(tiny_model(), config), make_args(connecting=False), processor)

    def test_adapters_on_other_layers_are_refused(self, make_args, processor):
        model = get_peft_model(tiny_model(), LoraConfig(r=2, target_modules=["q_proj"]))
        model.add_adapter("previous", LoraConfig(r=2, target_modules=["v_proj"]))
        with pytest.raises(ConfigurationError, match="'default' and 'previous' must be on the same layers"):
            trainer_of(model, make_args(), processor)

    def test_adapters_of_transformers_are_refused(self, make_args, processor):
        model = tiny_model()
        model.add_adapter(LoraConfig(r=2, target_modules=["q_proj"]))
        with pytest.raises(ConfigurationError, match=r"no PeftModel: make them with peft\.get_peft_model"):
            trainer_of(model, make_args(), processor)


LORA = {"lora_r": 2, "average_every": 1, "merge_alpha": 0.2, "learning_rate": 1e-2}


class TestRun:
    def test_two_artefacts_a_task(self, stream_yaml, tmp_path):
        alive = []

        class Count(TrainerCallback):
            def on_step_end(self, *_, **kwargs):
                alive.append(sum(isinstance(thing, CLIPModel) for thing in gc.get_objects()))

        from mulki_hf import trainer as module

        original = module.MulKITrainer.__init__
        gc.collect()
        before = sum(isinstance(thing, CLIPModel) for thing in gc.get_objects())
        with pytest.MonkeyPatch.context() as patch:
            patch.setattr(
                module.MulKITrainer, "__init__", lambda self, *a, **k: original(self, *a, callbacks=[Count()], **k)
            )
            main(["--config", str(stream_yaml(**LORA))])
        # Student, teacher O and teacher P are one model.
        assert set(alive) == {before + 1}
        for task in ("task1-colours", "task2-shapes"):
            folder = tmp_path / "out" / task
            config = json.loads((folder / "adapter/adapter_config.json").read_text())
            assert (config["base_model_name_or_path"], config["r"]) == ("tiny-clip", 2)
            base = CLIPModel.from_pretrained(tmp_path / "tiny-clip")
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
            assert str(tmp_path) not in card.content + (folder / "README.md").read_text()
        tasks = json.loads((tmp_path / "out/results.json").read_text())["tasks"]
        assert all(0 < task["lora_error"] < 1 for task in tasks)
        assert "cut back to rank 2" in card.text

    def test_card_without_stage_4(self, stream_yaml, tmp_path):
        main(["--config", str(stream_yaml(**LORA, method="finetune"))])
        card = ModelCard.load(tmp_path / "out/task2-shapes/adapter/README.md")
        assert "stage 4" not in card.text and "PeftModel.from_pretrained" in card.text

    @pytest.mark.parametrize("step", [3, 4])
    def test_three_tasks_resumed_equal_uninterrupted(self, stream_yaml, tmp_path, monkeypatch, step):
        from test_train import TestResume

        tasks = yaml.safe_load(stream_yaml().read_text())["tasks"]
        config = stream_yaml(**LORA, tasks=[*tasks, tasks[0] | {"name": "again", "templates": ["one {}"]}])
        main(["--config", str(config), "--output_dir", str(tmp_path / "whole")])
        TestResume().interrupted(config, step, monkeypatch)
        main(["--config", str(config), "--resume"])
        for task in ("task2-shapes", "task3-again"):
            whole, resumed = (load_file(tmp_path / run / task / "model.safetensors") for run in ("whole", "out"))
            for name, value in whole.items():
                torch.testing.assert_close(value, resumed[name], rtol=0, atol=1e-5)
        # Teacher P of the third task: the second one's result, averaged, merged and cut.
        before = tmp_path / "out/task2-shapes"
        model = add_lora(load_model(tmp_path / "tiny-clip"), MulKIConfig(lora_r=2, use_cpu=True), before / "adapter")
        with AdapterTeacher("previous", model).active(DEVICE) as previous:
            checkpoint = CLIPModel.from_pretrained(before).eval()
            torch.testing.assert_close(features(previous), features(checkpoint), rtol=0, atol=1e-5)

    def test_changed_adapters_are_refused_on_resume(self, stream_yaml):
        main(["--config", str(stream_yaml(**LORA))])
        with pytest.raises(SystemExit, match="lora_alpha was 4.0 and is now 8.0"):
            main(["--config", str(stream_yaml(**LORA)), "--resume", "--lora_r", "4"])

    def test_bad_targets_end_before_training(self, stream_yaml, tmp_path):
        with pytest.raises(SystemExit, match="lora_targets 'qkv' matches no layer"):
            main(["--config", str(stream_yaml(**LORA)), "--lora_targets", "qkv"])
        assert not (tmp_path / "out").exists()

    def test_two_ranks_equal_one_process(self, stream_yaml, tmp_path):
        """With stage 4: both ranks sample, merge and cut the same."""
        from support.launch import launch
        from test_distributed import ONE_STEP

        config = stream_yaml(lora_r=2, average_every=1, merge_alpha=0.2)
        options = [option for option in ONE_STEP if option != "--no_connecting"]
        launch(config, tmp_path / "one", *options, "--per_device_train_batch_size", "8")
        launch(config, tmp_path / "two", *options, "--per_device_train_batch_size", "4", processes=2)
        start, largest = load_file(tmp_path / "tiny-clip/model.safetensors"), 0.0
        for task in ("task1-colours", "task2-shapes"):
            one, two = (load_file(tmp_path / run / task / "model.safetensors") for run in ("one", "two"))
            for name, value in one.items():
                torch.testing.assert_close(value, two[name], rtol=1e-4, atol=1e-4)
                largest = max(largest, (value - start[name]).abs().max().item())
        assert largest > 1e-2
        assert not list(tmp_path.rglob("*weight_average*"))


def test_on_the_hub(tmp_path):
    save_tiny(tmp_path / "tiny-clip")
    stream_writer(tmp_path, ".")(**LORA)
    with tiny_hub() as hub:
        env = hub_environment(hub, tmp_path / "hf-home")

        def run(*words):
            done = subprocess.run([sys.executable, *words], capture_output=True, text=True, env=env, cwd=tmp_path)
            assert done.returncode == 0, done.stdout + done.stderr
            return done.stdout

        options = ["-m", "mulki_hf.train", "--config", "stream.yaml"]
        run(*options, "--push_to_hub", "--hub_model_id", "org/mulki")
        assert sorted(hub.repositories) == [f"org/mulki-task{n}{kind}" for n in (1, 2) for kind in ("", "-lora")]
        assert all(len(repository.made()) == 1 for repository in hub.repositories.values())
        script = """
from peft import PeftModel
from transformers import CLIPModel
import torch
base = CLIPModel.from_pretrained("tiny-clip")
adapted = PeftModel.from_pretrained(base, "org/mulki-task2-lora").eval()
merged = CLIPModel.from_pretrained("org/mulki-task2").eval()
pixels = torch.rand(2, 3, 16, 16)
with torch.no_grad():
    one, other = (model.get_image_features(pixels).pooler_output for model in (adapted, merged))
print(float((one - other).abs().max()))
"""
        assert float(run("-c", script).split()[-1]) < 1e-5
        run(*options, "--resume_from_hub", "org/mulki-task1", "--output_dir", "further")
        files = [tmp_path / out / "task2-shapes/model.safetensors" for out in ("out", "further")]
        assert files[0].read_bytes() == files[1].read_bytes()
        # A run that was not pushed: both artefacts of both tasks.
        shutil.copytree(tmp_path / "out", tmp_path / "late")
        (tmp_path / "late/pushes.json").unlink()
        run("-m", "mulki_hf.push", "late", "--hub_model_id", "ann/late")
        assert sum(name.startswith("ann/late") for name in hub.repositories) == 4
        card = hub.files("ann/late-task2-lora")["README.md"].decode()
        assert '"ann/late-task2-lora"' in card and "https://huggingface.co/ann/late-task2" in card
