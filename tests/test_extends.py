"""Recipes that extend others."""

import pytest
import yaml

from mulki_hf.config.parser import parse
from mulki_hf.errors import ConfigurationError
from mulki_hf.extends import MAX_DEPTH, merged, read_layers
from mulki_hf.list_recipes import main


TASKS = [{"name": "pets", "dataset": "org/pets"}, {"name": "cars", "dataset": "org/cars", "templates": ["a {}"]}]


@pytest.fixture
def write(tmp_path):
    def write(name: str, **recipe):
        path = tmp_path / name
        path.parent.mkdir(parents=True, exist_ok=True)
        path.write_text(yaml.safe_dump(recipe))
        return path

    return write


def resolved(path) -> dict:
    return merged(read_layers(path))


class TestMerged:
    def test_later_ones_win_and_its_own_keys_last(self, write):
        write("a.yaml", seed=1, method="snd", max_steps=10)
        write("b.yaml", seed=2, method="zscl")
        own = write("own.yaml", extends=["a", "b.yaml"], method="lwf")
        assert resolved(own) == {"seed": 2, "method": "lwf", "max_steps": 10}

    def test_a_chain_in_folders(self, write):
        write("parts/_tasks.yaml", tasks=TASKS)
        write("base.yaml", extends="parts/_tasks", seed=1)
        own = write("deep/own.yml", extends="../base")
        assert resolved(own) == {"tasks": TASKS, "seed": 1}

    def test_a_recipe_that_ships(self, write):
        own = resolved(write("own.yaml", extends="quickstart", seed=3))
        assert own["model_name_or_path"] == "clip-nano" and len(own["tasks"]) == 5 and own["seed"] == 3

    def test_a_list_of_tasks_takes_the_place_of_another(self, write):
        write("a.yaml", tasks=TASKS)
        assert resolved(write("own.yaml", extends="a", tasks=TASKS[:1]))["tasks"] == TASKS[:1]

    def test_a_mapping_changes_tasks_by_name_wherever_their_list_stands(self, write):
        write("one.yaml", tasks=TASKS)
        write("two.yaml", tasks=TASKS[::-1])
        write("method.yaml", extends="one", tasks={"cars": {"learning_rate": 5e-5, "templates": None}})
        cars = {"name": "cars", "dataset": "org/cars", "learning_rate": 5e-5}
        assert resolved(write("first.yaml", extends="method"))["tasks"] == [TASKS[0], cars]
        # What a later list says of a task wins.
        turned = [TASKS[1] | {"learning_rate": 5e-5}, TASKS[0]]
        assert resolved(write("second.yaml", extends=["method", "two"]))["tasks"] == turned
        write("three.yaml", tasks=[TASKS[1] | {"learning_rate": 1e-7}])
        assert resolved(write("third.yaml", extends=["method", "three"]))["tasks"][0]["learning_rate"] == 1e-7
        assert TASKS[1] == {"name": "cars", "dataset": "org/cars", "templates": ["a {}"]}

    def test_a_list_of_its_own_takes_the_place_of_changes_too(self, write):
        write("one.yaml", tasks=TASKS)
        write("method.yaml", extends="one", tasks={"cars": {"learning_rate": 5e-5}})
        assert resolved(write("own.yaml", extends="method", tasks=TASKS[1:]))["tasks"] == TASKS[1:]
        own = resolved(write("few.yaml", extends="mtil/mulki", tasks=[{"name": "dtd", "dataset": "mtil:dtd"}]))
        assert own["tasks"] == [{"name": "dtd", "dataset": "mtil:dtd"}]

    def test_of_two_that_exclude_each_other_the_later(self, write):
        write("a.yaml", max_steps=5, max_train_samples=9, tasks=[TASKS[0] | {"max_steps": 3, "shots": 2}])
        few = {"num_train_epochs": 1, "max_train_samples": 7}
        own = write("own.yaml", extends="a", num_train_epochs=2, shots=4, tasks={"pets": few})
        assert resolved(own) == {"num_train_epochs": 2, "shots": 4, "tasks": [TASKS[0] | few]}

    def test_one_that_two_extend(self, write):
        write("base.yaml", seed=1, max_steps=3)
        write("a.yaml", extends="base", seed=2)
        write("b.yaml", extends="base")
        assert resolved(write("own.yaml", extends=["a", "b"])) == {"seed": 1, "max_steps": 3}


class TestRefused:
    def refused(self, path, message: str) -> None:
        with pytest.raises(ConfigurationError, match=message):
            parse(["--config", str(path)])

    def test_a_circle(self, write):
        write("a.yaml", extends="b")
        self.refused(write("b.yaml", extends="a"), r"in a circle, b.yaml > a.yaml > b.yaml")
        self.refused(write("c.yaml", extends="c"), r"in a circle, c.yaml > c.yaml")

    def test_too_deep(self, write):
        write("0.yaml", tasks=TASKS)
        for number in range(MAX_DEPTH):
            last = write(f"{number + 1}.yaml", extends=f"{number}")
        self.refused(last, f"more than {MAX_DEPTH} deep, 10.yaml > ")

    def test_what_is_not_there(self, write):
        own = write("own.yaml", extends="quick")
        self.refused(own, r"own.yaml: extends: no file 'quick' in its folder, .*; recipes: quickstart")

    @pytest.mark.parametrize("value", [3, {"a": "b"}, ["a", 1], ""])
    def test_what_is_no_name(self, write, value):
        self.refused(write("own.yaml", extends=value), "own.yaml: extends must name a recipe, or be a list of names")

    def test_what_is_no_mapping(self, write, tmp_path):
        (tmp_path / "a.yaml").write_text("- 1\n")
        self.refused(write("own.yaml", extends="a"), r"own.yaml: extends: .*a.yaml must be a mapping of fields")

    def test_keys_and_values_by_the_file_that_has_them(self, write):
        write("a.yaml", tasks=TASKS, leaning_rate=1)
        self.refused(write("own.yaml", extends="a"), "a.yaml: unknown key 'leaning_rate'; did you mean 'learning_rate'")
        write("a.yaml", tasks=TASKS, learning_rate="fast")
        self.refused(write("own.yaml", extends="a"), "a.yaml: learning_rate must be a number, got 'fast'")

    def test_changes_of_a_task_that_is_not_there(self, write):
        write("a.yaml", tasks=TASKS)
        own = write("own.yaml", extends="a", tasks={"dogs": {"shots": 5}})
        self.refused(own, "own.yaml: tasks is a mapping, .* names 'dogs': those are pets, cars")
        self.refused(write("own.yaml", extends="a", tasks={"pets": 5}), "own.yaml: tasks: pets must be a mapping")
        self.refused(write("own.yaml", tasks={"pets": {"shots": 5}}), "names 'pets': it has none")

    def test_a_wrong_change_by_file_and_task(self, write):
        write("a.yaml", tasks=TASKS)
        own = write("own.yaml", extends="a", tasks={"pets": {"shoots": 5}})
        self.refused(own, "own.yaml: tasks: pets: unknown key 'shoots'; did you mean 'shots'")
        self.refused(write("own.yaml", extends="a", tasks={1: {"shots": 5}}), r"own.yaml: tasks: names must be strings")

    @pytest.mark.parametrize("tasks", [None, 5, "foo", [5], [{"name": ["a"]}]])
    def test_tasks_that_are_no_list_of_tasks(self, write, tasks):
        own = write("own.yaml", tasks=tasks, output_dir="out", use_cpu=True)
        for options in ([], ["--max_steps", "3"]):
            with pytest.raises(ConfigurationError, match="tasks"):
                parse(["--config", str(own), *options])[0].task_configs()
        write("a.yaml", tasks=tasks)
        changed = write("own.yaml", extends="a", tasks={"pets": {"shots": 5}})
        self.refused(changed, "names 'pets': it has none")


def test_it_is_parsed_as_one_and_recorded_in_full(write):
    write("a.yaml", tasks=TASKS, method="snd", reference_dataset="org/images", max_steps=5)
    own = write("own.yaml", extends="a", learning_rate="1e-4", use_cpu=True, tasks={"pets": {"shots": 2}})
    stream, config = parse(["--config", str(own), "--output_dir", "out", "--max_steps", "7"])
    assert (config.method, config.learning_rate, config.max_steps) == ("snd", 1e-4, 7)
    assert stream.tasks == [TASKS[0] | {"shots": 2}, TASKS[1]]


def test_a_recipe_is_shown_in_full(capsys):
    main(["quickstart_snd", "--resolved"])
    printed = capsys.readouterr().out
    assert printed.startswith("# Select-and-Distill ") and "extends" not in printed
    assert yaml.safe_load(printed).items() >= {"method": "snd", "max_steps": 80}.items()
    with pytest.raises(SystemExit, match="^error: --resolved needs a name"):
        main(["--resolved"])


def test_the_command_line_wins_over_what_tasks_say_of_their_own(write):
    tasks = [TASKS[0] | {"learning_rate": 1e-5, "max_steps": 9}, TASKS[1] | {"shots": 3, "num_train_epochs": 2}]
    own = write("own.yaml", tasks=tasks, output_dir="out", use_cpu=True)
    stream, _ = parse(["--config", str(own)])
    assert stream.tasks == tasks
    stream, config = parse(["--config", str(own), "--max_steps=5", "--max-train-samples", "7"])
    assert stream.tasks == [TASKS[0] | {"learning_rate": 1e-5}, TASKS[1]]
    assert (config.max_steps, stream.max_train_samples) == (5, 7)
    listed = write("listed.yaml", tasks=[TASKS[0] | {"rows": "rows.json"}], output_dir="out", use_cpu=True)
    assert parse(["--config", str(listed), "--max_eval_samples", "7"])[0].tasks == [TASKS[0]]
    assert parse(["--config", str(listed), "--max_steps", "7"])[0].tasks == [TASKS[0] | {"rows": "rows.json"}]
    # Of two that exclude each other, the one that is typed.
    few = write("few.yaml", extends="own", shots=2, max_steps=4)
    stream, config = parse(["--config", str(few), "--max_train_samples", "7", "--num_train_epochs", "2"])
    assert (stream.shots, stream.max_train_samples) == (None, 7)
    assert (config.max_steps, config.num_train_epochs) == (-1, 2)
    assert stream.tasks == [TASKS[0] | {"learning_rate": 1e-5}, TASKS[1]]
