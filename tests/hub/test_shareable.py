"""What of a path may leave the machine."""

from pathlib import Path

import pytest

from mulki_hf.hub.shareable import shareable


@pytest.mark.parametrize(
    ("path", "shared"),
    [
        ("/home/ann/pets", "pets"),
        ("/home/ann/my, pets/x.tar", "x.tar"),
        ("../../ann/x", "x"),
        ("data/../../ann/x", "x"),
        ("~/models/clip/", "clip"),
        ("C:\\data\\a.tar", "a.tar"),
        (str(Path.home()), "~"),
        ("zip://*::/home/ann/a.zip", "zip://*::a.zip"),
        ("file:///home/ann/a.zip", "file://a.zip"),
        ("https://ann:pw@host/x.tar?X-Amz-Signature=1", "https://host/x.tar"),
        ("s3://ann:pw@bucket/x?.tar", "s3://bucket/x?.tar"),
    ],
)
def test_what_names_people_and_machines_is_cut(path, shared):
    assert shareable(path) == shared == shareable(shared)


@pytest.mark.parametrize("path", ["rel/b.tar", "./tiny-clip", "org/clip", "https://host/data/x.tar", "/", "v1..2/x"])
def test_what_names_nobody_stays(path):
    assert shareable(path) == path


def test_what_lies_in_the_root_is_relative_to_it():
    assert shareable("/data/./pets/x.tar", "/data") == shareable("/data/./pets/x.tar", "/data/") == "./pets/x.tar"
    assert shareable("/database/x.tar", "/data") == "x.tar"
