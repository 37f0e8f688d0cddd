"""A stream is one run to a tracker."""

import pytest
from support.tiny import tiny_model
from support.training import trainer_of
from tensorboard.backend.event_processing.event_accumulator import EventAccumulator

from mulki_hf import ConfigurationError
from mulki_hf.runs.trackers import check_trackers, count_on
from mulki_hf.train import main


def steps_of(folder, name: str = "train/loss") -> list[int]:
    events = EventAccumulator(str(folder))
    events.Reload()
    return [event.step for event in events.Scalars(name)]


def test_tasks_go_on_counting_in_one_run(stream_yaml, tmp_path):
    main(["--config", str(stream_yaml(report_to="tensorboard", logging_steps=1))])
    runs = tmp_path / "out/runs"
    assert all(path.is_file() for path in runs.iterdir())
    assert steps_of(runs) == [1, 2, 3, 4, 5, 6, 7, 8]


def test_the_task_itself_counts_from_one(make_args, processor, tmp_path):
    trainer = trainer_of(tiny_model(), make_args(report_to="tensorboard", logging_steps=2), processor)
    count_on(trainer, 100)
    trainer.train()
    (folder,) = (tmp_path / "trainer/runs").iterdir()
    assert steps_of(folder) == [102, 104]
    assert [entry["step"] for entry in trainer.state.log_history if "loss" in entry] == [2, 4]


def test_one_that_is_not_installed():
    with pytest.raises(ConfigurationError, match="report_to .'swanlab'.*swanlab"):
        check_trackers(["swanlab"])
