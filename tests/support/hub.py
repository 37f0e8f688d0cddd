"""A hub on loopback with three users, and processes that know it: new ones by their environment, and this one."""

import json
import logging
import os
import sys
from contextlib import contextmanager
from importlib.util import module_from_spec
from pathlib import Path
from types import SimpleNamespace

import datasets
import pytest
import torch
from huggingface_hub import constants, hf_api, set_client_factory
from huggingface_hub.utils.tqdm import progress_bar_states
from safetensors.torch import save_file
from support.hub_server import HubServer
from support.tiny import save_tiny, stream_writer


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


def hub_environment(hub: HubServer, home, **variables) -> dict[str, str]:
    """Of a process that knows this hub alone, has the token and starts with an empty cache."""
    gone = {"HF_HUB_OFFLINE", "HF_TOKEN", "HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"}
    env = {name: value for name, value in os.environ.items() if name.upper() not in gone}
    # Xet is a protocol of its own; without it files go the LFS way.
    env |= {"HF_ENDPOINT": hub.url, "HF_HOME": str(home), "HF_TOKEN": SECRET, "HF_HUB_DISABLE_XET": "1"}
    # Weights that torch pickled make transformers ask a Space for others.
    env |= {"DISABLE_SAFETENSORS_CONVERSION": "1"}
    return env | {"NO_PROXY": "127.0.0.1,localhost"} | variables


def anonymous(env: dict[str, str]) -> dict[str, str]:
    """The same without the token."""
    return {name: value for name, value in env.items() if name != "HF_TOKEN"}


@contextmanager
def connected(env: dict[str, str], folder=None):
    """This process as one that was started with `env`, in `folder`: as far as Hugging Face's libraries can tell."""
    http, log = sys.modules["huggingface_hub.utils._http"], logging.getLogger("huggingface_hub.utils._http")
    factory, bars = http._GLOBAL_CLIENT_FACTORY, dict(progress_bar_states)
    with pytest.MonkeyPatch.context() as patch:
        if folder is not None:
            patch.chdir(folder)
        # pytest says there which test runs.
        for name in {*os.environ, *env} - {"PYTEST_CURRENT_TEST"}:
            if name in env:
                patch.setenv(name, env[name])
            else:
                patch.delenv(name)
        for module in (constants, datasets.config):
            for name, value in _constants_of_now(module).items():
                patch.setattr(module, name, value)
        # What others made of them when they were imported, or first used.
        patch.setattr(http, "_HUB_ORIGINS", http._HUB_ORIGINS | {http._url_origin(constants.ENDPOINT)})
        patch.setattr(hf_api.api, "endpoint", constants.ENDPOINT)
        patch.setattr("transformers.utils.hub._hf_api", None)
        # What an outbox sets for its whole process.
        patch.setattr(log, "filters", [])
        set_client_factory(http.default_client_factory)
        try:
            yield
        finally:
            set_client_factory(factory)
            progress_bar_states.clear()
            progress_bar_states.update(bars)


def _constants_of_now(module) -> dict:
    """A library's constants as an import would find them in the environment of this moment."""
    fresh = module_from_spec(module.__spec__)
    module.__spec__.loader.exec_module(fresh)
    return {name: value for name, value in vars(fresh).items() if name.isupper()}


def without_pauses(patch: pytest.MonkeyPatch) -> list[float]:
    """Nobody sleeps between tries, neither here nor in the library; the seconds that were asked for, as they come."""
    asked = []
    clock = SimpleNamespace(sleep=asked.append)
    patch.setattr("tenacity.nap.time", clock)
    patch.setattr(sys.modules["huggingface_hub.utils._http"], "time", clock)
    return asked


def pending_push(place: Path) -> Path:
    """A run in `place/out` with one push that is pending: files of the right names, weights of 3 MB; its folder."""
    folder = place / "out/task1-colours"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# A model\n")
    (folder / "config.json").write_text("{}")
    save_file({"weight": torch.rand(800_000)}, folder / "model.safetensors")
    record = {"folder": "task1-colours", "repo_id": "org/mulki-task1"}
    (place / "out/pushes.json").write_text(json.dumps([record]))
    return folder


@contextmanager
def stream_and_hub(place: Path, **recipe):
    """A stream in `place` with `stream.yaml`, its paths relative, and a hub for it: `hub`, `env`, `place`, `out`."""
    save_tiny(place / "tiny-clip")
    stream_writer(place, ".")(**recipe)
    with tiny_hub() as hub:
        yield SimpleNamespace(hub=hub, env=hub_environment(hub, place / "hf-home"), place=place, out=place / "out")
