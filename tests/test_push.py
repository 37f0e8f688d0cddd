"""`python -m mulki_hf.push`: its options, what it needs, how it ends."""

import json
import re
import shutil

import pytest
from support.hub import SECRET, connected, pending_push
from support.hub_store import Fault
from support.launch import push, python

from mulki_hf import push as command


class TestEnds:
    """By processes: their status and what stands last on stderr."""

    def test_with_a_push_that_stays_pending(self, hub, hub_env, tmp_path):
        pending_push(tmp_path)
        repository = hub.make_repository("org/mulki-task1")
        hub.faults.append(Fault("POST", "/commit/main", times=2, status=503))
        done = push("out", "--hub_retries", "1", env=hub_env, cwd=tmp_path, status=1)
        assert done.stderr.splitlines()[-1].startswith("error: 1 of 1 pushes pending")
        assert "python -m mulki_hf.push out" in done.stderr
        assert SECRET not in done.stdout + done.stderr
        (entry,) = json.loads((tmp_path / "out/pushes.json").read_text())
        assert entry["commit"] is None and "503" in entry["error"]
        assert repository.made() == []
        for _ in range(2):
            done = push("out", env=hub_env, cwd=tmp_path)
            assert "(v1)" in done.stdout
        assert len(repository.made()) == 1

    def test_with_what_a_person_can_mend(self, hub, hub_env, finished_task):
        env = hub_env | {"HF_TOKEN": "hf_stranger"}
        done = push("out", "--hub_model_id", "org/mulki", env=env, cwd=finished_task, status=1)
        assert re.fullmatch(r"error: .*does not allow this \(403\).*", done.stderr.splitlines()[-1])
        assert "Traceback" not in done.stderr and "hf_stranger" not in done.stdout + done.stderr
        assert not any(repository.made() for repository in hub.repositories.values())


@pytest.mark.parametrize(
    ("options", "message"),
    [
        (["elsewhere"], "'elsewhere' is no folder"),
        (["out", "--hub_collection", "x"], "give --hub_model_id too"),
        (["out", "--hub_model_id", "org/m", "--hub_retries", "-1"], "hub_retries must be >= 0"),
    ],
)
def test_options_that_are_refused(hub_env, finished_task, options, message):
    with connected(hub_env, finished_task), pytest.raises(SystemExit, match=f"^error: .*{message}"):
        command.main(options)


def test_a_disk_that_takes_nothing(hub, hub_env, tmp_path):
    pending_push(tmp_path)
    hub.make_repository("org/mulki-task1")
    (tmp_path / "out/pushes.json.tmp").symlink_to("/dev/full")
    message = "^error: can't write in out: No space left on device: mend that; then give the same command again$"
    with connected(hub_env, tmp_path), pytest.raises(SystemExit, match=message):
        command.main(["out"])


def test_pushing_again_makes_no_second_commit(published, tmp_path, capsys):
    shutil.copytree(published.out, tmp_path / "out")
    before = len(published.hub.requests)
    with connected(published.env, tmp_path):
        command.main(["out"])
        assert len(published.hub.requests) == before
        # The record is lost: everything is looked at again, nothing is changed.
        record = tmp_path / "out" / "pushes.json"
        pushes = json.loads(record.read_text())
        record.write_text(json.dumps([entry | {"commit": None, "tag": None} for entry in pushes]))
        capsys.readouterr()
        command.main(["out"])
    assert capsys.readouterr().out.count("(v1)") == 2
    for number in (1, 2):
        repository = published.hub.repositories[f"org/mulki-task{number}"]
        assert (len(repository.made()), list(repository.tags)) == (1, ["v1"])
    assert json.loads(record.read_text()) == pushes


@pytest.mark.parametrize("kind", ["model", "adapters"])
def test_needs_no_torch(published, published_lora, hub, hub_env, tmp_path, kind):
    """Cards and all: what costs seconds to import is not imported."""
    stream = {"model": published, "adapters": published_lora}[kind]
    shutil.copytree(stream.out, tmp_path / "out")
    (tmp_path / "out/pushes.json").unlink()
    script = """
import runpy, sys
runpy.run_module("mulki_hf.push", run_name="__main__", alter_sys=True)
print("imported", *{name.partition(".")[0] for name in sys.modules})
"""
    done = python(script, "out", "--hub_model_id", "org/late", env=hub_env, cwd=tmp_path)
    imported = set(done.stdout.splitlines()[-1].split())
    assert {"imported", "huggingface_hub", "mulki_hf"} <= imported
    assert not imported & {"torch", "transformers", "datasets", "peft", "accelerate"}
    assert len(hub.repositories) == {"model": 2, "adapters": 4}[kind]
    assert all(len(repository.made()) == 1 for repository in hub.repositories.values())
