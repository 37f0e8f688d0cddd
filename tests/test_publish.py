"""A stream on the Hub: what lies there, how it gets there, and what ends it before any training."""

import json
import re
import shutil
import socket
from getpass import getuser
from pathlib import Path

import pytest
import torch
from peft import PeftModel
from safetensors.torch import load_file
from support.forkserver import forked
from support.hub import SECRET, anonymous, connected, stream_and_hub, without_pauses
from support.hub_store import Fault
from support.launch import python, train
from support.results import as_an_older_version
from transformers import CLIPModel

from mulki_hf import push
from mulki_hf.adaptation.adapters import both_towers
from mulki_hf.train import main
from mulki_hf.trainer import MulKITrainer


TRAIN = ["--config", "stream.yaml", "--push_to_hub", "--hub_model_id", "org/mulki"]


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

    @pytest.mark.long
    def test_loads_from_the_hub_bit_for_bit(self, published, tmp_path):
        """In a process of its own, whose cache is empty."""
        script = """
import sys, torch
from PIL import Image
from safetensors.torch import save_file
from transformers import AutoProcessor, CLIPModel, pipeline
image = Image.radial_gradient("L").convert("RGB")
logits = {}
for source in sys.argv[2:]:
    model, processor = CLIPModel.from_pretrained(source), AutoProcessor.from_pretrained(source)
    inputs = processor(text=["a red.", "a frame."], images=image, return_tensors="pt", padding=True)
    with torch.no_grad():
        logits[source] = model(**inputs).logits_per_image
    classifier = pipeline("zero-shot-image-classification", model=source)
    print(sorted(answer["label"] for answer in classifier(image, candidate_labels=["red", "frame"])))
save_file(logits, sys.argv[1])
"""
        hub, local = ["org/mulki-task1", "org/mulki-task2"], ["out/task1-colours", "out/task2-shapes"]
        env = published.env | {"HF_HOME": str(tmp_path / "home")}
        done = python(script, tmp_path / "logits.safetensors", *hub, *local, env=env, cwd=published.place)
        assert done.stdout.splitlines() == ["['frame', 'red']"] * 4
        logits = load_file(tmp_path / "logits.safetensors")
        assert all(torch.equal(logits[one], logits[other]) for one, other in zip(hub, local, strict=True))
        assert not torch.equal(*(logits[name] for name in hub))

    def test_the_snippets_of_the_card_run(self, published, tmp_path, capsys):
        card = published.hub.files("org/mulki-task2")["README.md"].decode()
        snippets = re.findall(r"```python\n(.*?)```", card, re.DOTALL)
        assert len(snippets) == 2
        with connected(published.env | {"HF_HOME": str(tmp_path / "home")}, tmp_path):
            exec("\n".join(snippets), {})
        printed = capsys.readouterr().out
        assert printed.count("'label'") == 3
        assert "tensor([[" in printed

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


class TestAdapters:
    """With LoRA every task has two repositories."""

    def test_one_commit_each(self, published_lora):
        repositories = published_lora.hub.repositories
        assert {f"org/mulki-task{n}{kind}" for n in (1, 2) for kind in ("", "-lora")} == set(repositories)
        assert all(len(repository.made()) == 1 for repository in repositories.values())

    def test_the_adapter_on_its_base_is_the_model(self, published_lora, tmp_path):
        with connected(published_lora.env | {"HF_HOME": str(tmp_path / "home")}, published_lora.place):
            base = CLIPModel.from_pretrained("tiny-clip")
            adapted = PeftModel.from_pretrained(base, "org/mulki-task2-lora").eval()
            merged = CLIPModel.from_pretrained("org/mulki-task2").eval()
        pixels = torch.rand(2, 3, 16, 16)
        with torch.no_grad():
            one, other = (model.get_image_features(pixels).pooler_output for model in (adapted, merged))
        assert (one - other).abs().max() < 1e-5


class TestPublishing:
    """What was learned without `--push_to_hub`."""

    def test_a_run_that_was_not_pushed(self, published, tmp_path):
        shutil.copytree(published.out, tmp_path / "out")
        (tmp_path / "out" / "pushes.json").unlink()
        env = published.env | {"HF_HOME": str(tmp_path / "home")}
        with connected(env, tmp_path):
            with pytest.raises(SystemExit, match="records no push; give --hub_model_id"):
                push.main(["out"])
            push.main(["out", "--hub_model_id", "late", "--hub_private_repo"])
            repository = published.hub.repositories["ann/late-task2"]
            assert repository.private and repository.made() == ["Model after task2-shapes"]
            assert 'model="ann/late-task2"' in published.hub.files("ann/late-task2")["README.md"].decode()
            CLIPModel.from_pretrained("ann/late-task2")
        # Private: nobody without the token sees it.
        with connected(anonymous(env) | {"HF_HOME": str(tmp_path / "empty")}), pytest.raises(OSError):
            CLIPModel.from_pretrained("ann/late-task2")

    def test_both_artefacts_of_both_tasks(self, published_lora, hub, hub_env, tmp_path):
        shutil.copytree(published_lora.out, tmp_path / "late")
        (tmp_path / "late/pushes.json").unlink()
        with connected(hub_env, tmp_path):
            push.main(["late", "--hub_model_id", "ann/late"])
        assert sum(name.startswith("ann/late") for name in hub.repositories) == 4
        card = hub.files("ann/late-task2-lora")["README.md"].decode()
        assert '"ann/late-task2-lora"' in card and "https://huggingface.co/ann/late-task2" in card

    @pytest.mark.parametrize(
        "kind",
        [
            "model",
            "adapters",
        ],
    )
    def test_results_of_an_older_version(self, published, published_lora, hub, hub_env, tmp_path, kind):
        """They do not describe the method; their cards are the same all the same."""
        stream = {"model": published, "adapters": published_lora}[kind]
        for task in ("task1-colours", "task2-shapes"):
            shutil.copytree(stream.out / task, tmp_path / "out" / task)
            as_an_older_version(tmp_path / "out" / task)
        with connected(hub_env, tmp_path):
            push.main(["out", "--hub_model_id", "org/mulki"])
        assert {name for name in stream.hub.repositories if name.startswith("org/mulki-")} == set(hub.repositories)
        for name in hub.repositories:
            assert hub.files(name)["README.md"].decode() == stream.hub.files(name)["README.md"].decode()

    def test_branch(self, hub, hub_env, finished_task):
        with connected(hub_env, finished_task):
            push.main(["out", "--hub_model_id", "org/mulki", "--hub_revision", "trial"])
        repository = hub.repositories["org/mulki-task1"]
        assert "model.safetensors" in repository.resolve("trial").files
        assert "model.safetensors" not in repository.resolve("main").files
        assert repository.tags == {"v1": repository.branches["trial"]}


class TestRefusals:
    """What a person can mend; that it ends the process with one line and status 1, `test_push` sees."""

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
    def test_what_a_person_can_mend(self, hub, hub_env, finished_task, capsys, caplog, token, model_id, message):
        env = anonymous(hub_env) | ({"HF_TOKEN": token} if token else {})
        with connected(env, finished_task), pytest.raises(SystemExit, match=message) as refusal:
            push.main(["out", "--hub_model_id", *model_id.split()])
        said = f"{refusal.value}{capsys.readouterr()}{caplog.text}"
        assert "Traceback" not in said and (not token or token not in said)
        assert not any(repository.made() for repository in hub.repositories.values())

    def test_somebody_elses_repository(self, hub, hub_env, finished_task):
        hub.make_repository("org/mulki-task1")
        env = hub_env | {"HF_TOKEN": "hf_stranger"}
        with connected(env, finished_task), pytest.raises(SystemExit, match=r"does not allow this \(403\)"):
            push.main(["out", "--hub_model_id", "org/mulki"])

    def test_offline(self, hub_env, finished_task):
        env = hub_env | {"HF_HUB_OFFLINE": "1"}
        with connected(env, finished_task), pytest.raises(SystemExit, match="HF_HUB_OFFLINE is set"):
            push.main(["out", "--hub_model_id", "org/mulki"])

    def test_no_hub_there(self, hub_env, finished_task, monkeypatch):
        env, pauses = hub_env | {"HF_ENDPOINT": "http://127.0.0.1:9"}, without_pauses(monkeypatch)
        with connected(env, finished_task), pytest.raises(SystemExit, match="can't reach http://127.0.0.1:9"):
            push.main(["out", "--hub_model_id", "org/mulki", "--hub_retries", "1"])
        assert pauses

    def test_nothing_is_trained_in_vain(self, stream):
        env, message = stream.env | {"HF_TOKEN": "hf_stranger"}, "^error: push_to_hub: hub_model_id 'org/mulki'"
        with connected(env, stream.place), pytest.raises(SystemExit, match=message):
            main(TRAIN)
        assert not stream.out.exists()


class TestTraining:
    def test_goes_on(self, stream):
        """Past a push that fails, to its end; then what is pending is said with the status, and sent by resuming."""
        hub = stream.hub
        hub.faults.append(Fault("POST", "task1/commit/main", times=99, status=500))
        done = train(*TRAIN[2:], "--hub_retries", "0", env=stream.env, cwd=stream.place, status=1)
        assert done.stderr.splitlines()[-1] == (
            "error: 1 of 2 pushes pending (the checkpoints are complete on disk); "
            f"send with: python -m mulki_hf.push {stream.out}"
        )
        assert json.loads((stream.out / "results.json").read_text())["metrics"]
        assert (stream.out / "task1-colours/model.safetensors").is_file()
        assert hub.repositories["org/mulki-task1"].made() == []
        assert hub.repositories["org/mulki-task2"].made() == ["Model after task2-shapes"]
        hub.faults.clear()
        with connected(stream.env, stream.place):
            # The resumed run, which has nothing to train, sends it too.
            main([*TRAIN, "--hub_retries", "0", "--resume"])
            assert hub.repositories["org/mulki-task1"].made() == ["Model after task1-colours"]
            # And what was learned before --push_to_hub was given.
            (stream.out / "pushes.json").unlink()
            main([*TRAIN[:-1], "ann/late", "--hub_retries", "0", "--resume", "--license", "mit"])
        for number in (1, 2):
            card = hub.files(f"ann/late-task{number}")["README.md"].decode()
            assert f'"ann/late-task{number}"' in card
        assert len(hub.repositories["org/mulki-task2"].made()) == 1

    def test_a_crash_says_what_is_pending(self, stream):
        script = """
import sys
from mulki_hf import train
from mulki_hf.trainer import MulKITrainer
learn = MulKITrainer.train
def crash(self, **kwargs):
    if self.task.name == "shapes":
        raise OSError("disk full")
    return learn(self, **kwargs)
MulKITrainer.train = crash
train.main(sys.argv[1:])
"""
        stream.hub.faults = [Fault("POST", "/commit/main", status=503)]
        done = forked("-c", script, *TRAIN, "--hub_retries", "0", env=stream.env, cwd=stream.place, status=1)
        assert "disk full" in done.stderr
        assert "1 of 1 pushes pending" in done.stdout
        assert stream.hub.repositories["org/mulki-task1"].made() == []

    def test_a_crash_waits_for_what_is_under_way(self, stream, monkeypatch, capsys):
        learn, pauses = MulKITrainer.train, without_pauses(monkeypatch)

        def crash(self, **kwargs):
            if self.task.name == "shapes":
                raise OSError("disk full")
            return learn(self, **kwargs)

        monkeypatch.setattr(MulKITrainer, "train", crash)
        stream.hub.faults = [Fault("POST", "/commit/main", status=503)]
        with connected(stream.env, stream.place), pytest.raises(OSError, match="disk full"):
            main([*TRAIN, "--hub_retries", "1"])
        assert pauses and "pushes pending" not in capsys.readouterr().out
        assert len(stream.hub.repositories["org/mulki-task1"].made()) == 1


def test_a_tuners_adapter_goes_there_and_back(tmp_path):
    """In a repository of its own; a stream that is taken up from there ends as it would have without the detour."""
    spec = {"peft_type": "OFT", "oft_block_size": 8, "target_modules": ["q_proj", "v_proj"]}
    with stream_and_hub(tmp_path, peft_config=spec, connecting=False) as stream:
        with connected(stream.env, stream.place):
            main(TRAIN)
            base, source = CLIPModel.from_pretrained("tiny-clip"), "org/mulki-task1-adapter"
            adapted, merged = PeftModel.from_pretrained(base, source), CLIPModel.from_pretrained("org/mulki-task1")
            torch.testing.assert_close(both_towers(adapted.eval()), both_towers(merged.eval()), rtol=0, atol=1e-5)
            options = ["--output_dir", "further", "--use_cpu", "true", "--data_root", "."]
            main(["--resume_from_hub", "org/mulki-task1", *options])
        kinds = ("", "-adapter")
        assert sorted(stream.hub.repositories) == [f"org/mulki-task{n}{kind}" for n in (1, 2) for kind in kinds]
        card = stream.hub.files("org/mulki-task2-adapter")["README.md"].decode()
        assert '"org/mulki-task2-adapter"' in card and "library_name: peft" in card
        further = stream.place / "further"
        assert load_file(further / "task1-colours/adapter/adapter_model.safetensors")
        for name in ("model", "adapter/adapter_model"):
            files = [out / f"task2-shapes/{name}.safetensors" for out in (stream.out, further)]
            assert files[0].read_bytes() == files[1].read_bytes()
