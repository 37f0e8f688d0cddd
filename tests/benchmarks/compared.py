"""What the benchmarks compare: models of two shapes, random data, and the trainers."""

import argparse
import tempfile
from dataclasses import dataclass
from pathlib import Path

import numpy as np
import torch
import torch.nn.functional as F
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, Trainer
from transformers.models.clip import CLIPImageProcessorPil

from mulki_hf import MulKIConfig, MulKITrainer, Task
from mulki_hf.adaptation.adapters import save_adapter
from mulki_hf.adaptation.lora import add_lora
from mulki_hf.data.images import image_transform
from mulki_hf.data.prompts import tokenize_prompts
from mulki_hf.features.task_features import TaskFeatures
from mulki_hf.models.encoding import encode_classes
from mulki_hf.models.loading import load_model, load_processor


@dataclass(frozen=True)
class Shape:
    """A model's shape and the batch that goes with it."""

    side: int
    batch: int
    classes: int
    images: int


SHAPES = {"vit-b-16": Shape(224, 8, 100, 32), "clip-nano": Shape(32, 64, 100, 1024)}


def make_model(shape: str) -> CLIPModel:
    """CLIP of that shape: ViT-B/16 with random weights, or clip-nano."""
    if shape == "clip-nano":
        return load_model("clip-nano")
    torch.manual_seed(0)
    return CLIPModel(CLIPConfig(vision_config={"patch_size": 16}))


def make_processor(shape: str) -> CLIPProcessor:
    """clip-nano's tokenizer at both shapes; prompts have about the length that CLIP's own gives them."""
    processor = load_processor("clip-nano")
    if shape == "clip-nano":
        return processor
    return CLIPProcessor(image_processor=CLIPImageProcessorPil(), tokenizer=processor.tokenizer)


def make_rows(side: int, images: int, classes: int) -> Dataset:
    """Images of noise, encoded as PNG."""
    rng = np.random.default_rng(0)
    pixels = rng.integers(0, 256, (images, side, side, 3)).astype(np.uint8)
    names = [f"thing number {number}" for number in range(classes)]
    return Dataset.from_dict(
        {"image": [PILImage.fromarray(image) for image in pixels], "label": rng.integers(0, classes, images).tolist()},
        features=Features({"image": Image(), "label": ClassLabel(names=names)}),
    )


def make_task(shape: Shape) -> Task:
    rows = make_rows(shape.side, shape.images, shape.classes)
    return Task("noise", rows.features["label"].names, ["a photo of a {}."], train=rows, evaluation=rows)


def make_earlier(shape: Shape) -> list[Task]:
    """A task learned before, of as many classes; of its images one is enough."""
    rows = make_rows(shape.side, 1, shape.classes)
    names = [f"other {number}" for number in range(shape.classes)]
    return [Task("earlier", names, ["a photo of a {}."], train=rows, evaluation=rows)]


class PlainTrainer(Trainer):
    """Fine-tuning as one writes it on `Trainer`: the task's classes as prompts, cross-entropy of CLIP's own logits."""

    loss_is_scaled_for_ga = False

    def __init__(self, model, args, task, processing_class):
        super().__init__(
            model=model,
            args=args,
            train_dataset=task.train.with_transform(image_transform(processing_class.image_processor)),
            processing_class=processing_class,
        )
        prompts = tokenize_prompts(processing_class, task.class_names, task.templates)
        self.prompts = {name: ids.to(self.args.device) for name, ids in prompts.items()}
        model.logit_scale.requires_grad_(False)
        self.text = None
        if args.train_towers == "vision":
            model.text_model.requires_grad_(False)
            model.text_projection.requires_grad_(False)
            self.text = encode_classes(model, self.prompts, len(task.class_names))

    def compute_loss(self, model, inputs, return_outputs=False, num_items_in_batch=None):
        if self.text is None:
            logits = model(pixel_values=inputs["pixel_values"], **self.prompts).logits_per_image
        else:
            features = model.get_image_features(pixel_values=inputs["pixel_values"]).pooler_output
            logits = 100.0 * F.normalize(features.float(), dim=-1) @ self.text.T
        return F.cross_entropy(logits.float(), inputs["labels"])


class ResearchTrainer(MulKITrainer):
    """The same losses as the research code goes about them.

    Prompts padded to 77 tokens, both teachers in every step on images and on texts, class features of a frozen text
    tower encoded again for every batch.
    """

    def __init__(self, *args, **kwargs):
        super().__init__(*args, **kwargs)
        texts = [template.replace("{}", name) for name in self.task.class_names for template in self.task.templates]
        padded = self.processing_class.tokenizer(texts, padding="max_length", max_length=77, return_tensors="pt")
        self.features.prompts = {"input_ids": padded["input_ids"].to(self.args.device)}
        self.features.said = self.said

    def student_features(self, model, inputs):
        if self.trains_text:
            return super().student_features(model, inputs)
        with self.features.hold_text(self.model):
            return super().student_features(model, inputs)

    def said(self, inputs, step):
        with self.accelerator.autocast():
            for teacher in self.features.asked.values():
                self.features.class_features(teacher.model)
        return TaskFeatures.said(self.features, inputs, step)


def make_trainer(name: str, shape: str, towers: str, folder: Path, **settings):
    """`plain`, `plain-again`, or METHOD-WAY: method `mulki` or `snd`, way `cached`, `images` (too), `live` or
    `research`.
    """
    sizes = SHAPES[shape]
    method, _, way = name.partition("-")
    options = {
        "output_dir": str(folder / name),
        "per_device_train_batch_size": sizes.batch,
        "per_device_eval_batch_size": sizes.batch,
        "train_towers": towers,
        "method": "finetune" if method == "plain" else method,
        "cache_teachers": way in ("cached", "images"),
        "cache_images": way == "images",
        "report_to": "none",
        "save_strategy": "no",
        "logging_strategy": "no",
        "disable_tqdm": True,
        "learning_rate": 1e-6,
        "dataloader_pin_memory": torch.cuda.is_available(),
    }
    args = MulKIConfig(**options | settings)
    task, processor = make_task(sizes), make_processor(shape)
    if method == "plain":
        model = make_model(shape) if args.lora_r is None else add_lora(make_model(shape), args)
        return PlainTrainer(model, args, task, processor)
    if args.lora_r is not None:
        # A later task of a stream: teacher P is the previous adapter.
        if not (folder / "adapter").exists():
            save_adapter(add_lora(make_model(shape), args), folder / "adapter", shape)
        model = add_lora(make_model(shape), args, folder / "adapter")
        return MulKITrainer(model, args, task, processor, earlier_tasks=make_earlier(sizes))
    reference = make_rows(sizes.side, 2 * sizes.images, 2).select_columns(["image"]) if method == "snd" else None
    # Teachers from disk, as in a stream; the previous one has other weights than the original.
    saved = folder / "teacher"
    if not saved.exists():
        make_model(shape).save_pretrained(saved)
        nudged = make_model(shape)
        with torch.no_grad():
            nudged.visual_projection.weight.add_(1e-3)
        nudged.save_pretrained(folder / "previous")
    return (ResearchTrainer if way == "research" else MulKITrainer)(
        make_model(shape),
        args,
        task,
        processor,
        original_model=lambda: load_model(str(saved)),
        previous_model=lambda: load_model(str(folder / "previous")),
        earlier_tasks=make_earlier(sizes),
        reference_dataset=reference,
    )


def make_parser(description: str) -> argparse.ArgumentParser:
    parser = argparse.ArgumentParser(description=description)
    parser.add_argument("--shape", choices=SHAPES, default="clip-nano")
    parser.add_argument("--batch", type=int, help="images a step (default: 8 for vit-b-16, 64 for clip-nano)")
    parser.add_argument("--bf16", action="store_true", help="bf16 autocast")
    parser.add_argument("--gradient_checkpointing", action="store_true")
    return parser


def settings_of(args: argparse.Namespace) -> dict:
    settings = {"bf16": args.bf16, "activation_checkpointing": args.gradient_checkpointing}
    if args.batch:
        settings |= {"per_device_train_batch_size": args.batch, "per_device_eval_batch_size": args.batch}
    return settings


def machine() -> str:
    """What the benchmark runs on."""
    if torch.cuda.is_available():
        return torch.cuda.get_device_name()
    return f"{torch.get_num_threads()} CPU threads"


def scratch() -> tempfile.TemporaryDirectory:
    return tempfile.TemporaryDirectory(prefix="mulki-benchmark-")
