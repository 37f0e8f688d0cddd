"""From YAML and options to settings."""

import dataclasses

import pytest
import yaml

from mulki_hf.config import MulKIConfig, StreamConfig
from mulki_hf.config.parser import make_parser, parse
from mulki_hf.errors import ConfigurationError


def test_command_line_overrides_yaml_and_types_convert(stream_yaml):
    stream, config = parse(["--config", str(stream_yaml()), "--max_steps", "7", "--no_adding", "--seed", "5"])
    assert config.learning_rate == 1e-3
    assert (config.max_steps, config.adding, config.seed) == (7, False, 5)


class TestProtocols:
    """A list, which was one value once."""

    @pytest.mark.parametrize("given", ["cil,til", ["cil", "til"], ["cil, til"]])
    def test_in_a_recipe(self, stream_yaml, given):
        assert parse(["--config", str(stream_yaml(protocols=given))])[0].protocols == ["cil", "til"]

    @pytest.mark.parametrize(
        "options",
        [["--protocols", "til,cil"], ["--protocols", "til", "cil"], ["--protocols=til,cil"], ["--protocol", "til,cil"]],
    )
    @pytest.mark.parametrize("recipe", [{}, {"protocols": ["xtail"]}, {"protocol": "xtail"}])
    def test_the_command_line_goes_before_the_recipe(self, stream_yaml, recipe, options):
        assert parse(["--config", str(stream_yaml(**recipe)), *options])[0].protocols == ["til", "cil"]

    def test_a_recipe_of_older_versions(self, stream_yaml):
        assert parse(["--config", str(stream_yaml(protocol="cil"))])[0].protocols == ["cil"]

    def test_both_names_in_a_recipe(self, stream_yaml):
        message = "stream.yaml: protocol is an older name of protocols: give one of them, got both"
        with pytest.raises(ConfigurationError, match=message):
            parse(["--config", str(stream_yaml(protocol="cil", protocols=["til"]))])

    @pytest.mark.parametrize("key", ["protocol", "protocols"])
    @pytest.mark.parametrize(
        ("given", "message"),
        [
            ("all", "protocols must be of til, cil, xtail, got 'all'"),
            (5, "stream.yaml: protocols must be a list, got 5"),
            ([1], r"stream.yaml: protocols\[0\] must be a string, got 1"),
            ([], "protocols must name at least one"),
        ],
    )
    def test_what_is_none(self, stream_yaml, key, given, message):
        with pytest.raises(ConfigurationError, match=message):
            parse(["--config", str(stream_yaml(**{key: given}))])


class TestFormerSettings:
    """What is gone with the equations that it belonged to."""

    def test_of_the_method_itself_is_an_error(self, stream_yaml):
        message = "stream.yaml: relation_weight is a setting of mulki as an older version had it, with other equations"
        with pytest.raises(ConfigurationError, match=message):
            parse(["--config", str(stream_yaml(method="mulki", relation_weight=0.3))])

    def test_in_the_recipe_of_another_method_says_nothing(self, stream_yaml):
        """Recipes of finished tasks had the fields of all methods."""
        recipe = stream_yaml(method="finetune", relation_weight=0.3, relation_temperature=2.0)
        assert parse(["--config", str(recipe)])[1].method == "finetune"


def test_tasks_from_the_command_line(stream_yaml):
    stream, _ = parse(["--config", str(stream_yaml()), "--tasks", "{name: a, dataset: b}", "{name: c, dataset: d}"])
    assert [task.name for task in stream.task_configs()] == ["a", "c"]


def test_unknown_yaml_key_names_the_nearest(stream_yaml):
    with pytest.raises(ConfigurationError, match="unknown key 'elicit_wieght'; did you mean 'elicit_weight'"):
        parse(["--config", str(stream_yaml(elicit_wieght=1))])


def test_unknown_option(stream_yaml):
    with pytest.raises(ConfigurationError, match="^unrecognized arguments: --elicit_wieght 1; see --help$"):
        parse(["--config", str(stream_yaml()), "--elicit_wieght", "1"])


def test_every_option_is_explained_in_a_group():
    parser = make_parser()
    assert not [action.option_strings for action in parser._actions if not action.help]
    titles = {group.title for group in parser._action_groups}
    assert {"Stream", "Method", "MulKI (four stages)", "Select-and-Distill"} <= titles


class TestTypes:
    """Values of the YAML against the types of their fields."""

    @pytest.mark.parametrize("value", [None, [], {}, "", -1, 10**30, float("nan"), True, "x", ["x"]])
    @pytest.mark.parametrize("group", [StreamConfig, *MulKIConfig.__bases__])
    def test_whatever_stands_in_a_field(self, tmp_path, capfd, group, value):
        """It is taken, or refused by name in a line."""
        path = tmp_path / "stream.yaml"
        recipe = {"tasks": [{"name": "a", "dataset": "b"}], "output_dir": "out", "use_cpu": True, "report_to": "none"}
        for field in (field.name for field in dataclasses.fields(group) if field.init):
            path.write_text(yaml.safe_dump(recipe | {field: value}))
            try:
                parse(["--config", str(path)])
            except ConfigurationError as error:
                name = field.replace("gradient_ch", "activation_ch")
                assert name in str(error) or field in str(error) or "template" in str(error), (field, value, error)
                assert "\n" not in str(error)

    @pytest.mark.parametrize(
        ("change", "message"),
        [
            ({"output_dir": 5}, "output_dir must be a string, got 5"),
            ({"output_dir": ""}, "output_dir must name a folder"),
            ({"seed": -1}, r"seed must be in \[0, 2\*\*32\), got -1"),
            ({"seed": 2**32}, r"seed must be in \[0, 2\*\*32\), got 4294967296"),
            ({"data_seed": -1}, r"data_seed must be in \[0, 2\*\*32\), got -1"),
            ({"resume": "perhaps"}, "resume must be true or false, got 'perhaps'"),
            ({"max_steps": "many"}, "max_steps must be an integer, got 'many'"),
            ({"save_strategy": "sometimes"}, "save_strategy must be one of no, steps, epoch, best, got 'sometimes'"),
            ({"save_strategy": False}, r"save_strategy must be one of no, .*, got False \(quote it in YAML\?\)"),
            ({"dataset_num_proc": -1}, "dataset_num_proc must be >= 1, got -1"),
            ({"reference_dataset": ""}, "reference_dataset must be left out or name a dataset"),
        ],
    )
    def test_refused_with_the_field(self, stream_yaml, change, message):
        with pytest.raises(ConfigurationError, match=message):
            parse(["--config", str(stream_yaml(**change))])

    @pytest.mark.parametrize(
        ("line", "message"),
        [
            ("learning_rate:", "stream.yaml: learning_rate must be a number, got nothing"),
            ("seed: 1\nseed: 2", "line 3: key 'seed' is there already, in line 2"),
            ("seed: \0", "unacceptable character #x0000"),
            ("seed: " + "[" * 3000, "nested more than 50 levels deep"),
            ("license: !!int x", "a value is not what it looks like"),
        ],
    )
    def test_a_file_that_is_no_recipe(self, tmp_path, line, message):
        path = tmp_path / "stream.yaml"
        path.write_text(f"tasks: [{{name: a, dataset: b}}]\n{line}\n")
        with pytest.raises(ConfigurationError, match=message):
            parse(["--config", str(path)])
        path.write_text(f"tasks: [{{name: a, dataset: b}}]\n{line}\n", encoding="utf-16")
        with pytest.raises(ConfigurationError, match="it is not UTF-8 text"):
            parse(["--config", str(path)])


def test_tasks_that_are_no_yaml(stream_yaml):
    with pytest.raises(ConfigurationError, match="^argument --tasks.*: tasks: while parsing .*; see --help$"):
        parse(["--config", str(stream_yaml()), "--tasks", "{a"])


def test_tasks_that_are_no_mappings(stream_yaml):
    with pytest.raises(
        ConfigurationError, match="--tasks: must be mappings with at least name and dataset, got 'colou"
    ):
        parse(["--config", str(stream_yaml()), "--tasks", "colours"])
