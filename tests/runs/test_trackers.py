"""A stream is one run to a tracker."""

import json
import os
from typing import ClassVar

import pytest
from support.forkserver import forked
from support.interrupt import interrupted
from support.results import empty_results
from support.tiny import tiny_model
from support.training import trainer_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator
from transformers import TrainerCallback

from mulki_hf import ConfigurationError
from mulki_hf.results import StreamResults
from mulki_hf.runs.trackers import Trackers, check_trackers
from mulki_hf.train import main


def steps_of(folder, name: str = "train/loss") -> list[int]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Scalars(name)]


def values_of(folder) -> dict[str, dict[int, float]]:
    """By name of what is evaluated: its value at every step."""
    events = EventAccumulator(str(folder))
    events.Reload()
    names = [name for name in events.Tags()["scalars"] if name.startswith("eval/")]
    return {name.removeprefix("eval/"): {event.step: event.value for event in events.Scalars(name)} for name in names}


def test_tasks_go_on_counting_in_one_run(stream_yaml, tmp_path):
    main(["--config", str(stream_yaml(report_to="tensorboard", logging_steps=1))])
    runs = tmp_path / "out/runs"
    (file,) = runs.iterdir()
    assert file.is_file()
    assert steps_of(runs) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_matrix_and_the_metrics_after_each_task(stream_yaml, tmp_path):
    main(["--config", str(stream_yaml(report_to="tensorboard", protocols="til,cil"))])
    results, values = StreamResults.load(tmp_path / "out"), values_of(tmp_path / "out/runs")
    for protocol, prefix in (("til", "stream"), ("cil", "stream/cil")):
        own = results.of(protocol)
        for column, name in enumerate(results.names):
            cells = {0: own.zero_shot[column], 4: own.accuracy[0][column], 8: own.accuracy[1][column]}
            assert values[f"{prefix}/accuracy/{name}"] == pytest.approx(cells)
        for name in ("transfer", "avg", "last", "forgetting"):
            assert values[f"{prefix}/{name}"][8] == pytest.approx(own.metrics[name])
        # After the first task there is neither a task that waits for its turn in a stream of one, nor one forgotten.
        assert set(values[f"{prefix}/transfer"]) == set(values[f"{prefix}/forgetting"]) == {8}
        assert values[f"{prefix}/last"][4] == pytest.approx(own.accuracy[0][0])


def test_a_stream_that_goes_on_is_the_same_run(stream_yaml, tmp_path):
    config = stream_yaml(report_to="tensorboard", logging_steps=1)
    interrupted(config, 2)
    main(["--config", str(config), "--resume"])
    runs = tmp_path / "out/runs"
    assert len([*runs.iterdir()]) == 2
    assert set(steps_of(runs)) == set(range(1, 9))
    assert set(values_of(runs)["stream/last"]) == {4, 8}


def test_the_task_itself_counts_from_one(make_args, processor, tmp_path):
    trainer = trainer_of(tiny_model(), make_args(report_to="tensorboard", logging_steps=2), processor)
    results = empty_results("colours", "shapes")
    results.tasks[0].steps = 100
    Trackers(tmp_path).follow(trainer, results, 1)
    trainer.train()
    assert steps_of(tmp_path / "runs") == [102, 104]
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [2, 4]


class Recorder(TrainerCallback):
    """A tracker that counts what it hears."""

    heard: ClassVar[list[tuple]] = []

    def on_train_begin(self, args, state, control, **kwargs):
        self.heard.append(("begin", id(self)))

    def on_log(self, args, state, control, logs=None, **kwargs):
        self.heard.append((state.global_step, id(self)))

    def on_train_end(self, args, state, control, model=None, **kwargs):
        self.heard.append(("end", id(self), type(model).__name__))


def test_any_tracker_begins_and_ends_with_the_stream(stream_yaml, monkeypatch):
    """By whatever callback: it is one for all tasks, hears of the last row before the end, and ends with the model."""
    monkeypatch.setattr(Recorder, "heard", [])
    monkeypatch.setattr("mulki_hf.runs.trackers.get_reporting_integration_callbacks", lambda names: [Recorder])
    monkeypatch.setattr("transformers.trainer.get_reporting_integration_callbacks", lambda names: [Recorder])
    main(["--config", str(stream_yaml())])
    heard = Recorder.heard
    assert len({own for _, own, *_ in heard}) == 1
    assert [what for what, *_ in heard if isinstance(what, str)] == ["begin", "end"]
    assert heard[0][0] == 0 and heard[-2][0] == 8 and heard[-1][0::2] == ("end", "CLIPModel")


@pytest.mark.long
def test_trackio(stream_yaml, tmp_path):
    """In a process of its own: where it writes is decided as it is imported."""
    config = stream_yaml(report_to="trackio", logging_steps=1, project="tiny", run_name="once")
    env = os.environ | {"TRACKIO_DIR": str(tmp_path / "trackio")}
    forked("-m", "mulki_hf.train", "--config", config, env=env)
    script = "import json, trackio\nfrom trackio.sqlite_storage import SQLiteStorage as S\n"
    script += "print(json.dumps({name: S.get_logs('tiny', name) for name in S.get_runs('tiny')}))"
    (logs,) = json.loads(forked("-c", script, env=env).stdout.splitlines()[-1]).values()
    results = StreamResults.load(tmp_path / "out")
    rows = [log for log in logs if "eval/stream/accuracy/shapes" in log]
    told = [(log["train/global_step"], log["eval/stream/accuracy/shapes"]) for log in rows]
    cells = [results.zero_shot[1], *(row[1] for row in results.accuracy)]
    assert told == [(step, pytest.approx(cell)) for step, cell in zip((0, 4, 8), cells, strict=True)]


def test_one_that_is_not_installed():
    with pytest.raises(ConfigurationError, match="report_to .'swanlab'.*swanlab"):
        check_trackers(["swanlab"])
