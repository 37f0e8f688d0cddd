"""Names of tasks and classes, and templates."""

import pytest
from support.tiny import rows, tiny_task

from mulki_hf import TaskConfig
from mulki_hf.data.names import check_class_names, check_templates
from mulki_hf.errors import ConfigurationError


@pytest.mark.parametrize("name", ["x" * 201, "é" * 101, "x" * 5000])
def test_a_task_name_that_no_folder_takes(name):
    """Bytes count, not characters."""
    with pytest.raises(ConfigurationError, match="task name must take at most 200 bytes") as error:
        TaskConfig(name, "data")
    assert len(str(error.value)) < 300


def test_the_longest_task_name():
    assert TaskConfig("é" * 100, "data").name == "é" * 100


@pytest.mark.parametrize("name", ["a\x00", "a\nb", "a\u202eb", "a\u200b", "a\x1b[31m"])
def test_class_names_and_templates_with_characters_that_nobody_sees(name):
    for check in (lambda: check_class_names(["a", name], "task 'x'"), lambda: check_templates([name + "{}"], "stream")):
        with pytest.raises(ConfigurationError, match="must be one line of characters that can be seen") as error:
            check()
        assert str(error.value).isprintable()


def test_the_field_of_templates_is_named():
    for field in ("templates", "eval_templates"):
        with pytest.raises(ConfigurationError, match=f"task 't': {field} must be a non-empty list, got \\[\\]"):
            TaskConfig("t", "data", **{field: []})
    with pytest.raises(ConfigurationError, match="eval_templates must be a non-empty list"):
        tiny_task(names=["red"], train=rows(["red"], 2, 0), evaluation=rows(["red"], 2, 0), eval_templates=[])


def test_so_does_a_task_made_in_python():
    with pytest.raises(ConfigurationError, match=r"task 'colours': class name 1 .* without '\\u202e'"):
        data = rows(["red", "blue"], 2, 0)
        tiny_task(names=["red", "blue\u202e"], train=data, evaluation=data)


@pytest.mark.parametrize("names", [["a" * 5000, "a" * 5000], ["a" * 5000, 3, " "], "a" * 5000])
def test_a_very_long_class_name_is_shortened(names):
    with pytest.raises(ConfigurationError) as error:
        check_class_names(names, "task 'x'")
    assert len(str(error.value)) < 300


@pytest.mark.parametrize(
    ("field", "value", "message"),
    [
        ("dataset", 5, "dataset must be a string, got 5"),
        ("dataset", "a\x00b", "dataset must be one line"),
        ("image_column", ["image"], "image_column must be a string"),
        ("revision", 2017, r"revision must be a string, got 2017 \(quote it in YAML\?\)"),
        ("class_incremental", 0, "class_incremental must be an integer >= 1, got 0"),
        ("class_incremental", 2.5, "class_incremental must be an integer or a list, got 2.5"),
        ("class_incremental", None, "class_incremental must be an integer or a list, got nothing"),
        ("class_order_seed", -1, "class_order_seed must be >= 0, got -1"),
        ("data_files", {"train": 5}, "data_files"),
        ("templates", {}, "templates must be a list"),
    ],
)
def test_a_tasks_field_of_another_type(field, value, message):
    with pytest.raises(ConfigurationError, match=f"task 'a': .*{message}"):
        TaskConfig(**{"name": "a", "dataset": "b"} | {field: value})
