"""What a run's folder holds, and what is deleted of it."""

import json
import os
from pathlib import Path
from typing import ClassVar

import pytest
from accelerate import Accelerator
from support.interrupt import interrupted
from support.results import by_protocols, empty_results, make_results

from mulki_hf.errors import ConfigurationError
from mulki_hf.manifest import MANIFEST, manifest_fault
from mulki_hf.results import StreamResults
from mulki_hf.runs.folder import RunFolder, half_cleared, holds_run, standing
from mulki_hf.runs.lock import FolderLock
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
        """What lies in the second task's place, which its manifest has to list."""
        place = folder.task(self.NAMES, 1)
        assert manifest_fault(place) is None
        listed = json.loads((place / MANIFEST).read_text())
        return {name: (place / name).read_text() for name in listed}

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

    def test_a_link_in_its_place_is_replaced(self, folder, tmp_path):
        elsewhere = tmp_path / "elsewhere"
        write(elsewhere, "weights")
        folder.path.mkdir()
        folder.task(self.NAMES, 1).symlink_to(elsewhere)
        with folder.writing(self.NAMES, 1) as writing:
            (writing / "weights").write_text("new")
        assert not folder.task(self.NAMES, 1).is_symlink() and self.left(folder) == {"weights": "new"}
        assert (elsewhere / "weights").read_text() == "mine" and not list(writing.parent.iterdir())

    def test_it_is_no_finished_task_for_who_clears(self, folder):
        with pytest.raises(KeyboardInterrupt), folder.writing(self.NAMES, 1):
            raise KeyboardInterrupt
        folder.clear()
        assert not list(folder.path.rglob("task*"))


def write(root: Path, *names: str) -> None:
    for name in names:
        (root / name).parent.mkdir(parents=True, exist_ok=True)
        (root / name).write_text("mine")


def files(root: Path) -> set[str]:
    return {path.relative_to(root).as_posix() for path in root.rglob("*") if path.is_file()}


class TestClear:
    """`--overwrite` deletes what a run left, and nothing else."""

    MINE: ClassVar = ["task9-mine/config.json", "task1-digits-old/config.json", "runs/mine.txt", "runs/other/x.txt"]

    @pytest.fixture
    def folder(self, tmp_path):
        return RunFolder(tmp_path, Accelerator(cpu=True))

    def test_in_a_folder_without_a_run_nothing_is_ours(self, folder):
        mine = [*self.MINE, "curves.png", "accuracy_matrix.png", "pushes.json", "unfinished/notes.txt"]
        write(folder.path, *mine, "runs/events.out.tfevents.1")
        folder.clear()
        assert files(folder.path) == {*mine, "runs/events.out.tfevents.1"}

    def test_what_the_results_name_goes(self, folder):
        results = make_results()
        results.save(folder.path)
        tasks = [folder.task(results.names, position).name for position in range(2)]
        write(folder.path, *self.MINE, *(f"{task}/config.json" for task in tasks), "curves.png", "pushes.json")
        events = "events.out.tfevents.1"
        write(folder.path, f"runs/{events}", f"runs/{tasks[0]}/host/{events}", f"runs/other/{events}")
        write(folder.path, "unfinished/cache/x", f"unfinished/{tasks[1]}/y")
        mine = [*self.MINE, f"runs/other/{events}", "unfinished/draft.txt", "unfinished/task9-mine/checkpoint-1/x"]
        write(folder.path, *mine)
        folder.clear()
        assert files(folder.path) == set(mine)

    @pytest.mark.parametrize("moment", range(1, 12))
    def test_killed_in_the_middle_it_is_known_and_goes_on(self, folder, monkeypatch, moment):
        """Whatever was deleted by then; what says which files are the run's goes last."""
        results = make_results()
        results.save(folder.path)
        tasks = [folder.task(results.names, position).name for position in range(2)]
        own = [*(f"{task}/{name}" for task in tasks for name in ("config.json", "results.json")), "curves.png"]
        write(folder.path, *self.MINE, *own, "pushes.json", "classes/per_class_a_b.csv", "runs/events.out.tfevents.1")
        write(folder.path, f"unfinished/cache/x/{tasks[0]}", f"unfinished/{tasks[1]}/checkpoint-1/y")
        unlink, calls = os.unlink, []

        def killed(path, *args, **kwargs):
            calls.append(path)
            if len(calls) == moment + 1:
                raise KeyboardInterrupt
            unlink(path, *args, **kwargs)

        with monkeypatch.context() as patch, pytest.raises(KeyboardInterrupt):
            patch.setattr(os, "unlink", killed)
            folder.clear()
        assert half_cleared(folder.path)
        folder.clear()
        assert files(folder.path) == {*self.MINE} and not half_cleared(folder.path)

    @pytest.mark.parametrize("where", [".", "task1-digits"])
    def test_of_pictures_those_of_its_protocols_go(self, folder, where):
        (folder.path / where).mkdir(exist_ok=True)
        results = by_protocols(1)
        del results.others["til"], results.config["protocols"][2]
        results.save(folder.path / where)
        write(folder.path, "curves.png", "accuracy_matrix.png", "curves_xtail.png", "accuracy_matrix_xtail.png")
        write(folder.path, "curves_til.png", "accuracy_matrix_til.png")
        folder.clear()
        assert files(folder.path) == {"curves_til.png", "accuracy_matrix_til.png"}

    def test_what_was_trained_goes_without_any_results_too(self, folder):
        write(folder.path, "unfinished/task1-a/checkpoint-2/x", "unfinished/task2-mine/x")
        folder.clear()
        assert files(folder.path) == {"unfinished/task2-mine/x"}

    def test_of_a_link_the_link_goes(self, folder, tmp_path_factory):
        """Who has too little room moves checkpoints to another disk."""
        other = tmp_path_factory.mktemp("other")
        results = make_results()
        results.save(folder.path)
        places = [folder.task(results.names, 0), folder.training(results.names, 1), folder.cache]
        for number, place in enumerate(places):
            write(other, f"{number}/precious")
            place.parent.mkdir(exist_ok=True)
            place.symlink_to(other / str(number))
        folder.clear()
        assert not any(os.path.lexists(place) for place in places) and len(files(other)) == 3

    def test_without_the_results_those_of_the_tasks_tell(self, folder):
        results = make_results(1)
        task = folder.task(results.names, 0)
        task.mkdir()
        results.save(task)
        write(folder.path, *self.MINE, "runs/events.out.tfevents.1", "curves.png")
        folder.clear()
        assert files(folder.path) == set(self.MINE)

    def test_logs_go_with_their_folder_if_nothing_else_is_there(self, folder):
        make_results().save(folder.path)
        write(folder.path, "runs/events.out.tfevents.1", "runs/task1-digits/host/events.out.tfevents.2")
        folder.clear()
        assert not list(folder.path.iterdir())

    def test_a_name_can_not_lead_elsewhere(self, tmp_path):
        folder = RunFolder(tmp_path / "out", Accelerator(cpu=True))
        write(tmp_path, "precious/config.json", "out/task1-a/precious/config.json")
        empty_results("x/../../precious", "a/precious").save(folder.path)
        before = files(tmp_path)
        with pytest.raises(ConfigurationError, match="a task's name must be a folder's own"):
            folder.clear()
        assert files(tmp_path) == before

    def test_the_lock_of_who_clears_is_kept(self, folder):
        make_results().save(folder.path)
        folder.lock.take()
        folder.clear()
        with pytest.raises(ConfigurationError, match="a run is writing there"):
            FolderLock(folder.lock.folder).take()
        folder.lock.release()

    def test_what_can_not_be_read_is_left(self, own_copy):
        folder, options = own_copy
        (folder / "results.json").write_text("{")
        before = files(folder)
        with pytest.raises(SystemExit, match="overwrite: can't read results .*delete the folder by hand"):
            main([*options, "--overwrite"])
        assert files(folder) == before


class TestUntaken:
    """What no run wrote is neither written over nor deleted."""

    @pytest.mark.parametrize(
        "mine",
        [
            "task1-colours/notes.txt",
            "task2-shapes/config.json",
            "curves.png",
            "accuracy_matrix.png",
            "pushes.json",
            "unfinished/task1-colours/draft.txt",
            "unfinished",
        ],
    )
    @pytest.mark.parametrize("options", [[], ["--overwrite"]])
    def test_what_has_the_name_of_ours_is_refused(self, stream_yaml, tmp_path, mine, options):
        write(tmp_path / "out", mine)
        name = mine.removesuffix("/notes.txt").removesuffix("/config.json").removesuffix("/draft.txt")
        message = (
            f"^error: output_dir .*out' holds {name}, which no run wrote .*: choose another output_dir, or move it"
        )
        with pytest.raises(SystemExit, match=message):
            main(["--config", str(stream_yaml()), *options])
        assert files(tmp_path / "out") == {mine}

    def test_pictures_by_the_protocols_of_this_run(self, own_copy):
        """In an empty folder, and in that of a run by another protocol, which leaves them alone."""
        folder, options = own_copy
        for place, more in ((folder, "--overwrite"), (folder.with_name("new"), "--no_connecting")):
            write(place, "curves_cil.png")
            with pytest.raises(SystemExit, match="holds curves_cil.png, which no run wrote"):
                main([*options, "--protocols", "til,cil", "--output_dir", str(place), more])
        main([*options, "--max_steps", "1", "--overwrite"])
        assert (folder / "curves_cil.png").read_text() == "mine"

    def test_what_has_another_name_stays(self, stream_yaml, tmp_path):
        mine = {"unfinished/draft.txt", "unfinished/task9-mine/x.txt", "task9-mine/config.json", "holiday.png"}
        write(tmp_path / "out", *mine)
        main(["--config", str(stream_yaml(max_steps=1))])
        assert mine < files(tmp_path / "out")
        assert {name for name in files(tmp_path / "out") if name.startswith("unfinished")} < mine

    def test_a_task_of_ours_that_the_results_do_not_know_yet(self, own_copy):
        """The run ended between the two."""
        folder, options = own_copy
        results = StreamResults.load(folder)
        results.accuracy, results.metrics = results.accuracy[:1], {}
        results.save(folder)
        main([*options, "--resume"])
        assert StreamResults.load(folder).finished == 2
        results.save(folder)
        (folder / "task2-shapes/results.json").unlink()
        with pytest.raises(SystemExit, match="holds task2-shapes, which no run wrote"):
            main([*options, "--resume"])

    def test_to_overwrite_what_the_results_name_is_to_delete_it(self, own_copy):
        folder, options = own_copy
        (folder / "task2-shapes/results.json").unlink()
        main([*options, "--overwrite"])
        assert StreamResults.load(folder).finished == 2


class TestHeld:
    def test_another_run_is_refused_before_it_loads_or_clears(self, own_copy):
        folder, options = own_copy
        lock = FolderLock(folder / "unfinished")
        lock.take()
        before = files(folder)
        for option in ("--resume", "--overwrite"):
            # What could not be loaded: nobody gets as far.
            with pytest.raises(SystemExit, match=f"error: output_dir .*writing there .process {os.getpid()} "):
                main([*options, option, "--model_name_or_path", "no/such/model"])
        assert files(folder) == before
        lock.release()

    def test_one_that_changed_since_it_was_looked_at_is_refused(self, tmp_path):
        folder = RunFolder(tmp_path / "out", Accelerator(cpu=True))
        folder.take(None)
        folder.lock.release()
        make_results(1).save(folder.path)
        with pytest.raises(ConfigurationError, match="another run wrote there while this one was loading"):
            folder.take(None)
        folder.lock.release()

    def test_an_interrupted_run_lets_go_and_leaves_no_lock(self, stream_yaml, tmp_path):
        interrupted(stream_yaml(), 3)
        assert not (tmp_path / "out/unfinished/lock").exists() and holds_run(tmp_path / "out")
        main(["--config", str(stream_yaml()), "--resume"])


class TestStanding:
    """What is safe, for who stopped a run."""

    def test_nothing(self, tmp_path):
        assert standing(tmp_path / "out") == f"nothing is finished in {tmp_path / 'out'}; start again"

    def test_some(self, tmp_path):
        empty_results("a", "b", zero_shot=[1.0, 2.0]).save(tmp_path)
        assert standing(tmp_path) == f"0 of 2 tasks are finished in {tmp_path}, task 1 begins anew; go on with --resume"
        make_results(1).save(tmp_path)
        assert "1 of 2 tasks is finished" in standing(tmp_path)
        make_results(2).save(tmp_path)
        assert standing(tmp_path) == f"2 of 2 tasks are finished in {tmp_path}; go on with --resume"

    def test_within_a_task(self, stream_yaml, tmp_path, capsys):
        interrupted(stream_yaml(), 3)
        said = f"stopped: 1 of 2 tasks is finished in {tmp_path / 'out'}, task 2 is at step 2 (checkpoint-2)"
        assert f"{said}; go on with --resume\n" in capsys.readouterr().err
