"""A disk that runs full, or read-only, in the middle of a run: one line, the last good state, and exact on resuming."""

import errno
import json
import os
import re
import resource
from collections.abc import Callable
from functools import partial

import pytest
from support.hub import connected, stream_and_hub
from support.launch import told
from support.mounts import small_disk

from mulki_hf import MulKITrainer, StreamResults
from mulki_hf.data.tables import ArrayCache
from mulki_hf.hub.outbox import Outbox
from mulki_hf.stream import Stream
from mulki_hf.train import main


@pytest.fixture
def disk(tmp_path):
    with small_disk(tmp_path / "disk", "64M") as disk:
        yield disk


@pytest.fixture(scope="module")
def undisturbed(tmp_path_factory, finished):
    """Weights and accuracies of a run that nobody disturbed, by its settings."""
    known = {}

    def ends(config, **settings):
        key = json.dumps(settings, sort_keys=True)
        if key not in known:
            out = tmp_path_factory.mktemp("whole") / "out"
            main(["--config", str(config), "--output_dir", str(out)])
            known[key] = end_of(out)
        return known[key]

    return ends


def end_of(out) -> tuple:
    results = StreamResults.load(out)
    weights = [(out / task / "model.safetensors").read_bytes() for task in ("task1-colours", "task2-shapes")]
    return weights, results.accuracy, results.zero_shot


def when(patch, owner, name: str, action: Callable[[], None], of: str = "task2", number: int = 1) -> None:
    """Do something just before the method `name` is called for the second task, for the `number`th time."""
    method, calls = getattr(owner, name), []

    def acted(self, *args, **kwargs):
        told = [getattr(getattr(self, "args", None), "output_dir", ""), *map(str, args)]
        if of in " ".join(told):
            calls.append(1)
            if len(calls) == number:
                action()
        return method(self, *args, **kwargs)

    patch.setattr(owner, name, acted)


# Where it happens, the settings, and how far the line says that the run has come. The bytes that are left go, one after
# another, before the file itself, in the middle of it, and in the middle of what comes after it.
CHECKPOINT = (MulKITrainer, "_save_checkpoint")
PLACES = {
    "checkpoint": (CHECKPOINT, {}, 2, "task 2 is at step 2"),
    "first-checkpoint": (CHECKPOINT, {}, 1, "task 2 begins anew"),
    "average": (CHECKPOINT, {"method": "mulki", "average_on_disk": True}, 2, "task 2 is at step 2"),
    "task": ((StreamResults, "add"), {}, 1, "task 2 is at step 4"),
}


class TestFull:
    @pytest.mark.parametrize(
        ("place", "left"),
        [
            ("checkpoint", 250_000),
            *(
                pytest.param(place, left, marks=pytest.mark.long)
                for place, lefts in {
                    "checkpoint": [0, 50_000, 500_000],
                    "first-checkpoint": [250_000],
                    "average": [100_000, 900_000],
                    "task": [0, 150_000],
                }.items()
                for left in lefts
            ),
        ],
    )
    def test_it_says_so_and_goes_on_exactly(self, disk, stream_yaml, undisturbed, place, left):
        (owner, name), settings, number, standing = PLACES[place]
        settings = {"method": "finetune"} | settings
        out = disk.path / "out"
        config = stream_yaml(output_dir=str(out), **settings)
        with pytest.MonkeyPatch.context() as patch:
            if place == "task":
                # A method of its own, that names no task: the second time it is called.
                when(patch, owner, name, lambda: disk.leave(left), of="", number=2)
            else:
                when(patch, owner, name, lambda: disk.leave(left), number=number)
            line = told(config)
        assert re.search(r"can't write .*(No space left on device|as on a full disk)", line), line
        assert f"mend that; 1 of 2 tasks is finished in {out}, {standing}" in line, line
        assert line.endswith("go on with --resume")
        # The last good state: of the first task, whole.
        assert StreamResults.load(out).finished == 1 and not (out / "task2-shapes").exists()
        # Without space it says so again, and spoils nothing.
        assert "can't write" in told(config, "--resume", "--check_space", "false")
        disk.empty()
        main(["--config", str(config), "--resume"])
        assert end_of(out) == undisturbed(config, **settings)
        assert sorted(path.name for path in out.iterdir() if path.is_dir()) == ["task1-colours", "task2-shapes"]
        assert not [path for path in out.rglob("*") if path.suffix in (".tmp", ".partial")]

    @pytest.mark.long
    def test_a_table(self, disk, stream_yaml, undisturbed):
        """What teachers say of the second task; a page of a mapped file without a place would kill the process."""
        out = disk.path / "out"
        config = stream_yaml(output_dir=str(out), method="mulki")
        for left in (0, 8192):
            with pytest.MonkeyPatch.context() as patch:
                when(patch, ArrayCache, "_fill", partial(disk.leave, left), of="train-previous")
                line = told(config, *(["--resume"] if left else []))
            disk.empty()
            start = f"error: no room in '{out}/unfinished/cache' for the table '(train|views)-previous' of "
            assert re.match(start, line) and "free as much or choose another output_dir" in line
            assert not list(out.rglob("*.partial"))
        main(["--config", str(config), "--resume"])
        assert end_of(out) == undisturbed(config, method="mulki")

    @pytest.mark.long
    def test_the_results(self, disk, stream_yaml, undisturbed):
        """The task's folder is there, the results that say so are not: the last steps are taken again, or none."""
        out = disk.path / "out"
        config = stream_yaml(output_dir=str(out), method="finetune")
        with pytest.MonkeyPatch.context() as patch:
            when(patch, Stream, "save", lambda: disk.leave(0), of="", number=3)
            line = told(config)
        assert "No space left on device: mend that; 1 of 2 tasks is finished" in line
        assert StreamResults.load(out).finished == 1 and not (out / "results.json.tmp").exists()
        disk.empty()
        main(["--config", str(config), "--resume"])
        assert end_of(out) == undisturbed(config, method="finetune")

    @pytest.mark.long
    def test_the_record_of_pushes(self, disk, tmp_path):
        """What arrived is on the Hub, whoever could not write that down; the run that goes on sends the rest."""
        out = disk.path / "out"
        with stream_and_hub(tmp_path / "place") as stream, connected(stream.env, stream.place):
            options = ["--push_to_hub", "--hub_model_id", "org/mulki", "--output_dir", str(out)]
            with pytest.MonkeyPatch.context() as patch:
                when(patch, Outbox, "_record", lambda: disk.leave(0), of="", number=2)
                line = told("stream.yaml", *options)
            assert "No space left on device" in line or "can't write" in line
            kept = json.loads((out / "pushes.json").read_text())
            assert len(kept) == 1
            disk.empty()
            main(["--config", "stream.yaml", *options, "--resume"])
            kept = json.loads((out / "pushes.json").read_text())
            assert {push["folder"] for push in kept} == {"task1-colours", "task2-shapes"}
            assert all(push["commit"] for push in kept)
            assert {"org/mulki-task1", "org/mulki-task2"} <= {*stream.hub.repositories}


@pytest.mark.long
def test_a_file_system_that_turns_read_only(disk, stream_yaml, undisturbed):
    out = disk.path / "out"
    training = out / "unfinished/task2-shapes"
    config = stream_yaml(output_dir=str(out), method="finetune")
    with pytest.MonkeyPatch.context() as patch:
        when(patch, MulKITrainer, "_save_checkpoint", lambda: disk.lock(training), number=2)
        line = told(config)
    assert "can't write" in line and os.strerror(errno.EROFS) in line and "task 2 is at step 2" in line
    disk.unlock(training)
    main(["--config", str(config), "--resume"])
    assert end_of(out) == undisturbed(config, method="finetune")


@pytest.mark.long
def test_a_file_larger_than_allowed(stream_yaml, tmp_path, undisturbed):
    """`ulimit -f`; the optimizer's is the largest."""
    out, limits = tmp_path / "out", resource.getrlimit(resource.RLIMIT_FSIZE)
    config = stream_yaml(output_dir=str(out), method="finetune")
    with pytest.MonkeyPatch.context() as patch:
        lower = (300_000, limits[1])
        when(
            patch, MulKITrainer, "_save_checkpoint", lambda: resource.setrlimit(resource.RLIMIT_FSIZE, lower), number=2
        )
        try:
            line = told(config)
        finally:
            resource.setrlimit(resource.RLIMIT_FSIZE, limits)
    assert re.search(r"can't write .*(File too large|as on a full disk)", line) and "task 2 is at step 2" in line
    main(["--config", str(config), "--resume"])
    assert end_of(out) == undisturbed(config, method="finetune")
