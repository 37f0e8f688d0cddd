"""Tasks that come to a stream later: as if it had been planned so."""

import json
import shutil
from pathlib import Path

import pytest
import yaml
from support.hub import connected, stream_and_hub
from support.hub_store import Fault
from support.interrupt import interrupted
from support.launch import two_ranks
from support.tiny import save_tiny, stream_writer

from mulki_hf import StreamEvaluator
from mulki_hf.evaluate import main as evaluate
from mulki_hf.results import StreamResults
from mulki_hf.runs.sources import find_run, sibling
from mulki_hf.train import main


THREE = ["til", "cil", "xtail"]


def tasks_of(config, *more: str) -> list[dict]:
    """The two tasks of a recipe and, under other names and prompts, the colours again."""
    tasks = yaml.safe_load(config.read_text())["tasks"][:2]
    return tasks + [tasks[0] | {"name": name, "templates": [f"{name}: {{}}"]} for name in more]


def appended(config, *more: str) -> str:
    """The recipe with more tasks behind its two, written over it."""
    recipe = yaml.safe_load(config.read_text())
    config.write_text(yaml.safe_dump(recipe | {"tasks": tasks_of(config, *more)}))
    return str(config)


def kept(results: StreamResults) -> dict:
    """What must not depend on when a task came to the stream."""
    owns = [results.of(protocol) for protocol in results.protocols]
    rows = [(own.zero_shot, own.accuracy, own.metrics) for own in owns]
    entries = [(task["name"], task.get("templates")) for task in results.config["tasks"]]
    return {"names": results.names, "protocols": results.protocols, "rows": rows, "entries": entries}


@pytest.fixture(scope="module")
def planned(tmp_path_factory, tasks_files):
    """The run of three tasks that was planned so, beside its recipe and the same of two."""
    folder = tmp_path_factory.mktemp("planned")
    save_tiny(folder / "tiny-clip")
    config = stream_writer(folder, str(folder), str(tasks_files))(protocols=THREE, average_every=1)
    main(["--config", str(config), "--output_dir", str(folder / "two")])
    main(["--config", appended(config, "paints"), "--output_dir", str(folder / "three")])
    return folder


@pytest.fixture
def two(planned, tmp_path):
    """A copy of the finished run of two tasks, to be written to; with the options of three that mean it."""
    shutil.copytree(planned / "two", tmp_path / "run")
    return tmp_path / "run", ["--config", str(planned / "stream.yaml"), "--output_dir", str(tmp_path / "run")]


class TestAppended:
    def test_to_a_finished_stream_as_if_planned(self, planned, two):
        folder, options = two
        before = {path: path.read_bytes() for path in folder.rglob("task*/*") if path.is_file()}
        main([*options, "--resume"])
        whole, grown = (StreamResults.load(run) for run in (planned / "three", folder))
        assert kept(whole) == kept(grown)
        for name in ("model.safetensors", "prototypes.safetensors", "recipe.yaml"):
            assert (folder / "task3-paints" / name).read_bytes() == (planned / "three/task3-paints" / name).read_bytes()
        # What was learned stays as it was, cards and results in the tasks' folders included.
        assert all(path.read_bytes() == content for path, content in before.items())
        assert kept(StreamResults.load(folder / "task3-paints")) == kept(whole)

    def test_to_an_unfinished_one(self, planned, tmp_path, stream_yaml):
        config = stream_yaml(protocols=THREE, average_every=1)
        interrupted(config, 3)
        main(["--config", appended(config, "paints"), "--resume"])
        whole, grown = (StreamResults.load(run) for run in (planned / "three", tmp_path / "out"))
        assert kept(whole) == kept(grown)
        weights = "task3-paints/model.safetensors"
        assert (tmp_path / "out" / weights).read_bytes() == (planned / "three" / weights).read_bytes()

    def test_twice(self, planned, two, tmp_path):
        folder, options = two
        main([*options, "--resume"])
        config = tmp_path / "four.yaml"
        shutil.copy(planned / "stream.yaml", config)
        main(["--config", appended(config, "paints", "inks"), "--output_dir", str(folder), "--resume"])
        results = StreamResults.load(folder)
        assert results.finished == 4 and all(None not in row for row in results.accuracy)

    def test_stopped_while_rows_were_filled(self, planned, two, monkeypatch):
        """What was measured is kept, and not measured again."""
        folder, options = two
        cells, asked = StreamEvaluator.cells, []

        def until_the_second(self, model, learned, description, protocols, only=None):
            asked.append((*learned, *only))
            if len(asked) == 2:
                raise KeyboardInterrupt
            return cells(self, model, learned, description, protocols, only)

        with monkeypatch.context() as patch, pytest.raises(SystemExit):
            patch.setattr(StreamEvaluator, "cells", until_the_second)
            main([*options, "--resume"])
        standing = StreamResults.load(folder)
        assert standing.names == ["colours", "shapes", "paints"]
        assert None not in standing.zero_shot and standing.accuracy[0][2] is None
        main([*options, "--resume"])
        assert kept(StreamResults.load(folder)) == kept(StreamResults.load(planned / "three"))

    def test_rows_left_empty_and_filled_later(self, planned, two, capsys, caplog):
        folder, options = two
        main([*options, "--resume", "--fill_rows", "false"])
        results = StreamResults.load(folder)
        assert [row[2] is None for row in results.accuracy] == [True, True, False] and None not in results.zero_shot
        assert "by xtail the classes of appended tasks compete for every image" in caplog.text
        # By xtail the new classes compete for every image: nothing of before means the same.
        assert results.of("xtail").accuracy[:2] == [[None] * 3] * 2
        note = "Not every cell was measured (til); metrics are of those that were: transfer 1 of 3"
        assert note in capsys.readouterr().out
        assert results.metrics["transfer"] == results.accuracy[0][1]
        assert note in (folder / "task3-paints/README.md").read_text()
        main([*options, "--resume"])
        assert kept(StreamResults.load(folder)) == kept(StreamResults.load(planned / "three"))

    def test_to_a_model_that_is_never_trained(self, tmp_path, stream_yaml):
        config = stream_yaml(protocols=THREE, method="zero_shot")
        main(["--config", str(config)])
        main(["--config", appended(config, "paints"), "--resume"])
        main(["--config", str(config), "--output_dir", str(tmp_path / "whole")])
        assert kept(StreamResults.load(tmp_path / "out")) == kept(StreamResults.load(tmp_path / "whole"))

    @pytest.mark.long
    @pytest.mark.xdist_group("ranks")
    def test_on_two_ranks(self, stream_yaml, tmp_path):
        config, out = stream_yaml(protocols=THREE, max_steps=2), tmp_path / "out"
        two_ranks(config, out)
        appended(config, "paints")
        two_ranks(config, out, "--resume")
        grown = StreamResults.load(out)
        assert grown.finished == 3
        evaluate([str(out), "--protocols", *THREE, "--output_dir", str(tmp_path / "again"), "--use_cpu", "true"])
        assert kept(StreamResults.load(tmp_path / "again"))["rows"] == kept(grown)["rows"]


class TestRefused:
    @pytest.mark.parametrize(
        ("change", "message"),
        [
            (lambda tasks: tasks[::-1], "they come in another order"),
            (lambda tasks: tasks[:1], "resume: the stream began with .*: shapes went; new tasks can only be appended"),
            (
                lambda tasks: [tasks[0], tasks[2], tasks[1]],
                "now they are colours, paints, shapes: they come in another order",
            ),
            (
                lambda tasks: [tasks[0], tasks[1] | {"templates": ["{}?"]}],
                "templates of task 'shapes' was None and is now",
            ),
            (lambda tasks: [*tasks, tasks[2]], "tasks: names must be unique, got paints more than once"),
            (lambda tasks: [*tasks, tasks[2] | {"name": "shapes"}], "names must be unique, got shapes more than once"),
        ],
        ids=["reordered", "removed", "between", "changed", "twice", "a name that exists"],
    )
    def test_all_but_appending(self, two, tmp_path, change, message):
        folder, options = two
        recipe = yaml.safe_load(Path(options[1]).read_text())
        config = tmp_path / "changed.yaml"
        config.write_text(yaml.safe_dump(recipe | {"tasks": change(recipe["tasks"])}))
        before = (folder / "results.json").read_bytes()
        with pytest.raises(SystemExit, match=message):
            main(["--config", str(config), *options[2:], "--resume"])
        assert (folder / "results.json").read_bytes() == before

    def test_an_entry_that_says_a_default(self, two, tmp_path):
        """It is the same task."""
        folder, options = two
        recipe = yaml.safe_load(Path(options[1]).read_text())
        recipe["tasks"] = [recipe["tasks"][0] | {"eval_split": "test"}, recipe["tasks"][1]]
        config = tmp_path / "said.yaml"
        config.write_text(yaml.safe_dump(recipe))
        main(["--config", str(config), *options[2:], "--resume"])

    def test_to_all_tasks_at_once(self, stream_yaml, tmp_path):
        config = stream_yaml(method="joint")
        main(["--config", str(config)])
        with pytest.raises(SystemExit, match="method 'joint' learns all tasks at once"):
            main(["--config", appended(config, "paints"), "--resume"])

    @pytest.mark.parametrize("lost", ["task1-colours", "task1-colours/model.safetensors"])
    def test_without_the_checkpoint_of_a_row(self, two, lost):
        folder, options = two
        path = folder / lost
        shutil.rmtree(path) if path.is_dir() else path.write_bytes(b"cut off")
        before = (folder / "results.json").read_bytes()
        with pytest.raises(SystemExit, match="fill_rows: .*task 'colours' can't be measured: .*--fill_rows false"):
            main([*options, "--resume"])
        assert (folder / "results.json").read_bytes() == before
        main([*options, "--resume", "--fill_rows", "false"])
        assert StreamResults.load(folder).finished == 3


class TestKeepCheckpoints:
    @pytest.mark.parametrize(("keep", "left"), [("last", ["task2-shapes"]), ("none", [])])
    def test_what_stays(self, stream_yaml, tmp_path, capsys, keep, left):
        config = stream_yaml(keep_checkpoints=keep)
        main(["--config", str(config)])
        out = tmp_path / "out"
        assert sorted(path.name for path in out.glob("task*")) == left
        assert f"keep_checkpoints {keep}: " in capsys.readouterr().out and not (out / "unfinished").exists()
        # A finished run stays one.
        main(["--config", str(config), "--resume"])
        appended(config, "paints")
        message = {"last": "fill_rows: .*no checkpoint of task 1, 'colours'", "none": "task2-shapes is missing"}[keep]
        with pytest.raises(SystemExit, match=message):
            main(["--config", str(config), "--resume"])
        if keep == "last":
            main(["--config", str(config), "--resume", "--fill_rows", "false"])
            assert sorted(path.name for path in out.glob("task*")) == ["task3-paints"]

    def test_an_interrupted_run_goes_on(self, stream_yaml, tmp_path):
        config = stream_yaml(keep_checkpoints="none")
        interrupted(config, 3)
        assert (tmp_path / "out/task1-colours").is_dir()
        main(["--config", str(config), "--resume"])
        assert not [*(tmp_path / "out").glob("task*")]

    def test_what_is_to_be_pushed_stays(self, tmp_path):
        with stream_and_hub(tmp_path) as stream, connected(stream.env, stream.place):
            options = ["--config", "stream.yaml", "--keep_checkpoints", "none", "--push_to_hub", "--hub_retries", "0"]
            stream.hub.faults.append(Fault("POST", "mulki-task1/commit/main", times=9, status=400))
            with pytest.raises(SystemExit, match="1 of 2 pushes pending"):
                main([*options, "--hub_model_id", "org/mulki"])
            assert [path.name for path in stream.out.glob("task*")] == ["task1-colours"]

    def test_so_does_what_an_earlier_run_did_not_push(self, own_copy):
        """Also when this one pushes nothing."""
        folder, options = own_copy
        record = {"folder": "task1-colours", "repo_id": "org/mulki-task1"}
        (folder / "pushes.json").write_text(json.dumps([record]))
        main([*options, "--resume", "--keep_checkpoints", "none"])
        assert [path.name for path in folder.glob("task*")] == ["task1-colours"]


class TestPlaces:
    """Where a model is that is no longer in the run's folder."""

    @pytest.fixture
    def places(self, finished, tmp_path):
        """Of the first task, by what the run has on record."""

        def of(*records: dict) -> str | None:
            results = StreamResults.load(finished)
            results.save(tmp_path)
            (tmp_path / "pushes.json").write_text(json.dumps(records))
            return find_run(str(tmp_path)).checkpoints[0]

        return of

    def test_by_the_record(self, places):
        last = {"folder": "task2-shapes", "repo_id": "org/mulki-task2", "commit": "b" * 40}
        first = {"folder": "task1-colours", "repo_id": "org/mulki-task1"}
        assert places(last, first | {"commit": "a" * 40, "tag": "v1"}) == f"org/mulki-task1@{'a' * 40}"
        # What was taken up is one of a row of repositories; what the run pushed is on record, each.
        assert places(last) == "org/mulki-task1"
        assert places(last | {"tag": "v1"}) is None
        assert places(last, first) is None
        assert places() is None

    def test_numbers_of_repositories(self):
        assert sibling("org/mulki-task12@abc", 2) == "org/mulki-task3"
        assert sibling("org/mulki-task3@abc", 2) == "org/mulki-task3@abc"
        assert sibling("org/best", 2) is None


class TestHub:
    def test_elsewhere(self, tmp_path, planned):
        """Task 3 goes on from the Hub in another folder; earlier rows are measured on the repositories."""
        with stream_and_hub(tmp_path, protocols=THREE, average_every=1) as stream, connected(stream.env, stream.place):
            options = ["--push_to_hub", "--hub_model_id", "org/mulki"]
            main(["--config", "stream.yaml", *options])
            cards = {name: repository.branches["main"] for name, repository in stream.hub.repositories.items()}
            appended(tmp_path / "stream.yaml", "paints")
            source = ["--resume_from_hub", "org/mulki-task2", "--output_dir", "further"]
            main(["--config", "stream.yaml", *source, *options])
            grown, whole = StreamResults.load(tmp_path / "further"), StreamResults.load(planned / "three")
            assert kept(grown) == kept(whole)
            weights = "task3-paints/model.safetensors"
            assert (tmp_path / "further" / weights).read_bytes() == (planned / "three" / weights).read_bytes()
            now = {name: repository.branches["main"] for name, repository in stream.hub.repositories.items()}
            assert now.keys() - cards.keys() == {"org/mulki-task3"}
            assert {name: now[name] for name in cards} == cards
            card = json.loads(stream.hub.repositories["org/mulki-task1"].resolve("main").files["results.json"])
            assert [task["name"] for task in card["tasks"]] == ["colours", "shapes"]

    def test_repositories_that_are_gone(self, tmp_path):
        with stream_and_hub(tmp_path) as stream, connected(stream.env, stream.place):
            main(["--config", "stream.yaml", "--push_to_hub", "--hub_model_id", "org/mulki"])
            del stream.hub.repositories["org/mulki-task1"]
            appended(tmp_path / "stream.yaml", "paints")
            source = ["--resume_from_hub", "org/mulki-task2", "--output_dir", "further"]
            with pytest.raises(SystemExit, match="fill_rows: .*org/mulki-task1.*--fill_rows false"):
                main(["--config", "stream.yaml", *source])
            assert not (tmp_path / "further").exists()
            main(["--config", "stream.yaml", *source, "--fill_rows", "false"])
            assert StreamResults.load(tmp_path / "further").accuracy[0][2] is None
