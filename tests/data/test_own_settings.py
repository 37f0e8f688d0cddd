"""What a task may have of its own: training settings, evaluation templates, and limits that the stream sets for all."""

from types import SimpleNamespace

import pytest
from support.tiny import tiny_task

from mulki_hf import Task, load_stream
from mulki_hf.data.config import DataArguments
from mulki_hf.data.own_settings import settings_of, with_settings
from mulki_hf.data.task_config import TaskConfig
from mulki_hf.data.union import union
from mulki_hf.errors import ConfigurationError


def entry(**fields) -> dict:
    return {"name": "emoji", "dataset": "embedded:emoji"} | fields


class TestSettings:
    def test_from_an_entry(self):
        task = TaskConfig("a", "b", learning_rate="5e-5", max_steps=10)
        assert task.settings == {"learning_rate": 5e-5, "max_steps": 10}
        assert TaskConfig("a", "b").settings == {}

    @pytest.mark.parametrize(
        ("settings", "message"),
        [
            ({"learning_rate": -1}, "learning_rate must be >= 0 and finite, got -1"),
            ({"learning_rate": float("inf")}, "learning_rate must be >= 0 and finite, got inf"),
            ({"max_steps": 0}, "max_steps must be an integer >= 1, got 0"),
            ({"num_train_epochs": 0}, "num_train_epochs must be > 0 and finite, got 0"),
            ({"label_smoothing_factor": 1}, r"label_smoothing_factor must be in \[0, 1\), got 1"),
            ({"max_steps": 3, "num_train_epochs": 1}, "max_steps and num_train_epochs exclude each other, got 3 and 1"),
        ],
    )
    def test_out_of_range(self, settings, message):
        with pytest.raises(ConfigurationError, match=f"^task 'a': {message}"):
            TaskConfig("a", "b", **settings)
        with pytest.raises(ConfigurationError, match=f"^task 'a': {message}"):
            tiny_task("a", settings=settings)

    def test_what_no_task_has_of_its_own(self):
        with pytest.raises(ConfigurationError, match="settings has no 'seed', a task's own are learning_rate, "):
            tiny_task(settings={"seed": 1})
        with pytest.raises(ConfigurationError, match="learning_rate must be a number, got '1'"):
            tiny_task(settings={"learning_rate": "1"})

    def test_epochs_take_the_place_of_steps(self):
        args = with_settings(SimpleNamespace(max_steps=9, num_train_epochs=3.0), {"num_train_epochs": 1.0})
        assert vars(args) == {"max_steps": -1, "num_train_epochs": 1.0}

    def test_all_at_once_take_the_steps_of_all(self):
        longer, other = tiny_task("a", settings={"max_steps": 5, "learning_rate": 0.5}), tiny_task("b")
        args = SimpleNamespace(max_steps=2, learning_rate=0.1)
        assert vars(settings_of(longer, args)) == {"max_steps": 5, "learning_rate": 0.5}
        assert vars(settings_of(union([longer, other]), args)) == {"max_steps": 7, "learning_rate": 0.1}
        assert vars(settings_of(union([longer]), args)) == {"max_steps": 5, "learning_rate": 0.1}
        # Epochs are of all their images already.
        assert settings_of(union([other, tiny_task("c")]), SimpleNamespace(max_steps=-1)).max_steps == -1


def test_evaluation_templates():
    task = TaskConfig("a", "b", templates=["a {}"], eval_templates="the {}")
    assert task.eval_templates == ["the {}"]
    with pytest.raises(ConfigurationError, match="task 'a': template 'it' has no {}"):
        TaskConfig("a", "b", eval_templates=["it"])
    with pytest.raises(ConfigurationError, match="template 'it' has no {}"):
        tiny_task(eval_templates=["it"])
    own = tiny_task(templates=["a {}"], eval_templates=["the {}", "my {}"])
    assert own.evaluation_templates == ["the {}", "my {}"]
    assert tiny_task(templates=["a {}"]).evaluation_templates == ["a {}"]


class TestLimitsOfAStream:
    def limits(self, task: dict | Task, **stream) -> dict:
        arguments = DataArguments(tasks=[task], **stream)
        return arguments.limits(arguments.task_configs()[0])

    def test_hold_for_a_task_that_says_nothing(self):
        given = {"max_train_samples": 9, "max_eval_samples": 5}
        assert self.limits(entry(), **given) == given
        assert self.limits(entry()) == {}
        assert self.limits(tiny_task(), shots=2) == {"shots": 2}

    def test_give_way_to_the_tasks_own(self):
        given = {"max_train_samples": 9, "max_eval_samples": 5}
        assert self.limits(entry(max_eval_samples=7), **given) == {"max_train_samples": 9, "max_eval_samples": 7}
        assert self.limits(entry(shots=2), **given) == {"shots": 2, "max_eval_samples": 5}

    @pytest.mark.parametrize("given", [{"shots": 0}, {"max_eval_samples": -1}, {"shots": 1, "max_train_samples": 2}])
    def test_out_of_range(self, given):
        with pytest.raises(ConfigurationError, match="^(shots|max_eval_samples) (must be >= 1|and max_train_samples)"):
            DataArguments(tasks=[entry()], **given)

    def test_rows_are_those_that_a_task_would_ask_for(self):
        def load(task: dict | Task, **stream) -> Task:
            return load_stream(DataArguments(tasks=[task], **stream))[0]

        ours, own = load(entry(), shots=1, max_eval_samples=117), load(entry(shots=1, max_eval_samples=117))
        assert ours.fingerprint == own.fingerprint and ours.limits == own.limits
        assert (len(ours.train), len(ours.evaluation)) == (117, 117)

    def test_a_task_from_python_too(self):
        task = tiny_task(per_class=8)
        (limited,) = load_stream(DataArguments(tasks=[task], max_train_samples=4, max_eval_samples=8))
        assert (len(limited.train), len(limited.evaluation)) == (4, 8)
        counts = {"training_images": 32, "evaluation_images": 12}
        assert limited.limits == {"max_train_samples": 4, "max_eval_samples": 8, "sample_seed": 0} | counts
        (whole,) = load_stream(DataArguments(tasks=[task]))
        assert whole.limits == {} and whole.fingerprint != limited.fingerprint


class TestRotation:
    TASKS = [{"name": name, "dataset": "a/b"} for name in "abcd"]

    def names(self, arguments: DataArguments) -> str:
        return "".join(task["name"] for task in arguments.tasks)

    def test_turns_left_once(self):
        turned = DataArguments(tasks=self.TASKS, rotate_tasks=3)
        assert self.names(turned) == "dabc" and turned.rotate_tasks == 0
        # As recorded it is no more turned.
        assert self.names(DataArguments(tasks=turned.to_dict()["tasks"], rotate_tasks=0)) == "dabc"
        assert self.names(DataArguments(tasks=self.TASKS)) == "abcd"

    @pytest.mark.parametrize("turns", [-1, 4])
    def test_out_of_range(self, turns):
        with pytest.raises(ConfigurationError, match=rf"rotate_tasks must be in \[0, 4\), .* got {turns}"):
            DataArguments(tasks=self.TASKS, rotate_tasks=turns)
