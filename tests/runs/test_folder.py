"""What a run's folder holds, and what is deleted of it."""

import json
from typing import ClassVar

import pytest
from accelerate import Accelerator

from mulki_hf.runs.folder import RunFolder
from mulki_hf.train import main


def test_used_folder_is_refused_and_overwritten_on_request(own_copy):
    folder, options = own_copy
    note = folder / "notes.txt"
    note.write_text("mine")
    with pytest.raises(SystemExit, match="holds the results of a run"):
        main(options)
    main([*options, "--max_steps", "2", "--overwrite"])
    assert json.loads((folder / "results.json").read_text())["config"]["max_steps"] == 2
    assert note.read_text() == "mine"


class TestWriting:
    """A task's folder is whole or not at all."""

    NAMES: ClassVar = ["colours", "shapes"]

    @pytest.fixture
    def folder(self, tmp_path):
        return RunFolder(tmp_path / "out", Accelerator(cpu=True))

    def left(self, folder: RunFolder) -> dict[str, str]:
        """What lies in the second task's place."""
        return {path.name: path.read_text() for path in folder.task(self.NAMES, 1).glob("*")}

    def test_is_in_its_place_after_the_block(self, folder):
        with folder.writing(self.NAMES, 1) as writing:
            assert writing.name == "task2-shapes" and writing.is_dir()
            (writing / "weights").write_text("new")
            assert not folder.task(self.NAMES, 1).exists()
        assert self.left(folder) == {"weights": "new"} and not writing.exists()

    def test_an_error_leaves_nothing_there(self, folder):
        with pytest.raises(KeyboardInterrupt), folder.writing(self.NAMES, 1) as writing:
            (writing / "weights").write_text("half")
            raise KeyboardInterrupt
        assert not folder.task(self.NAMES, 1).exists()

    def test_what_an_earlier_attempt_left_is_replaced(self, folder):
        for attempt in ("first", "second"):
            with pytest.raises(KeyboardInterrupt), folder.writing(self.NAMES, 1) as writing:
                (writing / attempt).write_text("half")
                raise KeyboardInterrupt
            with folder.writing(self.NAMES, 1) as writing:
                assert not list(writing.iterdir())
                (writing / f"whole-{attempt}").write_text("")
            assert set(self.left(folder)) == {f"whole-{attempt}"}

    def test_an_error_keeps_a_whole_one(self, folder):
        with folder.writing(self.NAMES, 1) as writing:
            (writing / "weights").write_text("whole")
        with pytest.raises(OSError), folder.writing(self.NAMES, 1) as writing:
            (writing / "weights").write_text("half")
            raise OSError("disk full")
        assert self.left(folder) == {"weights": "whole"}

    def test_it_is_no_finished_task_for_who_clears(self, folder):
        with pytest.raises(KeyboardInterrupt), folder.writing(self.NAMES, 1):
            raise KeyboardInterrupt
        folder.clear()
        assert not list(folder.path.iterdir())
