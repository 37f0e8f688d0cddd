"""Features of images and of classes, and the memory that they take."""

from contextlib import nullcontext

import numpy as np
import pytest
import torch
import torch.nn.functional as F
from support.tiny import COLOURS, tiny_model, tiny_processor, tiny_tokenizer
from support.training import trainer_of
from torch.nn.utils import parameters_to_vector
from transformers import TrainerCallback

from mulki_hf.adaptation.lora import add_lora
from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.models.encoding import chunked_text_tower, class_features, encode_classes, encode_images


NAMES = ["red", "greenish", "a blue one"]
TEMPLATES = ["a {}.", "the colour {} on a wall"]


class TestClasses:
    @pytest.fixture
    def prompts(self):
        return tokenize_prompts(tiny_processor(), NAMES, TEMPLATES)

    @pytest.mark.parametrize("eos", [None, 2], ids=["current", "legacy"])
    def test_padding_and_masking_change_nothing(self, prompts, eos):
        model = tiny_model(**{"eos_token_id": eos} if eos else {}).eval()
        texts = [template.replace("{}", name) for name in NAMES for template in TEMPLATES]
        padded = dict(tiny_tokenizer()(texts, padding="max_length", max_length=77, return_tensors="pt"))
        assert prompts["input_ids"].shape[1] < padded["input_ids"].shape[1] == 77
        with torch.no_grad():
            long = F.normalize(model.get_text_features(**padded).pooler_output, dim=-1)
        short = encode_classes(model, prompts, len(NAMES))
        torch.testing.assert_close(short, class_features(long, len(NAMES)), rtol=0, atol=1e-6)

    def test_class_feature_is_the_normalised_mean_of_normalised_prompts(self, model, prompts):
        features = encode_classes(model, prompts, len(NAMES)).numpy()
        for row, name in zip(features, NAMES, strict=True):
            total = 0
            for template in TEMPLATES:
                encoded = tiny_tokenizer()(template.replace("{}", name), return_tensors="pt")
                with torch.no_grad():
                    feature = model.get_text_features(**encoded).pooler_output[0].double().numpy()
                total = total + feature / np.sqrt((feature**2).sum())
            assert row == pytest.approx(total / np.sqrt((total**2).sum()), abs=1e-5)
        assert np.abs(features[0] - features[1]).max() > 1e-3

    def test_template_pooling_by_hand(self):
        # class 0: mean of (1, 0) and (0, 1) is along (1, 1); class 1: both (-1, 0)
        embeds = torch.tensor([[1.0, 0.0], [0.0, 1.0], [-1.0, 0.0], [-1.0, 0.0]])
        expected = torch.tensor([[0.5**0.5, 0.5**0.5], [-1.0, 0.0]])
        torch.testing.assert_close(class_features(embeds, 2), expected)

    @pytest.mark.parametrize("chunk", [1, 4])
    def test_chunks_change_nothing(self, model, prompts, chunk):
        whole = encode_classes(model, prompts, len(NAMES))
        torch.testing.assert_close(encode_classes(model, prompts, len(NAMES), chunk=chunk), whole, rtol=0, atol=1e-6)
        assert not whole.requires_grad


def test_image_features_are_unit_and_without_gradient(model):
    features = encode_images(model, torch.rand(3, 3, 16, 16))
    assert features.norm(dim=-1).tolist() == pytest.approx([1.0] * 3, abs=1e-6)
    assert not features.requires_grad


class TestTextChunks:
    @pytest.mark.parametrize("chunk", [1, 3, 8])
    def test_same_features_and_gradients(self, chunk):
        model, processor = tiny_model(), tiny_processor()
        prompts = tokenize_prompts(processor, list(COLOURS), ["a {}.", "one {}"])
        pixels = torch.rand(2, 3, 16, 16)

        def gradients():
            model.zero_grad()
            outputs = model(pixel_values=pixels, **prompts)
            outputs.logits_per_image.square().mean().backward()
            return outputs.text_embeds.detach(), {n: p.grad.clone() for n, p in model.named_parameters()}

        whole = gradients()
        with chunked_text_tower(model.text_model, chunk):
            parts = gradients()
        torch.testing.assert_close(parts[0], whole[0], rtol=0, atol=1e-6)
        for name, gradient in whole[1].items():
            torch.testing.assert_close(parts[1][name], gradient, rtol=1e-4, atol=1e-6)
        assert "forward" not in vars(model.text_model)

    def test_memory_is_that_of_a_chunk(self):
        """What the graph holds back for the backward pass does not grow with the number of prompts."""
        model, processor = tiny_model(), tiny_processor()

        def kept(count: int, chunk: int) -> int:
            sizes = []
            prompts = tokenize_prompts(processor, [f"n{i:03}" for i in range(count)], ["a {}."])
            with (
                chunked_text_tower(model.text_model, chunk),
                torch.autograd.graph.saved_tensors_hooks(lambda t: sizes.append(t.numel()) or t, lambda t: t),
            ):
                model.get_text_features(**prompts)
            return sum(sizes)

        assert kept(64, chunk=64) > 6 * kept(8, chunk=8)
        assert kept(64, chunk=8) < 2 * kept(8, chunk=8)

    def test_in_bf16(self):
        model, processor = tiny_model(), tiny_processor()
        prompts = tokenize_prompts(processor, list(COLOURS), ["a {}."])
        gradients = []
        for chunk in (8, 2):
            model.zero_grad()
            with chunked_text_tower(model.text_model, chunk), torch.autocast("cpu", torch.bfloat16):
                model.get_text_features(**prompts).pooler_output.float().square().mean().backward()
            gradients.append(model.text_projection.weight.grad.clone())
        torch.testing.assert_close(*gradients, rtol=2e-2, atol=1e-4)


class Seen:
    """How many prompts the text tower reads, forward by forward."""

    def __init__(self, trainer, monkeypatch):
        self.prompts: list[int] = []
        self.all = len(trainer.features.prompts["input_ids"])
        tower = trainer.model.text_model
        forward = tower.forward

        def look(input_ids, **kwargs):
            self.prompts.append(len(input_ids))
            return forward(input_ids=input_ids, **kwargs)

        monkeypatch.setattr(tower, "forward", look)

    def take(self) -> list[int]:
        """What was read since it was last asked."""
        taken, self.prompts = self.prompts, []
        return taken


class Stop(TrainerCallback):
    """Ends training after two micro-batches of a step: as an interruption, or as a callback may."""

    def __init__(self, raises: bool):
        self.raises = raises
        self.micro_batches = 0

    def on_substep_end(self, args, state, control, **kwargs):
        self.micro_batches += 1
        if self.micro_batches == 2:
            if self.raises:
                raise KeyboardInterrupt
            control.should_training_stop = True


class TestAccumulation:
    """A trained text tower reads the classes once an optimizer step, and learns as if with every micro-batch."""

    # The epoch's 32 images are windows of 3, 3 and 2 micro-batches.
    WINDOWS = {"per_device_train_batch_size": 4, "gradient_accumulation_steps": 3}

    def moved(self, make_args, **settings) -> torch.Tensor:
        """What training adds to the weights."""
        args = make_args(**self.WINDOWS | settings)
        student = tiny_model()
        if args.lora_r:
            student = add_lora(student, args)
        trainer = trainer_of(student, args, tiny_processor(), previous_model=None if args.lora_r else tiny_model(1))
        before = parameters_to_vector(trainer.model.parameters()).detach()
        trainer.train()
        return parameters_to_vector(trainer.model.parameters()).detach() - before

    def test_the_prompts_are_read_once_a_step(self, make_args, monkeypatch):
        args = make_args(per_device_train_batch_size=2, gradient_accumulation_steps=4, max_steps=2, adding=False)
        trainer = trainer_of(tiny_model(), args, tiny_processor(), previous_model=tiny_model(1))
        trainer.features.prepare()
        seen = Seen(trainer, monkeypatch)
        trainer.train()
        # Beside them the single prompt that CLIP's forward insists on.
        # Last, whether what comes out is finite.
        assert seen.take() == [*2 * [seen.all, 1, 1, 1], 1]

    @pytest.mark.parametrize(
        "settings",
        [
            {},
            {"method": "snd", "train_towers": "both"},
            {"train_towers": "text"},
            {"text_chunk": 3},
            {"activation_checkpointing": True},
            {"bf16": True, "text_chunk": 3},
            {"cache_teachers": False, "eval_strategy": "steps", "eval_steps": 1},
            {"lora_r": 2, "cache_teachers": False},
            pytest.param(
                {"torch_compile": True, "torch_compile_backend": "aot_eager", "max_steps": 1}, marks=pytest.mark.long
            ),
        ],
        ids=lambda settings: "-".join(settings) or "plain",
    )
    def test_the_same_is_learned(self, make_args, settings):
        """As where gradients have to be complete with every micro-batch, so that each reads the prompts."""
        settings = {"optim": "sgd", "learning_rate": 0.1, "max_grad_norm": 1e9} | settings
        once = self.moved(make_args, **settings)
        kwargs = {"sync_each_batch": True}
        every = self.moved(make_args, accelerator_config={"gradient_accumulation_kwargs": kwargs}, **settings)
        assert (once - every).norm() < (0.02 if "bf16" in settings else 1e-4) * once.norm()

    def test_dropout_in_the_tower_is_drawn_once_a_step(self, make_args):
        """Also where parts of the texts are read again in the backward pass."""
        settings = {"lora_r": 2, "lora_towers": "text", "lora_dropout": 0.5, "text_chunk": 3, "connecting": False}
        settings |= {"optim": "sgd", "learning_rate": 1.0, "max_grad_norm": 1e9, "max_steps": 1}
        sizes = ("per_device_train_batch_size", "gradient_accumulation_steps")
        whole, parts = (
            self.moved(make_args, **settings, **dict(zip(sizes, given, strict=True))) for given in ((8, 1), (2, 4))
        )
        assert (whole - parts).norm() < 1e-4 * whole.norm()

    @pytest.mark.parametrize("raises", [True, False])
    def test_nothing_is_left_of_a_step_that_was_not_finished(self, make_args, monkeypatch, raises):
        trainer = trainer_of(tiny_model(), make_args(**self.WINDOWS, adding=False), tiny_processor())
        trainer.features.prepare()
        seen, stop = Seen(trainer, monkeypatch), Stop(raises)
        trainer.add_callback(stop)
        with pytest.raises(KeyboardInterrupt) if raises else nullcontext():
            trainer.train()
        assert seen.take()[:2] == [seen.all, 1]
        # Outside of training nothing is kept either.
        batch = next(iter(trainer.get_train_dataloader()))
        trainer.model.train()
        for _ in range(2):
            trainer.compute_loss(trainer.model, batch).backward()
            assert trainer.model.text_projection.weight.grad.any()
            trainer.model.zero_grad()
        assert seen.take() == [seen.all, seen.all]
        trainer.train()
        assert seen.take()[:4] == [seen.all, 1, 1, seen.all]
