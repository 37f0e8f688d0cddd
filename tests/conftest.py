"""Fixtures over what `support` makes."""

import gc
import os
import shutil
from functools import cache as kept
from types import SimpleNamespace


# Before any Hugging Face import: the tests must not reach for a hub, and tiny models are fastest on one core.
os.environ["HF_HUB_OFFLINE"] = "1"
os.environ.setdefault("OMP_NUM_THREADS", "1")

import jinja2
import pytest
from accelerate import Accelerator
from PIL import Image
from support.adapted import LORA
from support.browser import chromium
from support.hub import SECRET, anonymous, connected, hub_environment, stream_and_hub, tiny_hub
from support.launch import train
from support.ranks import two_gloo_ranks
from support.tiny import save_tasks, save_tiny, stream_writer, tiny_model, tiny_processor, tiny_task
from support.training import short_run
from transformers import CLIPModel, CLIPProcessor, PretrainedConfig

from mulki_hf import MulKIConfig, Task
from mulki_hf.data.tables import ArrayCache
from mulki_hf.push import main as push
from mulki_hf.report import checkpoint
from mulki_hf.train import main


@pytest.hookimpl(tryfirst=True)
def pytest_collection_modifyitems(items):
    """With several workers a file stays on one, for its fixtures' sake, unless a mark puts a test elsewhere."""
    for item in items:
        if item.get_closest_marker("xdist_group") is None:
            item.add_marker(pytest.mark.xdist_group(item.path.name))
    # What takes longest comes first, so that no worker waits for it in the end.
    longest = ["ranks", "test_mtil.py", "test_resume.py", "test_nano_mtil.py", "test_appended.py", "test_stream.py"]
    longest += ["test_embedded.py", "test_publish.py", "test_prepare.py", "test_trainer.py", "test_train.py"]
    rank = {name: number for number, name in enumerate(longest)}
    items.sort(key=lambda item: rank.get(item.get_closest_marker("xdist_group").args[0], len(longest)))


def pytest_collection_finish(session):
    """A run collects garbage several times, and most objects belong to libraries: leave those out of it."""
    grouped = getattr(session.config.option, "loadgroup", False)
    assert not grouped or all("@" in item.nodeid for item in session.items), (
        "pytest-xdist groups no tests of this pytest"
    )
    gc.collect()
    gc.freeze()


@pytest.fixture(autouse=True, scope="session")
def repetitions():
    """A tenth of a tiny run is for what nobody reads or what is the same each time.

    `transformers` writes a configuration out for logs that are off, and jinja compiles the template of each card.
    """
    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(PretrainedConfig, "__repr__", object.__repr__)
        patch.setattr(jinja2, "Template", kept(jinja2.Template))
        yield


@pytest.fixture(autouse=True)
def pictures(request, monkeypatch):
    """Drawing is a third of a tiny run; where nobody looks at pictures they are a pixel each."""
    if "pictures" in request.keywords:
        return

    def draw(results, folder):
        for name in checkpoint.picture_names(results.protocols):
            Image.new("RGB", (1, 1)).save(folder / name)

    monkeypatch.setattr("mulki_hf.stream.draw", draw)
    monkeypatch.setattr("mulki_hf.measuring.draw", draw)
    monkeypatch.setattr("mulki_hf.report.checkpoint.draw", draw)


@pytest.fixture(autouse=True)
def no_waiting_for_disks(request, monkeypatch):
    """A power cut is a fault of those tests alone that have a mark of it: a tiny run syncs some hundred files."""
    if "durable" not in request.keywords:
        monkeypatch.setattr(os, "fsync", lambda descriptor: None)


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
        return short_run(**{"output_dir": tmp_path / "trainer"} | overrides)

    return make


@pytest.fixture
def cache(tmp_path):
    return ArrayCache(tmp_path / "cache", Accelerator(cpu=True), batch_size=4)


@pytest.fixture(scope="session")
def tasks_files(tmp_path_factory):
    """The files of two tasks, to be read alone: `datasets` prepares them once."""
    return save_tasks(tmp_path_factory.mktemp("tasks"))


@pytest.fixture(scope="session")
def tiny_files(tmp_path_factory):
    return save_tiny(tmp_path_factory.mktemp("tiny") / "tiny-clip")


@pytest.fixture
def tiny_folder(tmp_path, tiny_files):
    """A tiny CLIP and its processor on disk."""
    return shutil.copytree(tiny_files, tmp_path / "tiny-clip")


@pytest.fixture
def stream_yaml(tmp_path, tiny_folder, tasks_files):
    """Writes a YAML of two tasks from parquet files; keyword arguments add or replace keys, `None` removes one."""
    return stream_writer(tmp_path, str(tmp_path), str(tasks_files))


@pytest.fixture(scope="session")
def finished(tmp_path_factory, tasks_files):
    """The folder of a finished run with its pictures, beside its `stream.yaml`; to be read alone."""
    folder = tmp_path_factory.mktemp("finished")
    save_tiny(folder / "tiny-clip")
    main(["--config", str(stream_writer(folder, str(folder), str(tasks_files))())])
    return folder / "out"


@pytest.fixture(scope="session")
def on_two_ranks(tmp_path_factory):
    """Calls a function on two gloo ranks, which are started once for all tests; those belong to the group `ranks`."""
    with two_gloo_ranks(tmp_path_factory.mktemp("ranks")) as ranks:
        yield ranks


@pytest.fixture
def own_copy(finished, tmp_path):
    """Of the finished run, to be written to; with the options that mean it."""
    shutil.copytree(finished, tmp_path / "copy")
    return tmp_path / "copy", ["--config", str(finished.parent / "stream.yaml"), "--output_dir", str(tmp_path / "copy")]


@pytest.fixture
def hub():
    with tiny_hub() as server:
        yield server


@pytest.fixture
def hub_env(hub, tmp_path):
    return hub_environment(hub, tmp_path / "hf-home")


@pytest.fixture
def stream(tmp_path):
    """A stream that was not learned yet, and a hub for it."""
    with stream_and_hub(tmp_path) as stream:
        yield stream


@pytest.fixture(scope="session")
def published(tmp_path_factory):
    """A stream of two tasks on the Hub, to be read alone: pushed by the command, with the token among its options."""
    with stream_and_hub(tmp_path_factory.mktemp("published")) as stream:
        options = ["--push_to_hub", "--hub_model_id", "org/mulki", "--hub_collection", "Tiny stream"]
        options += ["--hub_token", SECRET, "--license", "mit", "--report_to", "tensorboard"]
        stream.done = train(*options, env=anonymous(stream.env), cwd=stream.place)
        yield stream


@pytest.fixture(scope="session")
def pushed(tmp_path_factory, finished):
    """The finished run, on disk in `out` and on a Hub, to be read alone."""
    place = tmp_path_factory.mktemp("pushed")
    shutil.copytree(finished, place / "out")
    with tiny_hub() as hub:
        env = hub_environment(hub, place / "hf-home")
        with connected(env, place):
            push(["out", "--hub_model_id", "org/mulki"])
        yield SimpleNamespace(hub=hub, env=env, place=place, out=place / "out")


@pytest.fixture(scope="session")
def published_lora(tmp_path_factory):
    """The same with adapters beside the models, pushed by this process."""
    with stream_and_hub(tmp_path_factory.mktemp("published-lora"), **LORA) as stream:
        with connected(stream.env, stream.place):
            main(["--config", "stream.yaml", "--push_to_hub", "--hub_model_id", "org/mulki"])
        yield stream


@pytest.fixture(scope="module")
def chromium_started():
    with chromium() as browser:
        yield browser


@pytest.fixture
def browser(chromium_started):
    """A headless Chromium (`open` shows a page in it); a test is skipped where none is installed."""
    yield chromium_started
    chromium_started.close()


@pytest.fixture
def finished_task(published, tmp_path):
    """A folder with the run of a trained task that was never pushed."""
    shutil.copytree(published.out / "task1-colours", tmp_path / "out/task1-colours")
    return tmp_path
