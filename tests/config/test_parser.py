"""From YAML and options to settings."""

import pytest

from mulki_hf.config.parser import make_parser, parse
from mulki_hf.errors import ConfigurationError


def test_command_line_overrides_yaml_and_types_convert(stream_yaml):
    stream, config = parse(["--config", str(stream_yaml()), "--max_steps", "7", "--no_adding", "--protocol", "xtail"])
    assert config.learning_rate == 1e-3
    assert (config.max_steps, config.adding, stream.protocol) == (7, False, "xtail")


def test_tasks_from_the_command_line(stream_yaml):
    stream, _ = parse(["--config", str(stream_yaml()), "--tasks", "{name: a, dataset: b}", "{name: c, dataset: d}"])
    assert [task.name for task in stream.task_configs()] == ["a", "c"]


def test_unknown_yaml_key_names_the_nearest(stream_yaml):
    with pytest.raises(ConfigurationError, match="unknown key 'elicit_wieght'; did you mean 'elicit_weight'"):
        parse(["--config", str(stream_yaml(elicit_wieght=1))])


def test_unknown_option(stream_yaml):
    with pytest.raises(SystemExit) as stop:
        parse(["--config", str(stream_yaml()), "--elicit_wieght", "1"])
    assert stop.value.code != 0


def test_every_option_is_explained_in_a_group():
    parser = make_parser()
    assert not [action.option_strings for action in parser._actions if not action.help]
    titles = {group.title for group in parser._action_groups}
    assert {"Stream", "Method", "MulKI (four stages)", "Select-and-Distill"} <= titles
