"""Fixtures over what `support` makes."""

import os


# Before any Hugging Face import: the tests must not reach for a hub, and tiny models are fastest on one core.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import pytest
from support.hub import hub_environment, tiny_hub
from support.tiny import save_tiny, stream_writer, tiny_model, tiny_processor, tiny_task
from transformers import CLIPModel, CLIPProcessor

from mulki_hf import MulKIConfig, Task


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


@pytest.fixture
def stream_yaml(tmp_path, tiny_folder):
    """A YAML of two tasks from parquet files; keyword arguments add or replace keys, `None` removes one."""
    return stream_writer(tmp_path, str(tmp_path))


@pytest.fixture
def hub():
    with tiny_hub() as server:
        yield server


@pytest.fixture
def hub_env(hub, tmp_path):
    return hub_environment(hub, tmp_path / "hf-home")
