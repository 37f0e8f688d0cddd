"""Recipes, where they lie, and what of the settings they keep."""

import dataclasses
import tomllib
from pathlib import Path

import pytest
import yaml

from mulki_hf import MulKIConfig, StreamConfig
from mulki_hf.config.parser import parse
from mulki_hf.config.recipes import CONSTANT_FIELDS, changed_settings, write_recipe
from mulki_hf.errors import ConfigurationError
from mulki_hf.extends import merged, read_layers
from mulki_hf.resources import find_recipe, shipped_recipes


def test_recipes_are_found_by_name(tmp_path, monkeypatch):
    monkeypatch.chdir(tmp_path)
    assert find_recipe("quickstart").is_file()
    with pytest.raises(ConfigurationError, match="recipes: .*quickstart"):
        find_recipe("no-such-recipe")


def test_the_wheel_takes_every_recipe_and_the_card_along():
    project = Path(__file__).parents[2]
    content = tomllib.loads((project / "pyproject.toml").read_text())
    included = content["tool"]["hatch"]["build"]["targets"]["wheel"]["force-include"]
    parts = (project / "recipes").rglob("_*.yaml")
    shipped = [*shipped_recipes().values(), *parts, *(project / "model_cards").glob("*.jinja")]
    assert len(shipped) >= 5
    for path in shipped:
        relative = path.relative_to(project).as_posix()
        own = relative if relative in included else relative.rpartition("/")[0]
        assert included[own] == f"mulki_hf/{own}"


def test_recipes_are_valid():
    recipes = shipped_recipes()
    assert {"quickstart", "nano_mtil/order_1"} <= recipes.keys() and "nano_mtil/grid" not in recipes
    for name, path in recipes.items():
        stream, config = parse(["--config", name, "--use_cpu", "true"])
        assert stream.task_configs()
        assert merged(read_layers(path)).get("method", "mulki") == config.method


class TestChangedSettings:
    """What a card lists: what the result depends on and nobody gets without asking."""

    def changed(self, **given) -> dict:
        stream = StreamConfig(tasks=[{"name": "a", "dataset": "b"}])
        return changed_settings(
            dataclasses.asdict(stream) | MulKIConfig(output_dir="out", use_cpu=True, **given).to_dict()
        )

    @pytest.mark.parametrize("method", ["mulki", "snd", "finetune"])
    def test_defaults_of_a_method_are_no_settings(self, method):
        assert self.changed(method=method) == {}

    def test_what_was_given(self):
        given = {"train_towers": "text", "elicit_weight": 2.0, "learning_rate": 3e-4}
        assert self.changed(**given) == given
        assert self.changed(method="snd", train_towers="both") == {"train_towers": "both"}

    def test_what_the_result_does_not_depend_on(self):
        assert self.changed(logging_steps=3, save_steps=7, dataloader_num_workers=1) == {}

    def test_lora_lists_its_rank_and_what_does_not_follow_from_it(self):
        assert self.changed(lora_r=2) == {"lora_r": 2}
        assert self.changed(lora_r=2, lora_alpha=4.0, lora_towers="both") == {"lora_r": 2}
        given = {"lora_r": 2, "lora_alpha": 9.0, "lora_targets": "mlp", "lora_towers": "vision"}
        assert given.items() <= self.changed(**given).items()


def test_what_must_not_change_is_a_field():
    """A field that `transformers` renamed would be missing from recipes without a word."""
    fields = {f.name for cls in (StreamConfig, MulKIConfig) for f in dataclasses.fields(cls)}
    assert fields >= CONSTANT_FIELDS
    assert {"method", "tasks", "learning_rate", "lora_r", "views_per_sample"} <= CONSTANT_FIELDS
    assert not {"output_dir", "resume", "overwrite", "hub_token"} & CONSTANT_FIELDS


class TestDecisive:
    """What must not change is what the result depends on here."""

    def recipe(self, path, **given) -> dict:
        """What is written of a run, and read again."""
        stream = StreamConfig(tasks=[{"name": "a", "dataset": "b"}])
        config = MulKIConfig(output_dir="out", use_cpu=True, **given)
        write_recipe(dataclasses.asdict(stream) | config.to_dict() | {"num_processes": 2}, path)
        parse(["--config", str(path), "--use_cpu", "true"])
        return yaml.safe_load(path.read_text())

    def test_by_default_nothing_of_evaluating_and_saving(self, tmp_path):
        recipe = self.recipe(tmp_path / "recipe.yaml", eval_strategy="epoch", save_steps=7)
        assert recipe["accelerator_config"] is None and recipe["load_best_model_at_end"] is False
        assert not {"save_steps", "save_strategy", "eval_steps", "eval_strategy", "num_processes"} & recipe.keys()

    def test_with_a_best_checkpoint_all_of_it(self, tmp_path):
        best = {"method": "finetune", "load_best_model_at_end": True, "save_steps": 7, "eval_steps": 7}
        recipe = self.recipe(tmp_path / "recipe.yaml", **best, eval_strategy="steps")
        assert best.items() <= recipe.items() and recipe["metric_for_best_model"] == "loss"

    def test_of_the_accelerator_what_makes_batches(self, tmp_path):
        given = {"split_batches": True, "non_blocking": True, "even_batches": True}
        recipe = self.recipe(tmp_path / "recipe.yaml", accelerator_config=given)
        assert recipe["accelerator_config"] == {"split_batches": True}
