"""A stream and its Hub on two ranks: one of them speaks for both."""

from functools import partial

import pytest
from support.launch import launch, two_ranks


# Beside the other launches, never at once with them.
pytestmark = pytest.mark.xdist_group("ranks")


PUSH = ["--push_to_hub", "--hub_model_id", "org/mulki"]


@pytest.mark.long
@pytest.mark.parametrize("start", [two_ranks, pytest.param(partial(launch, processes=2), marks=pytest.mark.long)])
def test_two_ranks_make_one_commit(stream, start):
    # Which is how the command knows that it was launched.
    there = {"env": stream.env | {"ACCELERATE_MIXED_PRECISION": "no"}, "cwd": stream.place}
    hub = stream.hub
    start("stream.yaml", stream.out, *PUSH, **there)
    for number in (1, 2):
        repository = hub.repositories[f"org/mulki-task{number}"]
        assert (len(repository.made()), list(repository.tags)) == (1, ["v1"])
        assert "--num_processes 2" in hub.files(f"org/mulki-task{number}")["README.md"].decode()
    assert len(hub.seen("GET", "whoami")) == 1
    assert len(hub.seen("POST", "/repos/create")) == 2
    # Going on from there, files are asked for once too.
    hub.requests.clear()
    two_ranks("stream.yaml", stream.place / "further", "--resume_from_hub", "org/mulki-task1", **there)
    assert len(hub.seen("HEAD", "results.json")) <= 2 and len(hub.seen("GET", "/models/org/mulki-task1")) <= 4
    assert (stream.place / "further/task2-shapes/model.safetensors").is_file()


def test_a_refusal_ends_both_ranks(stream):
    """None of them waits for the other."""
    there = {"env": stream.env | {"HF_TOKEN": "hf_stranger"}, "cwd": stream.place}
    printed = two_ranks("stream.yaml", stream.out, *PUSH, status=1, **there)
    assert "does not allow this (403)" in printed
    assert not stream.out.exists()
