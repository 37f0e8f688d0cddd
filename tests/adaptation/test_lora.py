"""LoRA: which layers, what moves, stage 4 on the weight change."""

import copy
import sys

import pytest
import torch
from peft import LoraConfig, get_peft_model
from support.tiny import tiny_model
from support.training import trainer_of
from transformers import TrainerCallback

from mulki_hf import ConfigurationError
from mulki_hf.adaptation.averaging import WeightAverage
from mulki_hf.adaptation.lora import adapter_layers, add_lora, connect_adapters, low_rank, target_layers, weight_changes


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

    def test_activation_checkpointing_changes_nothing(self, first_task, lora_args, processor, tmp_path):
        counts, states = [], []
        for wanted in (False, True):
            model, calls = add_lora(tiny_model(), lora_args(), first_task[1]), []
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
        trainer = trainer_of(trained, lora_args(average_every=0, merge_alpha=0.3), processor)
        trainer.train()
        assert trainer.connections.average is None and trainer.adaptation.error > 0


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
        model = trained
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
        model = trained
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
