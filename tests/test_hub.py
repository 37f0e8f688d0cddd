"""Publishing and taking up streams as users do: in subprocesses, through a hub on loopback, from an empty cache."""

import json
import re
import shutil
import socket
import subprocess
import sys
import time
from getpass import getuser
from pathlib import Path
from types import SimpleNamespace

import httpx2
import pytest
import torch
from huggingface_hub.errors import HfHubHTTPError
from safetensors.torch import load_file, save_file
from support.hub import SECRET, hub_environment, tiny_hub
from support.hub_server import Fault
from support.tiny import save_tiny, stream_writer

from mulki_hf.hub.faults import explain, may_pass


def run(*words, env, cwd, status: int = 0) -> subprocess.CompletedProcess:
    done = subprocess.run([*map(str, words)], capture_output=True, text=True, timeout=240, env=env, cwd=cwd)
    assert done.returncode == status, done.stdout + done.stderr
    return done


def train(*options, **kwargs):
    return run(sys.executable, "-m", "mulki_hf.train", "--config", "stream.yaml", *options, **kwargs)


def push(*options, **kwargs):
    return run(sys.executable, "-m", "mulki_hf.push", *options, **kwargs)


def python(script: str, **kwargs):
    return run(sys.executable, "-c", script, **kwargs)


@pytest.fixture(scope="module")
def published(tmp_path_factory):
    """A stream of two tasks, trained and pushed with the token on the command line; `place` is where it happened."""
    place = tmp_path_factory.mktemp("published")
    save_tiny(place / "tiny-clip")
    stream_writer(place, ".")()
    with tiny_hub() as hub:
        env = hub_environment(hub, place / "hf-home")
        options = ["--push_to_hub", "--hub_model_id", "org/mulki", "--hub_collection", "Tiny stream"]
        options += ["--hub_token", SECRET, "--license", "mit", "--report_to", "tensorboard"]
        done = train(*options, env={k: v for k, v in env.items() if k != "HF_TOKEN"}, cwd=place)
        yield SimpleNamespace(hub=hub, env=env, place=place, out=place / "out", done=done)


class TestPublished:
    def test_one_commit_and_one_tag_each(self, published):
        for task in ("task1-colours", "task2-shapes"):
            repository = published.hub.repositories[f"org/mulki-{task.partition('-')[0]}"]
            assert repository.made() == [f"Model after {task}"]
            assert repository.tags == {"v1": repository.branches["main"]}
        (collection,) = published.hub.collections.values()
        assert [item["id"] for item in collection["items"]] == ["org/mulki-task1", "org/mulki-task2"]

    def test_the_run_says_where(self, published):
        assert f"task2-shapes: {published.hub.url}/org/mulki-task2 (v1)" in published.done.stdout

    def test_every_file_of_the_checkpoint(self, published):
        for number, task in ((1, "task1-colours"), (2, "task2-shapes")):
            pushed = published.hub.files(f"org/mulki-task{number}")
            local = {path.name: path.read_bytes() for path in (published.out / task).iterdir()}
            assert {name: content for name, content in pushed.items() if name != ".gitattributes"} == local
            assert {"README.md", "results.json", "recipe.yaml", "prototypes.safetensors", "curves.png"} <= set(local)
            assert len(json.loads(pushed["results.json"])["accuracy"]) == number

    def test_loads_from_the_hub_bit_for_bit(self, published, tmp_path):
        script = """
import sys, torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, CLIPModel, pipeline
image = Image.radial_gradient("L").convert("RGB")
for number, source in ((1, sys.argv[1]), (2, sys.argv[2])):
    model, processor = CLIPModel.from_pretrained(source), AutoProcessor.from_pretrained(source)
    inputs = processor(text=["a red.", "a frame."], images=image, return_tensors="pt", padding=True)
    with torch.no_grad():
        save_file({"logits": model(**inputs).logits_per_image}, f"{sys.argv[3]}-{number}.safetensors")
    classifier = pipeline("zero-shot-image-classification", model=source)
    print(sorted(answer["label"] for answer in classifier(image, candidate_labels=["red", "frame"])))
"""
        logits = {}
        for name, sources in (
            ("hub", ["org/mulki-task1", "org/mulki-task2"]),
            ("local", ["out/task1-colours", "out/task2-shapes"]),
        ):
            words = [sys.executable, "-c", script, *sources, tmp_path / name]
            done = run(*words, env=published.env | {"HF_HOME": str(tmp_path / "home")}, cwd=published.place)
            assert done.stdout.splitlines() == ["['frame', 'red']"] * 2
            logits[name] = [load_file(tmp_path / f"{name}-{n}.safetensors")["logits"] for n in (1, 2)]
        assert all(torch.equal(*pair) for pair in zip(logits["hub"], logits["local"], strict=True))
        assert not torch.equal(*logits["hub"])

    def test_the_snippets_of_the_card_run(self, published, tmp_path):
        card = published.hub.files("org/mulki-task2")["README.md"].decode()
        snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        assert len(snippets) == 2
        env = published.env | {"HF_HOME": str(tmp_path / "home")}
        done = python("\n".join(snippets), env=env, cwd=tmp_path)
        assert done.stdout.count("'label'") == 3
        assert "tensor([[" in done.stdout

    def test_the_token_is_nowhere_but_in_the_header(self, published):
        secret = SECRET.encode()
        files = [path for path in published.place.rglob("*") if path.is_file()]
        assert any("tfevents" in path.name for path in files)
        assert [path for path in files if secret in path.read_bytes()] == []
        assert SECRET not in published.done.stdout + published.done.stderr
        assert published.hub.requests
        for request in published.hub.requests:
            assert secret not in request.body and SECRET not in request.path
            for name, value in request.headers.items():
                assert SECRET not in value or (name.lower() == "authorization" and "lfs-storage" not in request.path)

    def test_nothing_of_the_machine_leaves_it(self, published):
        folders = [str(published.place), f"{Path.home()}/", f"/{getuser()}/", "pytest-of"]
        names = re.compile(rf"\b({re.escape(getuser())}|{re.escape(socket.gethostname())})\b".encode())
        for number in (1, 2):
            for name, content in published.hub.files(f"org/mulki-task{number}").items():
                assert not [word for word in folders if word.encode() in content], name
                assert name.endswith((".png", ".safetensors")) or not names.search(content), name

    def test_pushing_again_makes_no_second_commit(self, published, tmp_path):
        shutil.copytree(published.out, tmp_path / "out")
        before = len(published.hub.requests)
        push("out", env=published.env, cwd=tmp_path)
        assert len(published.hub.requests) == before
        # The record is lost: everything is looked at again, nothing is changed.
        record = tmp_path / "out" / "pushes.json"
        pushes = json.loads(record.read_text())
        record.write_text(json.dumps([entry | {"commit": None, "tag": None} for entry in pushes]))
        done = push("out", env=published.env, cwd=tmp_path)
        assert done.stdout.count("(v1)") == 2
        for number in (1, 2):
            repository = published.hub.repositories[f"org/mulki-task{number}"]
            assert (len(repository.made()), list(repository.tags)) == (1, ["v1"])
        assert json.loads(record.read_text()) == pushes

    def test_a_run_that_was_not_pushed(self, published, tmp_path):
        shutil.copytree(published.out, tmp_path / "out")
        (tmp_path / "out" / "pushes.json").unlink()
        done = push("out", env=published.env, cwd=tmp_path, status=1)
        assert "records no push; give --hub_model_id" in done.stderr
        push("out", "--hub_model_id", "late", "--hub_private_repo", env=published.env, cwd=tmp_path)
        repository = published.hub.repositories["ann/late-task2"]
        assert repository.private and repository.made() == ["Model after task2-shapes"]
        assert 'model="ann/late-task2"' in published.hub.files("ann/late-task2")["README.md"].decode()
        # Private: nobody without the token sees it.
        script = "import sys; from transformers import CLIPModel; CLIPModel.from_pretrained('ann/late-task2')"
        env = published.env | {"HF_HOME": str(tmp_path / "home")}
        python(script, env=env, cwd=tmp_path)
        anonymous = {k: v for k, v in env.items() if k != "HF_TOKEN"} | {"HF_HOME": str(tmp_path / "empty")}
        python(script, env=anonymous, cwd=tmp_path, status=1)


class TestTakenUp:
    def test_a_recipe_of_the_hub_says_only_what_is_learned(self, published, tmp_path):
        """It can neither choose folders, nor delete, nor publish."""
        shutil.copytree(published.out / "task1-colours", tmp_path / "out/task1-colours")
        with (tmp_path / "out/task1-colours/recipe.yaml").open("a") as recipe:
            recipe.write("output_dir: precious\noverwrite: true\npush_to_hub: true\n")
        env = published.env | {"HF_HOME": str(tmp_path / "home")}
        push("out", "--hub_model_id", "org/evil", env=env, cwd=tmp_path)
        words = ["-m", "mulki_hf.train", "--resume_from_hub", "org/evil-task1", "--output_dir", tmp_path / "new"]
        done = run(sys.executable, *words, env=env, cwd=published.place, status=1)
        assert "org/evil-task1: unknown key 'output_dir'" in done.stderr

    @pytest.mark.parametrize("config", [True, False], ids=["own recipe", "recipe of the hub"])
    def test_equals_the_uninterrupted_run(self, published, tmp_path, config):
        words = ["--config", "stream.yaml"] if config else ["--use_cpu", "true"]
        words += ["--resume_from_hub", "org/mulki-task1@v1", "--output_dir", tmp_path / "out"]
        done = run(sys.executable, "-m", "mulki_hf.train", *words, env=published.env, cwd=published.place)
        assert "task 1/2" not in done.stdout
        whole, resumed = (json.loads((out / "results.json").read_text()) for out in (published.out, tmp_path / "out"))
        for part in ("zero_shot", "accuracy", "metrics"):
            assert whole[part] == resumed[part]
        for name in ("model", "prototypes"):
            files = [out / f"task2-shapes/{name}.safetensors" for out in (published.out, tmp_path / "out")]
            assert files[0].read_bytes() == files[1].read_bytes()
        # The checkpoint that it started from is there, and not pushed as its own.
        assert load_file(tmp_path / "out/task1-colours/model.safetensors")
        (record,) = json.loads((tmp_path / "out/pushes.json").read_text())
        assert (record["folder"], record["repo_id"]) == ("task1-colours", "org/mulki-task1")

    def test_absolute_paths_of_another_machine(self, published, tmp_path):
        """The recipe on the Hub knows file names only; a recipe with this machine's folders goes on with it."""
        content = (published.place / "stream.yaml").read_text().replace("./", f"{published.place}/")
        (tmp_path / "stream.yaml").write_text(content)
        options = ["--resume_from_hub", "org/mulki-task1", "--output_dir", "out"]
        done = train(*options, env=published.env, cwd=tmp_path, status=1)
        assert "resume_from_hub: model_name_or_path was './tiny-clip' and is now" in done.stderr

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["--resume_from_hub", "org/mulki-task2"], "2 of the stream's 2 tasks are learned there"),
            (["--resume_from_hub", "org/nothing"], r"resume_from_hub 'org/nothing': .*Repository ?Not ?Found"),
            (["--resume_from_hub", "org/mulki-task1@v9"], r"Revision ?Not ?Found"),
            (
                ["--resume_from_hub", "org/mulki-task1", "--learning_rate", "1"],
                "learning_rate was 0.001 and is now 1.0",
            ),
        ],
    )
    def test_refusals(self, published, tmp_path, options, message):
        done = train(*options, "--output_dir", tmp_path / "out", env=published.env, cwd=published.place, status=1)
        assert re.search(message, done.stderr), done.stderr
        assert not (tmp_path / "out").exists()


@pytest.fixture
def waiting(tmp_path):
    """A run's folder with one pending push; the checkpoint is of the right names and a weight file of 3 MB."""
    folder = tmp_path / "out" / "task1-colours"
    folder.mkdir(parents=True)
    (folder / "README.md").write_text("---\nlibrary_name: transformers\n---\n# A model\n")
    (folder / "config.json").write_text("{}")
    save_file({"weight": torch.rand(800_000)}, folder / "model.safetensors")
    record = {"folder": "task1-colours", "repo_id": "org/mulki-task1"}
    (tmp_path / "out" / "pushes.json").write_text(json.dumps([record]))
    return tmp_path


@pytest.fixture
def repository(hub, hub_env, tmp_path):
    script = "from huggingface_hub import HfApi; HfApi().create_repo('org/mulki-task1')"
    python(script, env=hub_env, cwd=tmp_path)
    return hub.repositories["org/mulki-task1"]


COMMIT, STORE = r"/commit/main", r"/lfs-storage/"


class TestFaults:
    @pytest.mark.parametrize(
        "fault",
        [
            Fault("POST", COMMIT, times=2, status=503),
            Fault("POST", COMMIT, status=500),
            Fault("POST", COMMIT, reset_after=100),
            Fault("POST", COMMIT, lose_answer=True),
            Fault("POST", COMMIT, delay=3.0),
            Fault("POST", "/preupload/", status=502),
            Fault("PUT", STORE, status=500),
            Fault("PUT", STORE, reset_after=1_000_000),
            Fault("PUT", STORE, delay=3.0),
            Fault("POST", "/tag/", status=503),
            Fault("POST", "/tag/", lose_answer=True),
            Fault("GET", "/refs", status=504),
            Fault("POST", "/validate-yaml", status=503),
        ],
        ids=lambda fault: f"{fault.path.strip('/')}-{fault.status or [f for f, v in vars(fault).items() if v][-1]}",
    )
    def test_that_passes_is_survived(self, hub, hub_env, repository, waiting, fault):
        hub.faults.append(fault)
        push("out", "--hub_timeout", "1", env=hub_env, cwd=waiting)
        assert fault.times == 0
        assert repository.made() == ["Model after task1-colours"]
        assert repository.tags == {"v1": repository.branches["main"]}
        expected = (waiting / "out/task1-colours/model.safetensors").read_bytes()
        assert hub.files("org/mulki-task1")["model.safetensors"] == expected

    @pytest.mark.parametrize("path", [COMMIT, "/preupload/"])
    def test_retry_after_is_kept(self, hub, hub_env, repository, waiting, path):
        hub.faults.append(Fault("POST", path, status=429, headers={"Retry_After": "3"}))
        push("out", env=hub_env, cwd=waiting)
        first, second = hub.seen("POST", path)[:2]
        assert second.began - first.began >= 3
        assert len(repository.made()) == 1

    def test_the_hubs_own_rate_limit_is_kept(self, hub, hub_env, repository, waiting):
        hub.faults.append(Fault("POST", COMMIT, status=429, headers={"RateLimit": '"api";r=0;t=2'}))
        push("out", env=hub_env, cwd=waiting)
        first, second = hub.seen("POST", COMMIT)[:2]
        assert second.began - first.began >= 3
        assert len(repository.made()) == 1

    def test_a_changed_checkpoint_is_the_next_version(self, hub, hub_env, repository, waiting):
        record = waiting / "out/pushes.json"
        for _ in range(2):
            (entry,) = json.loads(record.read_text())
            record.write_text(json.dumps([entry | {"commit": None}]))
            push("out", env=hub_env, cwd=waiting)
            with (waiting / "out/task1-colours/README.md").open("a") as card:
                card.write("\nA line more.\n")
        assert repository.tags["v2"] == repository.branches["main"] != repository.tags["v1"]

    def test_a_file_with_the_token_is_not_uploaded(self, hub, hub_env, repository, waiting):
        (waiting / "out/task1-colours/notes.txt").write_text(f"my token is {SECRET}")
        done = push("out", env=hub_env, cwd=waiting, status=1)
        assert "notes.txt holds the token; nothing was uploaded" in done.stdout
        assert repository.made() == [] and not any(SECRET.encode() in request.body for request in hub.requests)

    def test_a_server_that_stalls_after_it_was_gone(self, hub_env, waiting):
        """The library makes its client anew after a refused connection; the time-out must hold for that one too."""
        with socket.socket() as listener:
            listener.bind(("127.0.0.1", 0))
            listener.listen()
            script = """
import sys
from huggingface_hub import constants
from huggingface_hub.utils import http_backoff
from mulki_hf.hub.outbox import Outbox
Outbox("out", timeout=1)
for url in ("http://127.0.0.1:9", sys.argv[1]):
    try:
        http_backoff("GET", url, max_retries=0)
    except Exception as error:
        print(type(error).__name__)
"""
            address = f"http://127.0.0.1:{listener.getsockname()[1]}"
            done = run(sys.executable, "-c", script, address, env=hub_env, cwd=waiting)
        assert done.stdout.split() == ["ConnectError", "ReadTimeout"]

    def test_offline_is_not_waited_for(self, hub_env, waiting):
        began = time.monotonic()
        done = push("out", env=hub_env | {"HF_HUB_OFFLINE": "1"}, cwd=waiting, status=1)
        assert "HF_HUB_OFFLINE is set" in done.stdout and time.monotonic() - began < 20
        assert "next try" not in done.stderr

    def test_that_stays_leaves_the_push_pending(self, hub, hub_env, repository, waiting):
        hub.faults.append(Fault("POST", COMMIT, times=2, status=503))
        done = push("out", "--hub_retries", "1", env=hub_env, cwd=waiting, status=1)
        assert done.stderr.splitlines()[-1].startswith("error: 1 of 1 pushes pending")
        assert "python -m mulki_hf.push out" in done.stderr
        assert SECRET not in done.stdout + done.stderr
        (entry,) = json.loads((waiting / "out/pushes.json").read_text())
        assert entry["commit"] is None and "503" in entry["error"]
        assert repository.made() == []
        for _ in range(2):
            done = push("out", env=hub_env, cwd=waiting)
            assert "(v1)" in done.stdout
        assert len(repository.made()) == 1

    def test_errors_that_the_library_wraps(self):
        request = httpx2.Request("PUT", "http://127.0.0.1/lfs-storage/1?X-Amz-Signature=signed")
        for status, passes in ((500, True), (403, False)):
            answer = httpx2.Response(status, request=request)
            wrapped = RuntimeError("Error while uploading 'model.safetensors' to the Hub.")
            wrapped.__cause__ = HfHubHTTPError(f"{status} Error for url: {request.url}", response=answer)
            assert may_pass(wrapped) is passes
            assert str(status) in explain(wrapped, "org/mulki") and "signed" not in explain(wrapped, "org/mulki")
        assert may_pass(httpx2.ReadTimeout("")) and not may_pass(ValueError())

    def test_signatures_of_storage_are_not_recorded(self, hub, hub_env, repository, waiting):
        hub.faults.append(Fault("PUT", STORE, status=403))
        hub.faults.append(Fault("PUT", STORE, status=500))
        hub.faults.reverse()
        done = push("out", env=hub_env, cwd=waiting, status=1)
        (entry,) = json.loads((waiting / "out/pushes.json").read_text())
        assert "403" in entry["error"] and "signed" not in entry["error"]
        assert "lfs-storage" in done.stderr and "signed" not in done.stderr

    def test_training_does_not_wait(self, hub, hub_env, repository, waiting):
        hub.faults.append(Fault("POST", COMMIT, delay=3.0))
        script = """
import time
from mulki_hf.hub.outbox import Outbox
outbox = Outbox("out")
began = time.monotonic()
for push in outbox.pending:
    outbox.send_in_background(push)
print(time.monotonic() - began)
outbox.wait()
print(time.monotonic() - began)
outbox.raise_for_pending()
"""
        started, finished = map(float, python(script, env=hub_env, cwd=waiting).stdout.split())
        assert started < 1 and finished >= 3

    def test_training_goes_on(self, hub, tmp_path):
        save_tiny(tmp_path / "tiny-clip")
        stream_writer(tmp_path, ".")()
        env = hub_environment(hub, tmp_path / "hf-home")
        hub.faults.append(Fault("POST", "task1/commit/main", times=99, status=500))
        options = ["--push_to_hub", "--hub_model_id", "org/mulki", "--hub_retries", "0"]
        done = train(*options, env=env, cwd=tmp_path, status=1)
        assert done.stderr.splitlines()[-1] == (
            "error: 1 of 2 pushes pending (the checkpoints are complete on disk); "
            "send with: python -m mulki_hf.push out"
        )
        assert json.loads((tmp_path / "out/results.json").read_text())["metrics"]
        assert (tmp_path / "out/task1-colours/model.safetensors").is_file()
        assert hub.repositories["org/mulki-task1"].made() == []
        assert hub.repositories["org/mulki-task2"].made() == ["Model after task2-shapes"]
        # The resumed run, which has nothing to train, sends it too.
        hub.faults.clear()
        train("--resume", *options, env=env, cwd=tmp_path)
        assert hub.repositories["org/mulki-task1"].made() == ["Model after task1-colours"]
        # And what was learned before --push_to_hub was given.
        (tmp_path / "out/pushes.json").unlink()
        options[2] = "ann/late"
        train("--resume", *options, "--license", "mit", env=env, cwd=tmp_path)
        for number in (1, 2):
            card = hub.files(f"ann/late-task{number}")["README.md"].decode()
            assert f'"ann/late-task{number}"' in card
        assert len(hub.repositories["org/mulki-task2"].made()) == 1


@pytest.fixture
def finished_task(published, tmp_path):
    """A folder with a trained task that was never pushed."""
    shutil.copytree(published.out / "task1-colours", tmp_path / "out/task1-colours")
    return tmp_path


def test_a_crash_sends_what_is_under_way_and_says_what_is_pending(hub, tmp_path):
    save_tiny(tmp_path / "tiny-clip")
    stream_writer(tmp_path, ".")()
    env = hub_environment(hub, tmp_path / "hf-home")
    script = """
from mulki_hf import train
from mulki_hf.trainer import MulKITrainer
learn = MulKITrainer.train
def crash(self, **kwargs):
    if self.task.name == "shapes":
        raise OSError("disk full")
    return learn(self, **kwargs)
MulKITrainer.train = crash
train.main(["--config", "stream.yaml", "--push_to_hub", "--hub_model_id", "org/mulki", "--hub_retries", RETRIES])
"""
    for retries in (0, 1):
        hub.faults = [Fault("POST", COMMIT, status=503)]
        done = python(script.replace("RETRIES", f'"{retries}", "--overwrite"'), env=env, cwd=tmp_path, status=1)
        assert "disk full" in done.stderr
        assert ("1 of 1 pushes pending" in done.stdout) == (retries == 0)
        assert len(hub.repositories["org/mulki-task1"].made()) == retries


class TestBeforeTraining:
    @pytest.mark.parametrize(
        ("token", "model_id", "message"),
        [
            (None, "org/mulki", "no token: run `hf auth login`, set HF_TOKEN"),
            ("hf_invalid", "org/mulki", r"not valid here \(401\)"),
            ("hf_reader", "bob/mulki", "the token of 'bob' only allows to read"),
            ("hf_stranger", "org/mulki", r"does not allow this \(403\)"),
            (SECRET, "org/mulki--x", "makes no legal repository name"),
            (SECRET, "org/" + 100 * "a", "makes no legal repository name"),
            (SECRET, "org/mulki --license Apache-2", "must be one of"),
        ],
    )
    def test_what_a_person_can_mend(self, hub, hub_env, finished_task, token, model_id, message):
        env = {name: value for name, value in hub_env.items() if name != "HF_TOKEN"}
        if token:
            env["HF_TOKEN"] = token
        done = push("out", "--hub_model_id", *model_id.split(), env=env, cwd=finished_task, status=1)
        assert re.search(message, done.stderr), done.stderr
        assert "Traceback" not in done.stderr and (not token or token not in done.stderr)
        assert not any(repository.made() for repository in hub.repositories.values())

    def test_somebody_elses_repository(self, hub, hub_env, repository, finished_task):
        env = hub_env | {"HF_TOKEN": "hf_stranger"}
        done = push("out", "--hub_model_id", "org/mulki", env=env, cwd=finished_task, status=1)
        assert "does not allow this (403)" in done.stderr

    def test_offline(self, hub_env, finished_task):
        env = hub_env | {"HF_HUB_OFFLINE": "1"}
        done = push("out", "--hub_model_id", "org/mulki", env=env, cwd=finished_task, status=1)
        assert "HF_HUB_OFFLINE is set" in done.stderr

    def test_no_hub_there(self, hub_env, finished_task):
        env = hub_env | {"HF_ENDPOINT": "http://127.0.0.1:9"}
        options = ["--hub_model_id", "org/mulki", "--hub_retries", "1"]
        done = push("out", *options, env=env, cwd=finished_task, status=1)
        assert "can't reach http://127.0.0.1:9" in done.stderr

    @pytest.mark.parametrize(
        ("options", "message"),
        [
            (["elsewhere"], "'elsewhere' is no folder"),
            (["out", "--hub_collection", "x"], "give --hub_model_id too"),
            (["out", "--hub_model_id", "org/m", "--hub_retries", "-1"], "hub_retries must be >= 0"),
        ],
    )
    def test_options_of_push(self, hub_env, finished_task, options, message):
        assert message in push(*options, env=hub_env, cwd=finished_task, status=1).stderr

    def test_nothing_is_trained_in_vain(self, hub, tmp_path):
        save_tiny(tmp_path / "tiny-clip")
        stream_writer(tmp_path, ".")()
        env = hub_environment(hub, tmp_path / "hf-home", HF_TOKEN="hf_stranger")
        done = train("--push_to_hub", "--hub_model_id", "org/mulki", env=env, cwd=tmp_path, status=1)
        assert done.stderr.splitlines()[-1].startswith("error: push_to_hub: hub_model_id 'org/mulki'")
        assert not (tmp_path / "out").exists()

    def test_branch(self, hub, hub_env, finished_task):
        options = ["--hub_model_id", "org/mulki", "--hub_revision", "trial"]
        push("out", *options, env=hub_env, cwd=finished_task)
        repository = hub.repositories["org/mulki-task1"]
        assert "model.safetensors" in repository.resolve("trial").files
        assert "model.safetensors" not in repository.resolve("main").files
        assert repository.tags == {"v1": repository.branches["trial"]}


def test_two_ranks_make_one_commit(hub, tmp_path):
    save_tiny(tmp_path / "tiny-clip")
    stream_writer(tmp_path, ".")()
    env = hub_environment(hub, tmp_path / "hf-home")
    words = [sys.executable, "-m", "accelerate.commands.launch", "--multi_gpu", "--num_processes", "2"]
    words += ["--num_machines", "1", "--mixed_precision", "no", "--dynamo_backend", "no", "--main_process_port", "0"]
    words += ["-m", "mulki_hf.train", "--config", "stream.yaml", "--push_to_hub", "--hub_model_id", "org/mulki"]
    run(*words, env=env, cwd=tmp_path)
    for number in (1, 2):
        repository = hub.repositories[f"org/mulki-task{number}"]
        assert (len(repository.made()), list(repository.tags)) == (1, ["v1"])
        assert "--num_processes 2" in hub.files(f"org/mulki-task{number}")["README.md"].decode()
    assert len(hub.seen("GET", "whoami")) == 1
    assert len(hub.seen("POST", "/repos/create")) == 2
    hub.requests.clear()
    recipe = words[words.index("--config") : words.index("--push_to_hub")]
    at = words.index("mulki_hf.train")
    run(
        *words[: at + 1],
        *recipe,
        "--resume_from_hub",
        "org/mulki-task1",
        "--output_dir",
        "further",
        env=env,
        cwd=tmp_path,
    )
    assert len(hub.seen("HEAD", "results.json")) <= 2 and len(hub.seen("GET", "/models/org/mulki-task1")) <= 4
    assert (tmp_path / "further/task2-shapes/model.safetensors").is_file()

    env["HF_TOKEN"] = "hf_stranger"
    done = subprocess.run([*words, "--output_dir", "other"], capture_output=True, text=True, env=env, cwd=tmp_path)
    assert done.returncode != 0
    assert "does not allow this (403)" in done.stderr
    assert not (tmp_path / "other").exists()
