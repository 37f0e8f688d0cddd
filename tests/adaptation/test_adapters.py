"""Adapters on one backbone, which is student and teachers."""

import json
import os
import subprocess
import sys

import pytest
import torch
from peft import LoraConfig, PeftModel, get_peft_model
from support.adapted import DEVICE, features, merged_model
from support.tiny import tiny_model, tiny_task
from support.training import trainer_of
from transformers import TrainerCallback

from mulki_hf import ConfigurationError, MulKIConfig
from mulki_hf.adaptation.lora import add_lora


class TestTeachers:
    @pytest.mark.parametrize("later", [False, True])
    @pytest.mark.parametrize("bf16", [False, True])
    def test_original_teacher_is_the_base_bit_for_bit(self, first_task, lora_args, processor, later, bf16):
        expected = features(tiny_model().eval())
        model = add_lora(tiny_model(), lora_args(), first_task[1] if later else None)
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

    def test_previous_teacher_is_the_previous_checkpoint(self, first_task, trained, lora_args, processor):
        merged, model = first_task[0], trained
        trainer = trainer_of(model, lora_args(), processor, tiny_task("shapes", ["stripe", "frame"]))
        found = []
        for _ in range(2):
            with trainer.adaptation.teachers["previous"].active(DEVICE) as previous:
                found.append(features(previous))
            trainer.train()
        for one in found:
            torch.testing.assert_close(one, features(merged), rtol=0, atol=1e-5)
        assert torch.equal(*found)
        assert {name for name, p in model.named_parameters() if p.requires_grad} == {
            name for name, _ in model.named_parameters() if ".default." in name
        }

    def test_live_teachers_say_the_same_as_cached_ones(self, first_task, lora_args, processor, tmp_path):
        states = []
        for cached in (True, False):
            args = lora_args(cache_teachers=cached, output_dir=str(tmp_path / f"{cached}"))
            model = add_lora(tiny_model(), args, first_task[1])
            trainer_of(model, args, processor, tiny_task("shapes", ["stripe", "frame"])).train()
            states.append({name: value for name, value in model.state_dict().items() if "default" in name})
        for name, value in states[0].items():
            torch.testing.assert_close(value, states[1][name], rtol=1e-3, atol=1e-4)

    def test_previous_adapter_says_where_it_belongs(self, first_task):
        config = json.loads((first_task[1] / "adapter_config.json").read_text())
        assert (config["base_model_name_or_path"], config["revision"]) == ("tiny", "v1")


class TestUsersOwn:
    """A PEFT model that this package did not make."""

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


def test_checkpoints_of_a_later_task_ask_no_hub(trained, lora_args, processor, monkeypatch):
    """peft would look there for the model that the previous adapter names."""
    from peft.utils import save_and_load

    monkeypatch.setattr(save_and_load, "check_file_exists_on_hf_hub", lambda *_, **__: pytest.fail("asked the Hub"))
    trainer_of(trained, lora_args(save_strategy="steps", save_steps=2), processor).train()


@pytest.mark.long
def test_fingerprint_is_the_same_in_every_process(first_task, tmp_path):
    merged_model(add_lora(tiny_model(), MulKIConfig(lora_r=2, use_cpu=True))).save_pretrained(tmp_path / "base")
    script = """
import sys
from mulki_hf import MulKIConfig
from mulki_hf.adaptation.adapters import AdapterTeacher
from mulki_hf.adaptation.lora import add_lora
from mulki_hf.models.loading import load_model
model = add_lora(load_model(sys.argv[1]), MulKIConfig(lora_r=2, use_cpu=True), sys.argv[2])
print(*(AdapterTeacher(name, model).fingerprint() for name in ("original", "previous")), sep="|")
"""
    # At the same time, for they only import; each with a hash seed of its own.
    command = [sys.executable, "-c", script, str(tmp_path / "base"), str(first_task[1])]
    started = [
        subprocess.Popen(command, stdout=subprocess.PIPE, text=True, env=os.environ | {"PYTHONHASHSEED": seed})
        for seed in ("1", "2")
    ]
    printed = [process.communicate(timeout=240)[0] for process in started]
    assert [process.returncode for process in started] == [0, 0]
    said = {text.splitlines()[-1] for text in printed}
    assert len(said) == 1 and len(set(said.pop().split("|"))) == 2


def test_its_configuration_on_disk_is_the_same_in_every_process(first_task):
    targets = json.loads((first_task[1] / "adapter_config.json").read_text())["target_modules"]
    assert len(targets) > 3 and targets == sorted(targets)
