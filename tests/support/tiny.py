"""A tiny CLIP, tiny tasks and their recipe, made in code."""

from copy import copy, deepcopy
from functools import cache

import numpy as np
import torch
import yaml
from datasets import ClassLabel, Dataset, Features, Image
from PIL import Image as PILImage
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip import CLIPImageProcessorPil

from mulki_hf import Task


COLOURS = {"red": (220, 30, 30), "green": (30, 200, 30), "blue": (30, 30, 220), "white": (240, 240, 240)}
SHAPES = {"stripe": 0, "corner": 1, "frame": 2}


def tiny_tokenizer() -> CLIPTokenizer:
    """Letters, digits and a few signs; special tokens last, as in CLIP."""
    letters = [chr(code) for code in range(33, 127)]
    tokens = [*letters, *(f"{letter}</w>" for letter in letters), "<|startoftext|>", "<|endoftext|>"]
    return CLIPTokenizer(vocab={token: number for number, token in enumerate(tokens)}, merges=[], model_max_length=77)


def tiny_processor() -> CLIPProcessor:
    image_processor = CLIPImageProcessorPil(
        size={"shortest_edge": 16}, crop_size={"height": 16, "width": 16}, image_mean=[0.5] * 3, image_std=[0.5] * 3
    )
    return CLIPProcessor(image_processor=image_processor, tokenizer=tiny_tokenizer())


def tiny_model(seed: int = 0, **text_config) -> CLIPModel:
    """One of its own; random numbers go on behind those of its weights."""
    model, state = _made(seed, *sorted(text_config.items()))
    torch.set_rng_state(state)
    return deepcopy(model)


@cache
def _made(seed: int, *text_config: tuple) -> tuple[CLIPModel, torch.Tensor]:
    tokenizer = tiny_tokenizer()
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = layers | ids | {"pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)} | dict(text_config)
    torch.manual_seed(seed)
    config = CLIPConfig(text_config=text, vision_config=layers | {"image_size": 16, "patch_size": 8}, projection_dim=24)
    return CLIPModel(config), torch.get_rng_state()


def picture(colour: tuple[int, int, int], shape: int, rng: np.random.Generator) -> PILImage.Image:
    pixels = rng.integers(0, 40, (16, 16, 3)).astype(np.uint8)
    if shape == 0:
        pixels[6:10] = colour
    elif shape == 1:
        pixels[:8, :8] = colour
    else:
        pixels[1:15, 1:15] = colour
        pixels[4:12, 4:12] = 0
    return PILImage.fromarray(pixels)


def rows(names: list[str], per_class: int, seed: int) -> Dataset:
    """`per_class` noisy pictures of every class; a name is a colour or a shape."""
    return copy(_drawn(tuple(names), per_class, seed))


@cache
def _drawn(names: tuple[str, ...], per_class: int, seed: int) -> Dataset:
    rng = np.random.default_rng(seed)
    examples = {"image": [], "label": []}
    for _ in range(per_class):
        for label, name in enumerate(names):
            colour = COLOURS.get(name, (200, 200, 60))
            examples["image"].append(picture(colour, SHAPES.get(name, 0), rng))
            examples["label"].append(label)
    return Dataset.from_dict(examples, features=Features({"image": Image(), "label": ClassLabel(names=[*names])}))


def tiny_task(
    name: str = "colours", names: list[str] | None = None, per_class: int = 8, seed: int = 0, **kwargs
) -> Task:
    names = names or list(COLOURS)
    return Task(
        name,
        names,
        kwargs.pop("templates", ["a {}.", "the colour {}"]),
        train=kwargs.pop("train", rows(names, per_class, seed)),
        evaluation=kwargs.pop("evaluation", rows(names, 3, seed + 1)),
        **kwargs,
    )


def save_tiny(folder):
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


def save_tasks(folder):
    """The files of two tasks."""
    for name, names in (("colours", list(COLOURS)), ("shapes", list(SHAPES))):
        for split, per_class, seed in (("train", 8, 0), ("test", 3, 1)):
            rows(names, per_class, seed).to_parquet(folder / f"{name}-{split}.parquet")
    return folder


def stream_writer(folder, place: str, data: str | None = None):
    """Returns what writes a YAML in `folder`: its model and output lie in `place`, its tasks' files in `data`.

    Without `data` the files are made, and lie in `place` too.
    """
    if data is None:
        save_tasks(folder)
        data = place

    def files(name: str) -> dict[str, str]:
        return {split: f"{data}/{name}-{split}.parquet" for split in ("train", "test")}

    def write(**overrides):
        recipe = {
            "model_name_or_path": f"{place}/tiny-clip",
            "tasks": [
                {"name": "colours", "dataset": "parquet", "data_files": files("colours"), "templates": ["a {}."]},
                {"name": "shapes", "dataset": "parquet", "data_files": files("shapes")},
            ],
            "output_dir": f"{place}/out",
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "learning_rate": "1e-3",
            "report_to": "none",
            "save_strategy": "steps",
            "save_steps": 2,
            "use_cpu": True,
            "dataloader_num_workers": 0,
            "disable_tqdm": True,
        }
        recipe = {key: value for key, value in (recipe | overrides).items() if value is not None}
        path = folder / "stream.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write
