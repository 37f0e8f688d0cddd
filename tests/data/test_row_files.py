"""The rows that a sample holds, written out by a run and given back to another one."""

import json
from pathlib import Path

import datasets
import numpy as np
import pytest
from support.launch import refused
from support.tiny import COLOURS, rows

from mulki_hf import ConfigurationError, StreamConfig, Task, TaskConfig, load_stream
from mulki_hf.data.labels import labels_of
from mulki_hf.data.row_files import file_name, write_rows
from mulki_hf.data.union import union
from mulki_hf.preparing.looking import sampled
from mulki_hf.results import StreamResults
from mulki_hf.train import main


NAMES = list(COLOURS)


@pytest.fixture
def files(tmp_path) -> dict[str, str]:
    files = {split: str(tmp_path / f"{split}.parquet") for split in ("train", "test")}
    rows(NAMES, 10, 0).to_parquet(files["train"])
    rows(NAMES, 6, 1).to_parquet(files["test"])
    return files


@pytest.fixture
def load(files):
    def load(evaluate_on="test", stream=None, **fields) -> list[Task]:
        entry = {"name": "t", "dataset": "parquet", "data_files": files} | fields
        return load_stream(StreamConfig(tasks=[entry], evaluate_on=evaluate_on, **stream or {}))

    return load


@pytest.fixture
def written(load, tmp_path):
    """Writes the rows of what `load` gives; returns the files' paths."""

    def written(**fields) -> list[str]:
        tasks = load(**fields)
        for task in tasks:
            write_rows(task, tmp_path)
        return [str(tmp_path / file_name(task.name)) for task in tasks]

    return written


def changed(path: str, **fields) -> None:
    Path(path).write_text(json.dumps(json.loads(Path(path).read_text()) | fields))


class TestWritten:
    def test_holds_the_rows_of_the_split_and_what_they_show(self, load, written, files):
        (path,) = written(shots=2, max_eval_samples=5, sample_seed=3)
        content = json.loads(Path(path).read_text())
        assert (content["task"], content["dataset"]) == ("t", "local files")
        assert content["limits"] == {"shots": 2, "max_eval_samples": 5, "sample_seed": 3}
        (task,) = load(shots=2, max_eval_samples=5, sample_seed=3)
        for part, split, own in (("train", "train", task.train), ("evaluation", "test", task.evaluation)):
            chosen = content["parts"][part]
            assert chosen["split"] == split and len(chosen["rows"]) == len(own)
            everything = rows(NAMES, 10 if split == "train" else 6, 0 if split == "train" else 1)
            for row, image in zip(chosen["rows"], own["image"], strict=True):
                assert np.array_equal(np.asarray(everything[int(row)]["image"]), np.asarray(image))
            assert len({*chosen["rows"].values()}) == len(own)

    def test_only_what_was_drawn(self, load, written, tmp_path):
        (path,) = written(max_eval_samples=5)
        assert [*json.loads(Path(path).read_text())["parts"]] == ["evaluation"]
        (task,) = load()
        write_rows(task, tmp_path / "nowhere")
        assert task.chosen == {}

    def test_all_tasks_as_one_leave_a_file_each(self, load, tmp_path):
        write_rows(union([*load(shots=2, name="a"), *load(name="b"), *load(shots=3, name="c")]), tmp_path)
        assert sorted(path.name for path in tmp_path.glob("rows_*")) == ["rows_a.json", "rows_c.json"]

    def test_of_a_task_that_was_given_in_python(self, load, tmp_path):
        """Rows count in its own dataset; of one that `load_stream` made they stay those of the data."""
        (whole,), (drawn,) = load(), load(shots=2)
        (again,) = load_stream(StreamConfig(tasks=[drawn]))
        assert again.chosen == drawn.chosen
        (sampled,) = load_stream(StreamConfig(tasks=[whole], shots=3))
        assert sampled.chosen["train"].split == "in memory" and [*sampled.chosen] == ["train"]
        assert len(sampled.chosen["train"].rows) == len(sampled.train) == 12
        write_rows(sampled, tmp_path)
        assert json.loads((tmp_path / "rows_t.json").read_text())["limits"] == {"shots": 3, "sample_seed": 0}

    def test_of_one_that_is_a_sample_already(self, load):
        (drawn,) = load(shots=2, sample_seed=3)
        (same,) = load_stream(StreamConfig(tasks=[drawn], shots=2))
        assert (same.chosen, same.limits, same.fingerprint) == (drawn.chosen, drawn.limits, drawn.fingerprint)
        (more,) = load_stream(StreamConfig(tasks=[drawn], max_eval_samples=5))
        assert more.chosen["train"] == drawn.chosen["train"] and len(more.chosen["evaluation"].rows) == 5
        assert more.limits == drawn.limits | {"max_eval_samples": 5, "evaluation_images": 24}
        with pytest.raises(ConfigurationError, match=r"task 't': max_train_samples 4 is asked .* already \(shots 2\)"):
            load_stream(StreamConfig(tasks=[drawn], max_train_samples=4))

    def test_of_validation_data_that_are_evaluated_on(self, files):
        fields = {"validation_split": "train[:50%]", "max_eval_samples": 6}
        entry = {"name": "t", "dataset": "parquet", "data_files": files} | fields
        (task,) = load_stream(StreamConfig(tasks=[entry]), validation=True)
        (again,) = load_stream(StreamConfig(tasks=[task], evaluate_on="validation"))
        assert again.chosen == {"evaluation": task.chosen["validation"]}


class TestGivenBack:
    @pytest.mark.parametrize(
        "fields",
        [
            {"shots": 2},
            {"max_train_samples": 9, "max_eval_samples": 7, "sample_seed": 5},
            {"max_eval_samples": 7},
            {"shots": 3, "validation_split": "train[:50%]", "max_eval_samples": 6, "evaluate_on": "validation"},
        ],
    )
    def test_is_the_same_task(self, load, written, fields):
        (path,) = written(**fields)
        kept = {name: fields[name] for name in ("validation_split", "evaluate_on") if name in fields}
        (one,), (other,) = load(**fields), load(rows=path, **kept)
        assert (one.fingerprint, one.limits, one.chosen) == (other.fingerprint, other.limits, other.chosen)

    @pytest.mark.parametrize("stream", [{"shots": 5}, {"max_train_samples": 9}, {"max_eval_samples": 3}])
    def test_the_streams_limits_have_no_say(self, load, written, stream):
        (path,) = written(shots=2)
        (one,), (other,) = load(shots=2), load(rows=path, stream=stream)
        assert (one.fingerprint, one.limits, one.chosen) == (other.fingerprint, other.limits, other.chosen)

    def test_of_several_tasks(self, load, written):
        paths = written(shots=2, class_incremental=2)
        assert [path.rpartition("/")[2] for path in paths] == ["rows_t-1.json", "rows_t-2.json"]
        for one, other in zip(load(shots=2, class_incremental=2), load(rows=paths, class_incremental=2), strict=True):
            assert (one.fingerprint, one.limits) == (other.fingerprint, other.limits)

    def test_rows_that_nobody_drew(self, load, written):
        """A list of another code: its rows are taken as they are."""
        (path,) = written(shots=10)
        parts = json.loads(Path(path).read_text())["parts"]
        own = ["4", "9", "30"]
        parts["train"]["rows"] = {row: parts["train"]["rows"][row] for row in own}
        changed(path, parts=parts, limits={"shots": 1})
        (task,) = load(rows=path)
        assert [*task.chosen["train"].rows] == own
        assert labels_of(task.train).tolist() == [int(row) % 4 for row in own]
        assert task.limits == {"shots": 1, "sample_seed": 0, "training_images": 40}


class TestRefused:
    def test_another_image(self, load, written, files):
        (path,) = written(shots=2)
        rows(NAMES, 10, 7).to_parquet(files["train"])
        message = r"task 't'.*split 'train': 8 of 8 rows hold another image than the one that was chosen, .* row \d+; "
        with pytest.raises(ConfigurationError, match=message):
            load(rows=path)

    def test_where_some_images_are_looked_at_those_are_compared(self, load, written, files, monkeypatch, tmp_path):
        (path,) = written(shots=2)
        monkeypatch.setattr(datasets.config, "HF_DATASETS_CACHE", tmp_path / "cache")
        with sampled(3):
            (task,) = load(rows=path)
            assert len(task.train) == 8
            rows(NAMES, 10, 7).to_parquet(files["train"])
            with pytest.raises(ConfigurationError, match="3 of 8 rows hold another image"):
                load(rows=path)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"train_split": "train[:50%]"}, r"split 'train\[:50%\]': rows are of split 'train'"),
            ({"data_files": {"train": "test", "test": "test"}}, "which is none of the task's"),
            ({"left_out_classes": ["red"]}, "which is none of the task's"),
        ],
    )
    def test_other_data(self, load, written, files, fields, message):
        (path,) = written(shots=10)
        if "data_files" in fields:
            fields = {"data_files": {name: files[split] for name, split in fields["data_files"].items()}}
        with pytest.raises(ConfigurationError, match=f"task 't'.*{message}"):
            load(rows=path, **fields)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"digest_version": 1}, "its digests are of version 1, and here they are of 2"),
            ({"parts": {}}, "it holds no rows"),
            ({"parts": {"train": {"split": "train", "rows": {}}}}, "it holds no rows of train"),
            ({"parts": {"test": {"split": "test", "rows": {}}}}, "parts: unknown key 'test'"),
            ({"limits": {"shot": 2}}, "limits: unknown key 'shot'; did you mean 'shots'"),
            ({"limits": {"max_eval_samples": 2}}, "by which of shots, max_train_samples the rows of train were chosen"),
            ({"rows": []}, "unknown key 'rows'"),
        ],
    )
    def test_what_is_no_such_file(self, load, written, change, message):
        (path,) = written(shots=2)
        changed(path, **change)
        with pytest.raises(ConfigurationError, match=f"task 't': can't read rows from .*{message}"):
            load(rows=path)

    def test_files_that_do_not_go_together(self, load, written):
        paths = written(shots=2, class_incremental=2)
        changed(paths[1], limits={"shots": 3, "sample_seed": 0})
        with pytest.raises(ConfigurationError, match="rows of 't-1' and 't-2' were chosen by other limits"):
            load(rows=paths, class_incremental=2)

    def test_files_of_some_tasks_alone(self, load, written):
        paths = written(shots=2, class_incremental=2)
        with pytest.raises(ConfigurationError, match="rows has none of task 't-2'; .* the files of all its tasks"):
            load(rows=paths[:1], class_incremental=2)

    @pytest.mark.parametrize(
        ("fields", "message"),
        [
            ({"rows": "x.json", "shots": 2}, "rows and shots exclude each other"),
            ({"rows": []}, r"rows must be left out or name files, got \[\]"),
            ({"rows": ""}, "rows must be left out or name files, got ''"),
            ({"rows": 5}, "rows must be a string or a list, got 5"),
        ],
    )
    def test_fields(self, fields, message):
        with pytest.raises(ConfigurationError, match=f"task 'bad': {message}"):
            TaskConfig("bad", "data", **fields)

    def test_a_missing_file_through_the_command(self, files, stream_yaml, tmp_path):
        task = {"name": "bad", "dataset": "parquet", "data_files": files, "rows": "no-such.json"}
        refused(stream_yaml(tasks=[task]), tmp_path, "task 'bad': can't read rows from 'no-such.json': .*No such file")


def test_a_run_leaves_them_beside_its_checkpoint_and_another_trains_on_them(stream_yaml, files, tmp_path):
    task = {"name": "t", "dataset": "parquet", "data_files": files}
    plain = {"name": "u", "dataset": "parquet", "data_files": files}
    main(["--config", str(stream_yaml(tasks=[task | {"shots": 2}, plain], max_steps=1))])
    path = tmp_path / "out/task1-t/rows_t.json"
    assert path.is_file() and not [*(tmp_path / "out/task2-u").glob("rows_*")]
    again = stream_yaml(tasks=[task | {"rows": str(path)}, plain], max_steps=1)
    main(["--config", str(again), "--output_dir", str(tmp_path / "again")])
    first, second = (StreamResults.load(tmp_path / name) for name in ("out", "again"))
    assert (first.accuracy, first.tasks[0].limits) == (second.accuracy, second.tasks[0].limits)
    assert (tmp_path / "again/task1-t/rows_t.json").read_bytes() == path.read_bytes()
    card = (tmp_path / "again/task1-t/README.md").read_text()
    assert "Trained on at most 2 images of each class: t." in card
    assert "Which images these are is listed in `rows_t.json`" in card
    assert "Which images" not in (tmp_path / "out/task2-u/README.md").read_text()
