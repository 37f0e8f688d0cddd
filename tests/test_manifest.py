"""A folder is what its manifest says; files are replaced whole."""

import json
import os

import pytest

from mulki_hf.durable import copy_file, put, replacing, write_text
from mulki_hf.manifest import MANIFEST, has_manifest, manifest_fault, write_manifest


@pytest.fixture
def folder(tmp_path):
    (tmp_path / "task/adapter").mkdir(parents=True)
    for name in ("model.safetensors", "README.md", "results.json", "adapter/weights", "adapter/README.md"):
        (tmp_path / "task" / name).write_text(name)
    write_manifest(tmp_path / "task")
    return tmp_path / "task"


class TestManifest:
    def test_lists_what_does_not_change(self, folder):
        assert has_manifest(folder) and manifest_fault(folder) is None
        assert [*json.loads((folder / MANIFEST).read_text())] == ["adapter/weights", "model.safetensors"]
        for name in ("README.md", "results.json", "adapter/README.md", "a-file-more"):
            (folder / name).write_text("written anew")
        assert manifest_fault(folder) is None

    @pytest.mark.parametrize(
        ("content", "fault"),
        [
            ("adapter", "is damaged (7 bytes in place of 15)"),
            ("adapter/weightz", "is damaged (its SHA-256 is not that of manifest.json)"),
            (None, "is missing"),
        ],
    )
    def test_names_the_file(self, folder, content, fault):
        file = folder / "adapter/weights"
        file.unlink() if content is None else file.write_text(content)
        assert manifest_fault(folder) == manifest_fault(folder, "adapter/") == f"{file} {fault}"
        assert manifest_fault(folder, "model") is None

    @pytest.mark.parametrize(
        "content", ["", "{", "[]", "7", '{"a": 1}', '{"a": {}}', '{"a": {"size": "x"}}', "[" * 9999]
    )
    def test_one_that_is_none(self, folder, content):
        (folder / MANIFEST).write_text(content)
        assert f"{folder / MANIFEST} is damaged" in manifest_fault(folder)

    def test_looks_nowhere_else(self, folder):
        """A manifest of the Hub's may name anything."""
        entry = {"size": 1, "sha256": ""}
        (folder / MANIFEST).write_text(json.dumps({"../secret": entry, "/etc/passwd": entry}))
        assert manifest_fault(folder) is None

    def test_without_one(self, tmp_path):
        assert not has_manifest(tmp_path) and manifest_fault(tmp_path) is None


class TestDurable:
    def test_an_error_leaves_the_old_file_and_nothing_beside_it(self, tmp_path):
        write_text(tmp_path / "x", "old")
        with pytest.raises(KeyboardInterrupt), replacing(tmp_path / "x") as temporary:
            temporary.write_text("half")
            raise KeyboardInterrupt
        assert [path.name for path in tmp_path.iterdir()] == ["x"] and (tmp_path / "x").read_text() == "old"
        (tmp_path / "y").write_text("new")
        copy_file(tmp_path / "y", tmp_path / "x")
        assert (tmp_path / "x").read_text() == "new"

    def test_content_is_on_the_disk_before_the_name(self, tmp_path, monkeypatch):
        """Else a power cut leaves an empty file of the new name."""
        (tmp_path / "task").mkdir()
        (tmp_path / "task/weights").write_text("w")
        done, rename = [], os.replace

        def synced(handle):
            done.append(os.path.basename(os.readlink(f"/proc/self/fd/{handle}")))

        def replaced(old, new):
            done.append(f"-> {os.path.basename(new)}")
            rename(old, new)

        monkeypatch.setattr(os, "fsync", synced)
        monkeypatch.setattr(os, "replace", replaced)
        write_text(tmp_path / "x", "text")
        assert done == ["x.tmp", "-> x", tmp_path.name]
        done.clear()
        put(tmp_path / "task", tmp_path / "place")
        assert done == ["weights", "task", "-> task.old", "-> place", tmp_path.name]
