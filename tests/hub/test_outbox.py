"""What an outbox makes of a hub that fails, is slow, or asks to wait; in this process, but for what goes to stderr."""

import json
import time
from dataclasses import replace
from pathlib import Path

import pytest
from support.hub import SECRET, connected, pending_push, without_pauses
from support.hub_store import Fault
from support.launch import push

from mulki_hf.errors import PushError
from mulki_hf.hub.outbox import Outbox


COMMIT, STORE = r"/commit/main", r"/lfs-storage/"


@pytest.fixture
def repository(hub):
    return hub.make_repository("org/mulki-task1")


@pytest.fixture
def checkpoint(hub_env, tmp_path):
    """The folder of a pending push, in a process that knows the hub and works where `out` lies."""
    folder = pending_push(tmp_path)
    with connected(hub_env, tmp_path):
        yield folder


@pytest.fixture
def pauses(monkeypatch):
    return without_pauses(monkeypatch)


def send(**options) -> Outbox:
    """Send what is pending, as the command does."""
    outbox = Outbox("out", **options)
    for entry in outbox.pending:
        outbox.send(entry)
    return outbox


def recorded() -> dict:
    """The only push of the record on disk."""
    with open("out/pushes.json") as record:
        (entry,) = json.load(record)
    return entry


@pytest.mark.parametrize(
    "fault",
    [
        Fault("POST", COMMIT, times=2, status=503),
        Fault("POST", COMMIT, status=500),
        Fault("POST", COMMIT, reset_after=100),
        Fault("POST", COMMIT, lose_answer=True),
        Fault("POST", COMMIT, delay=1.5),
        Fault("POST", "/preupload/", status=502),
        Fault("PUT", STORE, status=500),
        Fault("PUT", STORE, reset_after=1_000_000),
        Fault("PUT", STORE, delay=1.5),
        Fault("POST", "/tag/", status=503),
        Fault("POST", "/tag/", lose_answer=True),
        Fault("GET", "/refs", status=504),
        Fault("POST", "/validate-yaml", status=503),
    ],
    ids=lambda fault: f"{fault.path.strip('/')}-{fault.status or [f for f, v in vars(fault).items() if v][-1]}",
)
def test_a_fault_that_passes_is_survived(hub, repository, checkpoint, pauses, fault):
    fault = replace(fault)  # it is used up
    hub.faults.append(fault)
    send(timeout=0.5 if fault.delay else 20.0).raise_for_pending()
    assert fault.times == 0 and pauses
    # A request whose client gave up is served all the same, and must do no harm.
    hub.settle()
    assert repository.made() == ["Model after task1-colours"]
    assert repository.tags == {"v1": repository.branches["main"]}
    assert hub.files("org/mulki-task1")["model.safetensors"] == (checkpoint / "model.safetensors").read_bytes()


@pytest.mark.parametrize("path", [COMMIT, "/preupload/"])
@pytest.mark.parametrize(
    "headers", [{"Retry_After": "3"}, {"RateLimit": '"api";r=0;t=2'}], ids=["Retry-After", "RateLimit"]
)
def test_the_pause_is_as_long_as_the_hub_asks(hub, repository, checkpoint, pauses, path, headers):
    hub.faults.append(Fault("POST", path, status=429, headers=headers))
    send().raise_for_pending()
    assert len(hub.seen("POST", path)) == 2
    assert len(pauses) == 1 and pauses[0] >= 3
    assert len(repository.made()) == 1


def test_pauses_are_slept(hub, repository, checkpoint):
    hub.faults.append(Fault("POST", COMMIT, status=429, headers={"Retry_After": "1"}))
    send().raise_for_pending()
    first, second = hub.seen("POST", COMMIT)
    assert second.began - first.began >= 1


def test_a_changed_checkpoint_is_the_next_version(repository, checkpoint):
    for _ in range(2):
        entry = recorded() | {"commit": None}
        (checkpoint.parent / "pushes.json").write_text(json.dumps([entry]))
        send().raise_for_pending()
        with (checkpoint / "README.md").open("a") as card:
            card.write("\nA line more.\n")
    assert repository.tags["v2"] == repository.branches["main"] != repository.tags["v1"]


def test_a_file_with_the_token_is_not_uploaded(hub, repository, checkpoint):
    (checkpoint / "notes.txt").write_text(f"my token is {SECRET}")
    outbox = send()
    with pytest.raises(PushError):
        outbox.raise_for_pending()
    assert "notes.txt holds the token; nothing was uploaded" in outbox.report()
    assert repository.made() == [] and not any(SECRET.encode() in request.body for request in hub.requests)


def test_offline_is_not_waited_for(hub_env, checkpoint, caplog):
    began = time.monotonic()
    with connected(hub_env | {"HF_HUB_OFFLINE": "1"}):
        outbox = send()
    with pytest.raises(PushError):
        outbox.raise_for_pending()
    assert "HF_HUB_OFFLINE is set" in outbox.report() and time.monotonic() - began < 20
    assert "not pushed" in caplog.text and "next try" not in caplog.text


def test_a_fault_that_stays_leaves_the_push_pending(hub, repository, checkpoint, pauses):
    hub.faults.append(Fault("POST", COMMIT, times=2, status=503))
    with pytest.raises(PushError, match="^1 of 1 pushes pending .* python -m mulki_hf.push out$"):
        send(retries=1).raise_for_pending()
    assert recorded()["commit"] is None and "503" in recorded()["error"]
    assert repository.made() == []
    for _ in range(2):
        outbox = send()
        outbox.raise_for_pending()
        assert "(v1)" in outbox.report()
    assert recorded()["error"] is None and len(repository.made()) == 1


def test_signatures_of_storage_are_not_recorded(hub, hub_env, repository, tmp_path):
    """By a process, whose stderr has the library's own messages too."""
    pending_push(tmp_path)
    hub.faults += [Fault("PUT", STORE, status=500), Fault("PUT", STORE, status=403)]
    done = push("out", env=hub_env, cwd=tmp_path, status=1)
    (entry,) = json.loads((tmp_path / "out/pushes.json").read_text())
    assert "403" in entry["error"] and "signed" not in entry["error"]
    assert "lfs-storage" in done.stderr and "signed" not in done.stderr


def test_what_came_from_the_hub_has_no_tag_and_does_not_count(hub, repository, checkpoint):
    hub.faults.append(Fault("POST", COMMIT, status=503))
    outbox = Outbox("out", retries=0)
    outbox.record_elsewhere("task0-earlier", "org/other-task0@abc")
    for entry in outbox.pending:
        outbox.send(entry)
    assert "None" not in outbox.report()
    assert f"task0-earlier: came from {hub.url}/org/other-task0, is not pushed" in outbox.report().splitlines()
    with pytest.raises(PushError, match="^1 of 1 pushes pending"):
        outbox.raise_for_pending()


def test_training_does_not_wait(hub, repository, checkpoint):
    hub.faults.append(Fault("POST", COMMIT, delay=1.5))
    outbox = Outbox("out")
    began = time.monotonic()
    for entry in outbox.pending:
        outbox.send_in_background(entry)
    assert time.monotonic() - began < 1
    outbox.wait()
    assert time.monotonic() - began >= 1.5
    outbox.raise_for_pending()


class TestInterrupted:
    """The push under way has a while to arrive, what comes after it none."""

    def leave(self, outbox, pushes=1):
        with pytest.raises(KeyboardInterrupt), outbox:
            (entry,) = outbox.pushes
            for number in range(pushes):
                outbox.send_in_background(entry if number == 0 else replace(entry, folder=f"task{number + 1}-later"))
            raise KeyboardInterrupt

    def test_what_arrives_in_time(self, hub, repository, checkpoint, capsys):
        hub.faults.append(Fault("POST", COMMIT, delay=0.5))
        outbox = Outbox("out")
        self.leave(outbox, pushes=2)
        printed = capsys.readouterr().out
        assert "waiting at most 15 s for the push under way" in printed and "1 of 2 pushes pending" in printed
        assert [bool(entry["commit"]) for entry in json.loads(Path("out/pushes.json").read_text())] == [True, False]

    def test_what_does_not(self, hub, repository, checkpoint, capsys, monkeypatch):
        monkeypatch.setattr("mulki_hf.hub.outbox.GRACE", 0.2)
        hub.faults.append(Fault("POST", COMMIT, delay=5))
        outbox = Outbox("out")
        began = time.monotonic()
        self.leave(outbox)
        assert time.monotonic() - began < 4 and "1 of 1 pushes pending" in capsys.readouterr().out
        outbox.wait()
