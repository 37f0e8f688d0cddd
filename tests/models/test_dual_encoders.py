"""Dual encoders beside CLIP: read as they were trained, learned, saved as what they are."""

import json
import re
from pathlib import Path

import pytest
import torch
import torch.nn.functional as F
from accelerate import Accelerator
from huggingface_hub import ModelCard
from peft import PeftModel
from PIL import Image
from safetensors.torch import load_file
from support.adapted import LORA
from support.dual_encoders import KINDS, save_kind, siglip_processor, tiny_siglip
from support.interrupt import interrupted
from support.launch import refused
from support.tiny import COLOURS, SHAPES, stream_writer, tiny_model, tiny_processor
from support.training import losses, trainer_of
from transformers import (
    AlignConfig,
    AutoModel,
    AutoProcessor,
    BlipConfig,
    MetaClip2Model,
    Siglip2Config,
    Siglip2Tokenizer,
    SiglipModel,
    pipeline,
)

from mulki_hf import StreamEvaluator, load_stream
from mulki_hf.adaptation.adapters import both_towers
from mulki_hf.adaptation.full import snapshot
from mulki_hf.adaptation.lora import add_lora, target_layers
from mulki_hf.config.parser import parse
from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.errors import ConfigurationError
from mulki_hf.evaluate import main as evaluate
from mulki_hf.models.encoding import chunked_text_tower, class_features, encode_classes, encode_images
from mulki_hf.models.loading import load_model, load_processor
from mulki_hf.predict import main as predict
from mulki_hf.results import StreamResults
from mulki_hf.train import main


OTHERS = {"metaclip_2": MetaClip2Model, "siglip": SiglipModel}
NAMES, TEMPLATES = ["red", "Greenish", "a Blue one"], ["a {}.", "the Colour {} on a wall"]
TEXTS = [template.replace("{}", name) for name in NAMES for template in TEMPLATES]
PICTURES = [Image.new("RGB", (20, 16), colour) for colour in COLOURS.values()]


@pytest.fixture(scope="module")
def folders(tmp_path_factory) -> dict[str, Path]:
    """Of every kind a model and its processor, to be read alone."""
    place = tmp_path_factory.mktemp("kinds")
    return {kind: save_kind(kind, place / kind) for kind in KINDS}


@torch.no_grad()
def text_features(model, **inputs) -> torch.Tensor:
    return F.normalize(model.eval().get_text_features(**inputs).pooler_output, dim=-1)


class TestReading:
    @pytest.mark.parametrize("kind", KINDS)
    def test_is_that_of_its_own_forward_with_its_own_processor(self, folders, kind, tmp_path):
        model, processor = load_model(folders[kind]).eval(), load_processor(str(folders[kind]))
        # What is saved beside a checkpoint, as anybody loads it.
        processor.save_pretrained(tmp_path)
        padding = "max_length" if kind == "siglip" else True
        own = AutoProcessor.from_pretrained(tmp_path)
        with torch.no_grad():
            said = model(**own(text=TEXTS, images=PICTURES, padding=padding, return_tensors="pt"))
        pixels = processor.image_processor(PICTURES, return_tensors="pt")["pixel_values"]
        images = encode_images(model, pixels)
        classes = encode_classes(model, tokenize_prompts(processor, NAMES, TEMPLATES), len(NAMES))
        torch.testing.assert_close(images, said.image_embeds, rtol=0, atol=1e-6)
        torch.testing.assert_close(classes, class_features(said.text_embeds, len(NAMES)), rtol=0, atol=1e-6)
        assert torch.pdist(classes).min() > 1e-3 and torch.pdist(images).min() > 1e-3

    def test_siglip_2_in_lower_case_whatever_its_repository_says(self, folders, tmp_path):
        processor, named = load_processor(str(folders["siglip"])), AutoProcessor.from_pretrained(folders["siglip"])
        lower = named.tokenizer([text.lower() for text in TEXTS], padding="max_length", max_length=64)["input_ids"]
        assert tokenize_prompts(processor, NAMES, TEMPLATES)["input_ids"].tolist() == lower
        assert named.tokenizer(TEXTS, padding="max_length", max_length=64)["input_ids"] != lower
        # So does a checkpoint in whatever loads it.
        processor.save_pretrained(tmp_path)
        saved = AutoProcessor.from_pretrained(tmp_path).tokenizer
        assert isinstance(saved, Siglip2Tokenizer)
        assert dict(saved(TEXTS, padding="max_length")) == {"input_ids": lower}

    def test_siglip_always_as_many_tokens(self, folders):
        """They are part of what it says: it sees all of them, and pools at the last."""
        model, processor = load_model(folders["siglip"]), load_processor(str(folders["siglip"]))
        one = tokenize_prompts(processor, ["red"], ["a {}."])["input_ids"]
        among = tokenize_prompts(processor, ["red", "a very much longer name"], ["a {}."])["input_ids"]
        assert one.shape == (1, 64) and among.shape == (2, 64) and torch.equal(one[0], among[0])
        short = one[:, :20]
        assert (short[0, -1] == one[0, -1]) and not torch.allclose(
            text_features(model, input_ids=short), text_features(model, input_ids=one), atol=1e-3
        )

    def test_metaclip_2_whatever_is_behind_eos(self, folders):
        model, processor = load_model(folders["metaclip_2"]), load_processor(str(folders["metaclip_2"]))
        ids = tokenize_prompts(processor, NAMES, TEMPLATES)["input_ids"]
        padded = processor.tokenizer(TEXTS, padding="max_length", max_length=77, return_tensors="pt")
        assert ids.shape[1] < 77 and (ids == processor.tokenizer.eos_token_id).sum(dim=1).tolist() == [1] * 6
        said = text_features(model, input_ids=ids)
        torch.testing.assert_close(text_features(model, **padded), said, rtol=0, atol=1e-6)
        assert torch.pdist(said).min() > 1e-3

    @pytest.mark.parametrize(("kind", "limit"), [("metaclip_2", 77), ("siglip", 64)])
    def test_a_prompt_that_would_be_cut(self, folders, kind, limit):
        processor = load_processor(str(folders[kind]))
        with pytest.raises(ConfigurationError, match=rf"has \d+ tokens, the model reads {limit}: shorten the template"):
            tokenize_prompts(processor, ["red", "x" * 80], ["{}"])

    @pytest.mark.parametrize("kind", OTHERS)
    def test_in_chunks_the_same_gradients(self, folders, kind):
        model, processor = load_model(folders[kind]), load_processor(str(folders[kind]))
        prompts, gradients = tokenize_prompts(processor, NAMES, TEMPLATES), []
        for chunk in (8, 2):
            model.zero_grad()
            with chunked_text_tower(model.text_model, chunk):
                model(pixel_values=torch.ones(1, 3, 16, 16), **prompts).logits_per_image.square().mean().backward()
            gradients.append({name: p.grad for name, p in model.named_parameters() if "text" in name})
        for name, gradient in gradients[0].items():
            torch.testing.assert_close(gradients[1][name], gradient, rtol=1e-4, atol=1e-6)


METHODS = {
    "mulki": {"protocols": ["til", "cil"]},
    "lora": LORA,
    "snd": {"method": "snd", "train_towers": "both", "bf16": True, "random_resized_crop": 0.8},
}
RUNS = [("metaclip_2", "mulki"), ("metaclip_2", "lora"), ("siglip", "mulki"), ("siglip", "lora"), ("siglip", "snd")]


class Learned:
    """A stream of two tasks, learned when it is first asked for; to be read alone."""

    def __init__(self, place: Path, kind: str, method: str, data: Path):
        self.kind, self.base, self.out = kind, place / "base", place / "out"
        save_kind(kind, self.base)
        overrides = {"model_name_or_path": str(self.base), **METHODS[method]}
        if method == "snd":
            files = str(data / "shapes-train.parquet")
            overrides |= {"reference_dataset": "parquet", "reference_data_files": files}
        self.config = stream_writer(place, str(place), str(data))(**overrides)
        main(["--config", str(self.config)])

    @property
    def last(self) -> Path:
        return self.out / "task2-shapes"


@pytest.fixture(scope="module")
def learn(tmp_path_factory, tasks_files):
    done: dict[tuple[str, str], Learned] = {}

    def of(kind: str, method: str = "mulki") -> Learned:
        if (kind, method) not in done:
            done[kind, method] = Learned(tmp_path_factory.mktemp(f"{kind}-{method}"), kind, method, tasks_files)
        return done[kind, method]

    return of


@pytest.mark.parametrize(("kind", "method"), RUNS)
class TestStream:
    def test_learns_both_towers_and_nothing_between_them(self, learn, kind, method):
        learned = learn(kind, method)
        base, now = (load_file(folder / "model.safetensors") for folder in (learned.base, learned.last))
        between = {name for name in base if name.startswith("logit_")}
        assert between == {"logit_scale", "logit_bias"} - ({"logit_bias"} if kind == "metaclip_2" else set())
        assert all(torch.equal(base[name], now[name]) for name in between) and base.keys() == now.keys()
        for tower in ("vision_model", "text_model"):
            assert any(not torch.equal(base[name], now[name]) for name in base if name.startswith(tower))

    def test_leaves_checkpoints_of_its_own_class(self, learn, kind, method):
        learned = learn(kind, method)
        for folder in learned.out.glob("task*"):
            assert type(AutoModel.from_pretrained(folder)) is OTHERS[kind]
        results = StreamResults.load(learned.out)
        assert (results.base.encoder.architecture, results.base.encoder.model_type) == (OTHERS[kind].__name__, kind)
        # Evaluated as the checkpoint classifies.
        stream, _ = parse(["--config", str(learned.config)])
        evaluator = StreamEvaluator(load_stream(stream), load_processor(str(learned.last)), Accelerator(cpu=True))
        if method != "snd":  # in bf16
            assert evaluator(load_model(learned.last), 2, "reloaded") == pytest.approx(results.accuracy[-1])


@pytest.mark.parametrize("kind", OTHERS)
class TestCheckpoint:
    def test_in_the_pipeline(self, learn, kind):
        folder = learn(kind).last
        classify = pipeline("zero-shot-image-classification", model=str(folder))
        model, processor = load_model(folder).eval(), load_processor(str(folder))
        classes = encode_classes(model, tokenize_prompts(processor, list(SHAPES), ["A {}."]), len(SHAPES))
        pixels = processor.image_processor(PICTURES, return_tensors="pt")["pixel_values"]
        logits = encode_images(model, pixels) @ classes.T * model.logit_scale.exp().detach()
        scores = (logits + model.logit_bias.detach()).sigmoid() if kind == "siglip" else logits.softmax(dim=-1)
        for image, own in zip(PICTURES, scores.tolist(), strict=True):
            said = classify(image, candidate_labels=list(SHAPES), hypothesis_template="A {}.")
            assert {one["label"]: one["score"] for one in said} == pytest.approx(
                dict(zip(SHAPES, own, strict=True)), abs=1e-5
            )

    def test_its_card(self, learn, kind, monkeypatch, capsys):
        learned = learn(kind)
        card = ModelCard.load(learned.last / "README.md")
        name = {"siglip": "SigLIP", "metaclip_2": "MetaCLIP 2"}[kind]
        assert kind in card.data.tags and "clip" not in card.data.tags
        assert f"A {name} for zero-shot image classification" in card.text
        assert "radford2021clip" not in card.text and re.search(r"zhai2023siglip|chuang2025metaclip2", card.text)
        monkeypatch.chdir(learned.out)
        exec("\n".join(re.findall(r"```python\n(.*?)```", card.text, re.DOTALL)), {})
        printed = capsys.readouterr().out
        assert printed.count("'label'") == 3 and "tensor([[" in printed

    def test_its_adapter(self, learn, kind, monkeypatch):
        learned = learn(kind, "lora")
        adapted = PeftModel.from_pretrained(load_model(learned.base), learned.last / "adapter").eval()
        merged = load_model(learned.last).eval()
        torch.testing.assert_close(both_towers(adapted), both_towers(merged), rtol=0, atol=1e-5)
        assert not torch.allclose(both_towers(merged), both_towers(load_model(learned.base).eval()), atol=1e-3)
        card = ModelCard.load(learned.last / "adapter/README.md").text
        (snippet,) = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        monkeypatch.chdir(learned.out.parent)
        names: dict = {}
        exec(snippet.replace('"task2-shapes/adapter"', repr(str(learned.last / "adapter"))), names)
        assert type(names["base"]) is OTHERS[kind]
        torch.testing.assert_close(both_towers(names["model"].eval()), both_towers(merged), rtol=0, atol=1e-5)

    def test_evaluated_and_asked_by_the_commands(self, learn, kind, tmp_path):
        learned, photo = learn(kind), tmp_path / "photo.png"
        evaluate([str(learned.last), "--config", str(learned.config), "--output_dir", str(tmp_path / "measured")])
        measured, was = StreamResults.load(tmp_path / "measured"), StreamResults.load(learned.out)
        assert measured.zero_shot == was.accuracy[-1] and measured.base.encoder == was.base.encoder
        PICTURES[0].save(photo)
        names = ["stripe", "corner"]
        options = ["--class_names", ",".join(names), "--templates", "a {}", "--output_dir", str(tmp_path / "answers")]
        predict([str(learned.last), str(photo), *options, "--use_cpu"])
        (said,) = json.loads((tmp_path / "answers/predictions.json").read_text())["images"][0]["answers"].values()
        model, processor = load_model(learned.last).eval(), AutoProcessor.from_pretrained(learned.last)
        padding = "max_length" if kind == "siglip" else True
        inputs = processor(text=["a stripe", "a corner"], images=PICTURES[:1], padding=padding, return_tensors="pt")
        with torch.no_grad():
            # The bias of SigLIP's logits drops out.
            expected = model(**inputs).logits_per_image.softmax(dim=-1)[0].tolist()
        assert {one["class"]: one["probability"] for one in said} == pytest.approx(
            dict(zip(names, expected, strict=True)), abs=1e-5
        )


def test_a_resumed_stream_ends_as_one_that_was_not_interrupted(learn, tmp_path):
    learned = learn("siglip")
    options = ["--output_dir", str(tmp_path / "out")]
    interrupted(learned.config, 3, *options)
    main(["--config", str(learned.config), *options, "--resume"])
    results, was = StreamResults.load(tmp_path / "out"), StreamResults.load(learned.out)
    assert (results.accuracy, results.others) == (was.accuracy, was.others)
    now, before = (load_file(out / "task2-shapes/model.safetensors") for out in (tmp_path / "out", learned.out))
    assert all(torch.equal(now[name], before[name]) for name in before)


class TestLora:
    def test_is_on_all_linear_layers_whose_forward_is_called(self):
        """Of SigLIP's attention pooling PyTorch reads the output's weights alone: an adapter there would do nothing."""
        layers = target_layers(tiny_siglip(), "all", "both")
        assert "text_model.head" in layers and "vision_model.head.mlp.fc1" in layers
        assert sum("out_proj" in name for name in layers) == 4 and "vision_model.head.attention.out_proj" not in layers
        assert not any(name.startswith("text") for name in target_layers(tiny_siglip(), "all", "vision"))
        with pytest.raises(ConfigurationError, match="matches no layer"):
            target_layers(tiny_siglip(), r"vision_model\.head\.attention\..*", "both")

    def test_switched_off_is_the_model(self, make_args):
        model = tiny_siglip().eval()
        said = both_towers(model)
        adapted = add_lora(model, make_args(lora_r=2))
        with torch.no_grad():
            for parameter in (p for p in adapted.parameters() if p.requires_grad):
                parameter.add_(0.1)
        assert not torch.allclose(both_towers(adapted.eval()), said, atol=1e-3)
        with adapted.disable_adapter():
            assert torch.equal(both_towers(adapted), said)

    @pytest.mark.parametrize("layer", ["out_proj", "q_proj"])
    def test_by_any_tuner_of_peft(self, folders, tmp_path, tasks_files, layer):
        spec = {"peft_type": "IA3", "target_modules": [layer], "feedforward_modules": []}
        stream = stream_writer(tmp_path, str(tmp_path), str(tasks_files))
        recipe = stream(
            model_name_or_path=str(folders["siglip"]), peft_config=spec, method="finetune", max_steps=1, adding=None
        )
        if layer == "out_proj":
            refused(recipe, tmp_path, "IA3 can't be merged")
        else:
            main(["--config", str(recipe)])
            assert type(AutoModel.from_pretrained(tmp_path / "out/task1-colours")) is SiglipModel


class TestPython:
    """A trainer of one's own."""

    def test_fits_the_processor(self, make_args):
        """As its repository has it, the tokenizer keeps capitals and names no limit."""
        processor = siglip_processor()
        trainer = trainer_of(tiny_siglip(), make_args(max_steps=2, logging_steps=1), processor)
        assert trainer.features.prompts["input_ids"].shape == (8, 64)
        assert isinstance(trainer.processing_class.tokenizer, Siglip2Tokenizer)
        assert all(torch.isfinite(torch.tensor(list(parts.values()))).all() for parts in losses(trainer))
        assert trainer.evaluate()["eval_accuracy"] >= 0

    def test_makes_a_card(self, make_args, tmp_path):
        trainer = trainer_of(tiny_siglip(), make_args(max_steps=1), siglip_processor())
        trainer.train()
        trainer.create_model_card()
        assert "SiglipModel.from_pretrained(" in (tmp_path / "trainer/README.md").read_text()

    @pytest.mark.parametrize(
        ("model", "processor", "message"),
        [
            (tiny_siglip, tiny_processor, "of a SiglipModel must be a SiglipProcessor, got CLIPProcessor"),
            (tiny_model, siglip_processor, "of a CLIPModel must be a CLIPProcessor, got SiglipProcessor"),
        ],
    )
    def test_refuses_the_processor_of_another_kind(self, make_args, model, processor, message):
        with pytest.raises(ConfigurationError, match=message):
            trainer_of(model(), make_args(), processor())

    def test_a_snapshot_is_of_the_same_class(self):
        model = tiny_siglip()
        twin = snapshot(model)
        assert type(twin) is SiglipModel and torch.equal(both_towers(twin.eval()), both_towers(model.eval()))


class TestRefusals:
    @pytest.mark.parametrize(
        ("config", "message"),
        [
            (
                BlipConfig,
                "is a 'blip' model; supported are CLIP, SigLIP, SigLIP 2 of a fixed resolution and MetaCLIP 2",
            ),
            (AlignConfig, "is a 'align' model; supported are .*'clip', 'metaclip_2', 'siglip'"),
            (
                Siglip2Config,
                "no common size .NaFlex.*take one of a fixed resolution, like google/siglip2-base",
            ),
        ],
    )
    def test_another_model(self, stream_yaml, tmp_path, config, message):
        config().save_pretrained(tmp_path / "other")
        refused(stream_yaml(model_name_or_path=str(tmp_path / "other")), tmp_path, f"model_name_or_path: .*{message}")
        with pytest.raises(ConfigurationError, match=message):
            load_model(tmp_path / "other")


class TestSentencePiece:
    """The tokenizer of SigLIP's first checkpoints."""

    def test_is_asked_for(self, folders, tmp_path, monkeypatch):
        def missing(*args, **kwargs):
            raise ImportError("SiglipTokenizer requires the SentencePiece library")

        monkeypatch.setattr("transformers.SiglipProcessor.from_pretrained", missing)
        with pytest.raises(ConfigurationError, match=r"needs sentencepiece: run pip install \"mulki-hf\[siglip\]\""):
            load_processor(str(folders["siglip"]))

    def test_reads_without_a_mask_and_without_punctuation(self, folders, tmp_path):
        sentencepiece = pytest.importorskip("sentencepiece")
        from transformers import SiglipTokenizer

        settings = {"vocab_size": 60, "hard_vocab_limit": False, "pad_id": 0, "eos_id": 1, "unk_id": 2, "bos_id": -1}
        sentencepiece.SentencePieceTrainer.train(
            sentence_iterator=iter([*TEXTS, "abcdefghijklmnopqrstuvwxyz"] * 9),
            model_prefix=str(tmp_path / "spiece"),
            minloglevel=2,
            **settings,
        )
        processor = siglip_processor()
        processor.tokenizer = SiglipTokenizer(str(tmp_path / "spiece.model"))
        processor.save_pretrained(tmp_path / "siglip")
        tiny_siglip().save_pretrained(tmp_path / "siglip")
        loaded = load_processor(str(tmp_path / "siglip"))
        own = loaded.tokenizer([text.lower() for text in TEXTS], padding="max_length", max_length=64)
        assert list(own) == ["input_ids"]
        assert tokenize_prompts(loaded, NAMES, TEMPLATES)["input_ids"].tolist() == own["input_ids"]
