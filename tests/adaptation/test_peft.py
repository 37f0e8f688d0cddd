"""Any tuner of PEFT that can be switched off is student and teachers as LoRA is; the others are refused by name."""

import json
import re

import pytest
import torch
import yaml
from peft import IA3Config, OFTConfig, PeftModel, get_peft_model
from safetensors.torch import load_file
from support.interrupt import interrupted
from support.tiny import tiny_model, tiny_task
from transformers import CLIPModel, TrainerCallback

from mulki_hf import ConfigurationError, MulKITrainer
from mulki_hf.adaptation import ADAPTATIONS, Lora, PeftTuner, adaptation_of
from mulki_hf.adaptation.adapters import both_towers
from mulki_hf.objectives import objective_of
from mulki_hf.train import main


TUNERS = {
    "IA3": {"peft_type": "IA3", "target_modules": ["k_proj", "v_proj", "fc2"], "feedforward_modules": ["fc2"]},
    "DoRA": {"peft_type": "LORA", "r": 2, "use_dora": True, "target_modules": ["q_proj", "fc1"]},
    "VeRA": {"peft_type": "VERA", "r": 4, "target_modules": ["q_proj", "v_proj"]},
    "OFT": {"peft_type": "OFT", "oft_block_size": 8, "target_modules": ["q_proj", "v_proj"]},
}
every_tuner = pytest.mark.parametrize("spec", TUNERS.values(), ids=TUNERS)


def start(args, before=None):
    """The adaptation of a task, on the tiny model."""
    return adaptation_of(args).start(lambda folder=None: tiny_model(), args, before)


def told(model) -> torch.Tensor:
    return both_towers(model.eval())


@every_tuner
class TestTuners:
    """Without stage 4, which has no mean to write back."""

    def args(self, make_args, spec, **options):
        return make_args(peft_config=dict(spec), connecting=False, learning_rate=1e-2, **options)

    def test_is_accepted_and_leaves_the_model_alone(self, make_args, spec):
        args, model = self.args(make_args, spec), tiny_model()
        adaptation_of(args).check(model, args, objective_of(args))
        assert isinstance(model, CLIPModel) and torch.equal(told(model), told(tiny_model()))

    def test_teachers_and_student_are_one_model(self, make_args, processor, tmp_path, spec):
        args = self.args(make_args, spec)
        first = start(args)
        MulKITrainer(first, args, tiny_task(), processor).train()
        first.save(tmp_path, "tiny", "v1")
        merged = told(first.finish())
        assert not torch.allclose(merged, told(tiny_model()), atol=1e-4)

        later, seen = start(args, tmp_path), []

        class Look(TrainerCallback):
            def on_step_end(self, *_, **kwargs):
                for role in ("original", "previous"):
                    with later.teachers[role].active(torch.device("cpu")) as teacher:
                        seen.append(both_towers(teacher))

        trained = {name for name, p in later.student.named_parameters() if p.requires_grad}
        trainer = MulKITrainer(later, args, tiny_task("shapes", ["stripe", "frame"]), processor, callbacks=[Look()])
        trainer.train()
        assert {name for name, p in later.student.named_parameters() if p.requires_grad} == trained
        assert len(seen) == 8 and all(torch.equal(one, told(tiny_model())) for one in seen[::2])
        for one in seen[1::2]:
            torch.testing.assert_close(one, merged, rtol=0, atol=1e-5)
        assert len({teacher.fingerprint() for teacher in later.teachers.values()}) == 2

    def test_stage_4_is_refused(self, make_args, processor, spec):
        args = make_args(peft_config=dict(spec))
        for refused in (
            lambda: adaptation_of(args).check(tiny_model(), args, objective_of(args)),
            lambda: MulKITrainer(start(args), args, tiny_task(), processor),
        ):
            with pytest.raises(
                ConfigurationError, match=r"without DoRA|no mean of its weight changes.*--no_connecting"
            ):
                refused()

    @pytest.mark.long
    def test_stream(self, stream_yaml, tmp_path, spec):
        """Two artefacts a task, cards, and a resumed run that equals the uninterrupted one."""
        adapter = tmp_path / "adapter.yaml"
        adapter.write_text(yaml.safe_dump(spec))
        config = stream_yaml(peft_config=str(adapter), connecting=False, learning_rate=1e-2)
        main(["--config", str(config), "--output_dir", str(tmp_path / "whole")])
        interrupted(config, 3)
        main(["--config", str(config), "--resume"])
        for task in ("task1-colours", "task2-shapes"):
            whole, resumed = (load_file(tmp_path / run / task / "model.safetensors") for run in ("whole", "out"))
            for name, value in whole.items():
                torch.testing.assert_close(value, resumed[name], rtol=0, atol=1e-6)
            folder = tmp_path / "out" / task
            base = CLIPModel.from_pretrained(tmp_path / "tiny-clip")
            adapted = PeftModel.from_pretrained(base, folder / "adapter")
            torch.testing.assert_close(told(adapted), told(CLIPModel.from_pretrained(folder)), rtol=0, atol=1e-5)
            card, model_card = ((path / "README.md").read_text() for path in (folder / "adapter", folder))
            assert f"A PEFT adapter ({spec['peft_type']}) for" in card and "`target_modules`" in card
            assert "cut back to rank" not in card
            assert f"Trained were PEFT adapters ({spec['peft_type']})" in model_card
        # The recipe holds the tuner itself, for who goes on elsewhere.
        assert yaml.safe_load((folder / "recipe.yaml").read_text())["peft_config"] == spec
        results = json.loads((tmp_path / "out/results.json").read_text())
        suffix = "lora" if spec["peft_type"] == "LORA" else "adapter"
        assert (results["artefact"]["suffix"], results["artefact"]["folder"]) == (suffix, "adapter")
        with pytest.raises(SystemExit, match="resume: peft_config was"):
            adapter.write_text(
                yaml.safe_dump(
                    spec
                    | {"target_modules": ["k_proj", "v_proj"]}
                    | ({"feedforward_modules": []} if spec["peft_type"] == "IA3" else {})
                )
            )
            main(["--config", str(config), "--resume"])


class TestRefusals:
    @pytest.mark.parametrize(
        ("spec", "message"),
        [
            ({"peft_type": "PROMPT_TUNING", "num_virtual_tokens": 4}, "PROMPT_TUNING can't be switched off"),
            ({"peft_type": "PREFIX_TUNING", "num_virtual_tokens": 4}, "PREFIX_TUNING can't be switched off"),
            ({"peft_type": "ADAPTION_PROMPT", "adapter_len": 4}, "ADAPTION_PROMPT can't be switched off"),
            ({"peft_type": "POLY", "target_modules": ["q_proj"]}, "POLY on this model: .*task_ids"),
            (
                {"peft_type": "LORA", "target_modules": ["q_proj"], "bias": "all"},
                "bias must be 'none' or None, got 'all'",
            ),
            (
                {"peft_type": "LORA", "target_modules": ["q_proj"], "init_lora_weights": "pissa"},
                "init_lora_weights must be .* got 'pissa'",
            ),
            ({"peft_type": "LILY", "r": 2, "target_modules": ["q_proj"]}, "LILY on this model"),
            (
                {"peft_type": "ADALORA", "target_modules": ["q_proj"], "total_step": 10, "init_r": 4, "target_r": 2},
                "ADALORA wants to be asked after every step",
            ),
            ({"peft_type": "MAGIC"}, "'MAGIC' is not a valid PeftType"),
            ({"peft_type": "IA3", "strength": 3}, "unexpected keyword argument 'strength'"),
            ({"peft_type": "OFT", "target_modules": ["qkv"]}, "OFT on this model: .*qkv"),
        ],
    )
    def test_by_name_and_before_training(self, stream_yaml, tmp_path, spec, message):
        config = stream_yaml(peft_config=spec, connecting=False)
        with pytest.raises(SystemExit, match=f"(?s)error: .*{message}"):
            main(["--config", str(config)])
        assert not (tmp_path / "out").exists()

    def test_off_means_off(self, make_args, monkeypatch):
        """Shown by trying: a tuner that leaves something behind when it is switched off."""
        from peft.tuners.ia3 import layer

        forward = layer.Linear.forward
        monkeypatch.setattr(
            layer.Linear, "forward", lambda self, x, *a, **k: forward(self, x, *a, **k) + self.disable_adapters
        )
        args = make_args(peft_config=dict(TUNERS["IA3"]), connecting=False)
        with pytest.raises(ConfigurationError, match="peft_config: IA3 can't be switched off"):
            adaptation_of(args).check(tiny_model(), args, objective_of(args))

    def test_merged_means_the_same(self, make_args, monkeypatch):
        from peft.tuners.ia3 import layer

        monkeypatch.setattr(layer.Linear, "merge", lambda self, *_, **__: None)
        args = make_args(peft_config=dict(TUNERS["IA3"]), connecting=False)
        with pytest.raises(ConfigurationError, match="peft_config: IA3 can't be merged"):
            adaptation_of(args).check(tiny_model(), args, objective_of(args))

    def test_adapters_outside_the_trained_towers(self, make_args):
        args = make_args(peft_config=dict(TUNERS["OFT"]), connecting=False, train_towers="vision")
        with pytest.raises(ConfigurationError, match="adapters on the text tower, but train_towers is 'vision'"):
            adaptation_of(args).check(tiny_model(), args, objective_of(args))
        args.peft_config["exclude_modules"] = r".*text_model.*"
        adaptation_of(args).check(tiny_model(), args, objective_of(args))

    @pytest.mark.parametrize("given", ["no-such-file.yaml", {"r": 2}, ["IA3"], 3])
    def test_no_mapping_with_a_type(self, make_args, given):
        with pytest.raises(ConfigurationError, match="peft_config"):
            make_args(peft_config=given)

    def test_lora_r_beside_it(self, make_args):
        with pytest.raises(ValueError, match="lora_r and peft_config exclude each other"):
            make_args(lora_r=2, peft_config=dict(TUNERS["IA3"]))


class TestPlainLora:
    """Asked for as a tuner of PEFT, it is LoRA: its mean can be written back."""

    SPEC = {"peft_type": "LORA", "r": 2, "target_modules": ["q_proj", "v_proj"]}

    def test_is_averaged_and_merged(self, make_args, processor):
        args = make_args(peft_config=dict(self.SPEC), average_every=2)
        assert adaptation_of(args) is PeftTuner
        adaptation_of(args).check(tiny_model(), args, objective_of(args))
        adaptation = start(args)
        assert isinstance(adaptation, Lora)
        MulKITrainer(adaptation, args, tiny_task(), processor).train()
        assert adaptation.facts()["lora_error"] > 0

    def test_card_says_what_was_cut(self, stream_yaml, tmp_path):
        main(["--config", str(stream_yaml(peft_config=self.SPEC, average_every=2, learning_rate=1e-2))])
        card = (tmp_path / "out/task2-shapes/adapter/README.md").read_text()
        assert re.search(r"cut back to rank 2 by SVD, with a\s+relative error of", card)


class TestUsersOwn:
    @pytest.mark.parametrize(
        "config",
        [
            IA3Config(target_modules=["k_proj", "fc2"], feedforward_modules=["fc2"]),
            OFTConfig(oft_block_size=8, target_modules=["q_proj"]),
        ],
        ids=["IA3", "OFT"],
    )
    def test_goes_into_the_trainer_as_it_is(self, make_args, processor, config):
        model = get_peft_model(tiny_model(), config)
        trainer = MulKITrainer(model, make_args(connecting=False), tiny_task(), processor)
        assert isinstance(trainer.adaptation, PeftTuner)
        before = {name: value.clone() for name, value in model.state_dict().items()}
        trainer.train()
        moved = {name for name, value in model.state_dict().items() if not torch.equal(value, before[name])}
        assert moved == {name for name, p in model.named_parameters() if p.requires_grad} != set()

    def test_stage_4_is_refused(self, make_args, processor):
        model = get_peft_model(tiny_model(), OFTConfig(oft_block_size=8, target_modules=["q_proj"]))
        with pytest.raises(ConfigurationError, match=r"averaged.*--no_connecting"):
            MulKITrainer(model, make_args(), tiny_task(), processor)


def test_one_adaptation_takes_what_no_other_does():
    assert [adaptation.switch for adaptation in ADAPTATIONS] == ["lora_r", "peft_config", None]
