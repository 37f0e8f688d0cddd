"""What a disk refuses, before a run and in the middle of one."""

import errno
import os
import shutil

import pytest
import torch
from safetensors import SafetensorError
from support.launch import refused

from mulki_hf import StreamResults
from mulki_hf.errors import ConfigurationError, TrainingError
from mulki_hf.runs.disk import check_output, disk_faults
from mulki_hf.train import main


class TestBefore:
    @pytest.mark.parametrize("name", ["x" * 256, "é" * 128])
    def test_a_folder_name_that_is_too_long(self, stream_yaml, tmp_path, name):
        refused(stream_yaml(output_dir=str(tmp_path / name / "out")), tmp_path, "must take at most 255 bytes, got 256")

    def test_a_path_that_is_too_long(self, tmp_path):
        with pytest.raises(ConfigurationError, match="output_dir must take at most 3496 bytes as a whole path"):
            check_output(tmp_path.joinpath(*["x" * 200] * 20))

    def test_a_parent_that_is_a_file(self, stream_yaml, tmp_path):
        (tmp_path / "taken").write_text("")
        refused(stream_yaml(output_dir=str(tmp_path / "taken/out")), tmp_path, "taken' is a file, not a folder")

    def test_no_permission(self, stream_yaml, tmp_path, monkeypatch):
        """Of the nearest folder that is there; a superuser is refused on a read-only disk alone."""
        asked = []
        monkeypatch.setattr(os, "access", lambda path, mode: asked.append(path))
        refused(stream_yaml(output_dir=str(tmp_path / "out/deeper")), tmp_path, "can't be written: choose another")
        assert asked == [tmp_path]

    def test_no_space(self, stream_yaml, tmp_path, monkeypatch):
        monkeypatch.setattr(shutil, "disk_usage", lambda path: shutil._ntuple_diskusage(100, 100, 0))
        refused(stream_yaml(), tmp_path, "no space left on its disk: make room")


class TestInTheMiddle:
    def test_the_first_file(self, stream_yaml, tmp_path, monkeypatch):
        # Before it, what a dead run left under that name is cleared.
        name = "mulki_hf.stream.RunFolder.clear_leftovers"
        monkeypatch.setattr(name, lambda *_: (tmp_path / "out/results.json.tmp").symlink_to("/dev/full"))
        with pytest.raises(SystemExit, match=f"^error: can't write in {tmp_path}/out: No space left on device: mend"):
            main(["--config", str(stream_yaml())])
        assert not os.path.lexists(tmp_path / "out/results.json.tmp")

    def test_later_it_says_how_to_go_on(self, own_copy, monkeypatch):
        folder, options = own_copy
        results = StreamResults.load(folder)
        results.accuracy, results.metrics = results.accuracy[:1], {}
        results.save(folder)

        def full(*_):
            raise OSError(errno.EDQUOT, "Disk quota exceeded", "some/file")

        monkeypatch.setattr("mulki_hf.stream.save_prototypes", full)
        message = "^error: can't write some/file: Disk quota exceeded: mend that; 1 of 2 tasks is .* with --resume$"
        with pytest.raises(SystemExit, match=message):
            main([*options, "--resume"])
        assert StreamResults.load(folder).finished == 1

    def test_tasks_are_finished_only_where_one_is(self, tmp_path):
        (tmp_path / "unfinished").mkdir()
        with pytest.raises(TrainingError) as said, disk_faults(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device", "f")
        line = f"can't write f: No space left on device: mend that; nothing is finished in {tmp_path}; start again"
        assert str(said.value) == line
        (tmp_path / "results.json").write_text("{")
        with pytest.raises(TrainingError, match="mend that; then go on with --resume"), disk_faults(tmp_path):
            raise OSError(errno.ENOSPC, "No space left on device", "f")

    @pytest.mark.parametrize(
        "error",
        [
            OSError(errno.EROFS, "Read-only file system", "f"),
            OSError(errno.EFBIG, "File too large"),
            SafetensorError("Error while serializing: I/O error: No space left on device (os error 28)"),
            RuntimeError("on the main process: [Errno 28] No space left on device"),
            OSError("120 requested and 64 written"),
        ],
    )
    def test_whoever_says_so(self, error, tmp_path):
        with pytest.raises(TrainingError, match="can't write"), disk_faults(tmp_path):
            try:
                raise error
            except Exception as cause:
                raise ValueError("could not save") from cause

    def test_torch(self, tmp_path):
        with pytest.raises(TrainingError, match="can't write"), disk_faults(tmp_path):
            torch.save(torch.zeros(100_000), "/dev/full")

    def test_other_errors_stay(self, tmp_path):
        for error in (FileNotFoundError(2, "No such file"), ValueError("x"), ConfigurationError("y")):
            with pytest.raises(type(error)), disk_faults(tmp_path):
                raise error

    def test_what_is_said_already_stays(self, tmp_path):
        """A file that may not be read ends in a sentence of its own."""
        with pytest.raises(ConfigurationError, match="^mine$"), disk_faults(tmp_path):
            raise ConfigurationError("mine") from PermissionError(errno.EACCES, "Permission denied", "f")

    def test_an_error_that_leads_to_itself(self, tmp_path):
        first, second = ValueError("first"), ValueError("second")
        first.__context__, second.__context__ = second, first
        with pytest.raises(ValueError, match="first"), disk_faults(tmp_path):
            raise first
