"""What may leave the machine."""

from pathlib import Path

import pytest

from mulki_hf.hub.shareable import shareable


@pytest.mark.parametrize(
    ("value", "shared"),
    [
        ("../../ann/x", "x"),
        ("zip://*::/home/ann/a.zip", "zip://*::a.zip"),
        ('{"train": "/home/ann/x.tar"}', '{"train": "x.tar"}'),
        ("a=/home/ann/x", "a=x"),
        ("https://ann:pw@host/x.tar?X-Amz-Signature=1", "https://host/x.tar"),
        ("https://host/data/x.tar", "https://host/data/x.tar"),
        (str(Path.home()), "~"),
        ("the colour {} on a/the wall / floor", "the colour {} on a/the wall / floor"),
        ("org/clip", "org/clip"),
    ],
)
def test_shareable_text(value, shared):
    assert shareable(value) == shared
    assert shareable({value: [value]}) == {shared: [shared]}


def test_shareable_cuts_absolute_paths_however_deep():
    config = {
        "tasks": [{"dataset": "/home/ann/pets", "data_files": {"train": ["C:\\data\\a.tar", "rel/b.tar"]}}],
        "model": "~/models/clip/",
        "hub": "org/clip",
        "template": "a {}/ {}",
        "rate": 0.1,
    }
    assert shareable(config) == {
        "tasks": [{"dataset": "pets", "data_files": {"train": ["a.tar", "rel/b.tar"]}}],
        "model": "clip",
        "hub": "org/clip",
        "template": "a {}/ {}",
        "rate": 0.1,
    }
