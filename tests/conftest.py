"""A tiny CLIP and tiny tasks, made in code."""

import os
from contextlib import contextmanager


# Before any Hugging Face import: the tests must not reach for a hub, and tiny models are fastest on one core.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import numpy as np
import pytest
import torch
import yaml
from datasets import ClassLabel, Dataset, Features, Image
from hub_server import HubServer
from PIL import Image as PILImage
from transformers import CLIPConfig, CLIPModel, CLIPProcessor, CLIPTokenizer
from transformers.models.clip import CLIPImageProcessorPil

from mulki_hf import MulKIConfig, Task


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
    tokenizer = tiny_tokenizer()
    layers = {"hidden_size": 32, "intermediate_size": 64, "num_hidden_layers": 2, "num_attention_heads": 2}
    ids = {"bos_token_id": tokenizer.bos_token_id, "eos_token_id": tokenizer.eos_token_id}
    text = layers | ids | {"pad_token_id": tokenizer.pad_token_id, "vocab_size": len(tokenizer)} | text_config
    torch.manual_seed(seed)
    return CLIPModel(
        CLIPConfig(text_config=text, vision_config=layers | {"image_size": 16, "patch_size": 8}, projection_dim=24)
    )


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
    rng = np.random.default_rng(seed)
    examples = {"image": [], "label": []}
    for _ in range(per_class):
        for label, name in enumerate(names):
            colour = COLOURS.get(name, (200, 200, 60))
            examples["image"].append(picture(colour, SHAPES.get(name, 0), rng))
            examples["label"].append(label)
    return Dataset.from_dict(examples, features=Features({"image": Image(), "label": ClassLabel(names=names)}))


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


@pytest.fixture
def processor() -> CLIPProcessor:
    return tiny_processor()


@pytest.fixture
def model() -> CLIPModel:
    return tiny_model()


@pytest.fixture
def task() -> Task:
    return tiny_task()


@pytest.fixture
def make_args(tmp_path):
    """`MulKIConfig` of a short CPU run; keyword arguments override."""

    def make(**overrides) -> MulKIConfig:
        settings = {
            "output_dir": str(tmp_path / "trainer"),
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "learning_rate": 1e-3,
            "report_to": "none",
            "save_strategy": "no",
            "use_cpu": True,
            "disable_tqdm": True,
            "dataloader_pin_memory": False,
            "logging_steps": 2,
        }
        return MulKIConfig(**settings | overrides)

    return make


@pytest.fixture
def tiny_folder(tmp_path):
    """A tiny CLIP and its processor on disk."""
    return save_tiny(tmp_path / "tiny-clip")


def save_tiny(folder):
    tiny_model().save_pretrained(folder)
    tiny_processor().save_pretrained(folder)
    return folder


@pytest.fixture
def stream_yaml(tmp_path, tiny_folder):
    """A YAML of two tasks from parquet files; keyword arguments add or replace keys, `None` removes one."""
    return stream_writer(tmp_path, str(tmp_path))


def stream_writer(folder, data: str):
    """Makes the tasks' files in `folder`, and returns what writes a YAML that calls the folder `data`."""
    for name, names in (("colours", list(COLOURS)), ("shapes", list(SHAPES))):
        for split, per_class, seed in (("train", 8, 0), ("test", 3, 1)):
            rows(names, per_class, seed).to_parquet(folder / f"{name}-{split}.parquet")

    def files(name: str) -> dict[str, str]:
        return {split: f"{data}/{name}-{split}.parquet" for split in ("train", "test")}

    def write(**overrides):
        recipe = {
            "model_name_or_path": f"{data}/tiny-clip",
            "tasks": [
                {"name": "colours", "dataset": "parquet", "data_files": files("colours"), "templates": ["a {}."]},
                {"name": "shapes", "dataset": "parquet", "data_files": files("shapes")},
            ],
            "output_dir": f"{data}/out",
            "max_steps": 4,
            "per_device_train_batch_size": 8,
            "learning_rate": "1e-3",
            "report_to": "none",
            "save_strategy": "steps",
            "save_steps": 2,
            "use_cpu": True,
            "disable_tqdm": True,
        }
        recipe = {key: value for key, value in (recipe | overrides).items() if value is not None}
        path = folder / "stream.yaml"
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write


SECRET = "hf_SecretOfTheTestsThatMustNotLeak"


@contextmanager
def tiny_hub():
    """A hub on loopback: `ann` writes to `ann` and `org`, `bob` has a token that only reads, `eve` is somebody else."""
    users = {
        SECRET: {"name": "ann", "writes": ["ann", "org"]},
        "hf_reader": {"name": "bob", "writes": ["bob"], "role": "read"},
        "hf_stranger": {"name": "eve", "writes": ["eve"]},
    }
    with HubServer(users) as server:
        yield server


@pytest.fixture
def hub():
    with tiny_hub() as server:
        yield server


def hub_environment(hub: HubServer, home, **variables) -> dict[str, str]:
    """Of a subprocess that knows this hub alone, has the token and starts with an empty cache."""
    gone = {"HF_HUB_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
    env = {name: value for name, value in os.environ.items() if name.upper() not in gone}
    # Xet is a protocol of its own; without it files go the LFS way.
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": SECRET, "HF_HUB_DISABLE_XET": "1"}
    return env | {"NO_PROXY": "127.0.0.1,localhost"} | variables


@pytest.fixture
def hub_env(hub, tmp_path):
    return hub_environment(hub, tmp_path / "hf-home")
