"""What is run, and what is refused before anything runs."""

import sys

import pytest
import run as runner
from grid import Grid
from support.nano_mtil import METHODS

from mulki_hf.errors import ConfigurationError


NEAR = """
from dataclasses import dataclass
from mulki_hf.objectives import Objective

@dataclass
class NearArguments:
    near_weight: float = 1.0

class Near(Objective):
    "Nothing."
    arguments = NearArguments

    def retention(self, batch):
        return {}
"""


@pytest.fixture
def near(tmp_path, monkeypatch):
    """A method of the user's own, in a module of the working directory."""
    (tmp_path / "near_to_nano.py").write_text(NEAR)
    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr(sys, "path", [*sys.path])
    yield "near_to_nano:Near"
    sys.modules.pop("near_to_nano", None)


class TestGrid:
    def test_whole_comparisons_come_first(self, grid_yaml):
        runs = Grid.load(grid_yaml()).runs("grid")
        assert [(run.seed, run.order) for run in runs] == [*[(0, 1)] * 4, *[(0, 2)] * 3, *[(1, 1)] * 3, *[(1, 2)] * 2]
        assert [run.label for run in runs[:4]] == [*METHODS]

    def test_an_ablation_has_the_whole_method_beside_it(self, grid_yaml):
        runs = Grid.load(grid_yaml()).runs("ablation", seeds=[1], orders=[2])
        assert [(run.stage, run.label, run.settings) for run in runs] == [
            ("grid", "mulki", {"method": "mulki", "feature_weight": 2}),
            ("ablation", "no-stage-1", {"method": "mulki", "feature_weight": 2, "eliciting": False}),
        ]

    def test_settings_are_the_same_however_they_are_written(self, grid_yaml):
        row = {"base": {"weight_decay": "1e-1"}, "trials": [{"eliciting": "yes", "learning_rate": "1e-3"}]}
        row["chosen"] = {"learning_rate": 0.001, "eliciting": True}
        ablation = {"of": "mulki", "variants": {"slow": {"learning_rate": "1e-5"}}}
        grid = Grid.load(grid_yaml(methods=METHODS | {"mulki": row}, ablation=ablation))
        (trial,), (chosen, *_) = (grid.runs(stage, ["mulki"]) for stage in ("tuning", "grid"))
        expected = {"method": "mulki", "weight_decay": 0.1, "eliciting": True, "learning_rate": 0.001}
        assert trial.settings == chosen.settings == expected
        assert trial.trial == "eliciting=true,learning_rate=0.001"
        assert grid.runs("ablation", seeds=[0], orders=[1])[1].settings == expected | {"learning_rate": 1e-5}

    def test_the_same_trial_twice(self, grid_yaml):
        trials = [{"learning_rate": "1e-3"}, {"learning_rate": 0.001}]
        with pytest.raises(ConfigurationError, match=r"trials\[1\] is there already: learning_rate=0.001"):
            Grid.load(grid_yaml(methods={"mulki": {"trials": trials}}, ablation=None))

    def test_options_have_every_digit(self, grid_yaml, tmp_path):
        row = {"base": {"learning_rate": "1.23456789e-4", "lwf_weight": 3.0, "model_revision": "12345678"}}
        run = Grid.load(grid_yaml(methods={"lwf": row}, ablation=None)).runs("grid")[0]
        options = run.options(tmp_path)
        given = [options[options.index(f"--{name}") + 1] for name in row["base"]]
        assert given == ["0.000123456789", "3", "12345678"]

    def test_a_method_of_the_users_own_has_its_fields(self, grid_yaml, tmp_path, near):
        rows = {"near": {"method": near, "base": {"near_weight": "3"}, "trials": [{"learning_rate": "1e-3"}]}}
        ablation = {"of": "near", "variants": {"far": {"near_weight": 0}}}
        rows["near"]["chosen"] = rows["near"]["trials"][0]
        grid = Grid.load(grid_yaml(methods=rows, ablation=ablation))
        weights = [run.resolved(tmp_path / "runs")["near_weight"] for run in grid.runs("ablation", seeds=[0])]
        assert weights == [3.0, 0.0, 3.0, 0.0]
        ablation["variants"]["far"] = {"near_wight": 0}
        with pytest.raises(
            ConfigurationError, match="variants.far: unknown key 'near_wight'; did you mean 'near_weight'"
        ):
            Grid.load(grid_yaml(methods=rows, ablation=ablation))

    def changed(self, name: str, **fields) -> dict:
        return {"methods": METHODS | {name: METHODS[name] | fields}}

    @pytest.mark.parametrize(
        ("stage", "options", "changes", "message"),
        [
            ("grid", [], ("tuned", {"trials": []}), "methods.tuned.trials must hold at least one"),
            (
                "grid",
                [],
                ("tuned", {"chosen": None}),
                "methods.tuned.chosen is missing: run tuning first .*into grid.yaml",
            ),
            ("grid", [], ("tuned", {"chosen": {"learning_rate": 2}}), "methods.tuned.chosen must be one of its trials"),
            ("grid", [], ("tuned", {"trails": []}), "methods.tuned: unknown key 'trails'; did you mean 'trials'"),
            ("grid", [], ("tuned", {"method": "fine"}), "methods.tuned: method must be one of .*'fine'"),
            ("grid", [], ("joint", {"orders": [3]}), "methods.joint.orders: 3 is none of 1, 2"),
            (
                "grid",
                [],
                ("mulki", {"base": {"feature_wight": 1}}),
                "mulki.base: .*'feature_wight'; did you mean 'feature_",
            ),
            ("grid", [], ("mulki", {"base": {"seed": 1}}), "mulki.base: unknown key 'seed'"),
            ("grid", [], ("mulki", {"base": {"max_steps": "x"}}), "mulki.base: max_steps must be an integer, got 'x'"),
            ("grid", [], ("mulki", {"base": {"feature_weight": -1}}), "mulki, .*feature_weight must be >= 0 .*-1"),
            (
                "grid",
                [],
                ("mulki", {"base": {"feature_weight": None}}),
                "mulki.base.feature_weight must be a plain value",
            ),
            ("grid", ["--methods", "mulki,snb"], None, "--methods: snb is none of zero_shot, tuned, mulki, joint"),
            ("grid", ["--seeds", "0,7"], None, "--seeds: 7 is none of 0, 1"),
            ("grid", ["--orders", "3"], None, "--orders: 3 is none of 1, 2"),
            ("grid", ["--methods", "joint", "--orders", "2"], None, "nothing to run with these --methods"),
            ("tuning", ["--methods", "zero_shot"], None, "tuning: nothing to run"),
            ("tuning", ["--seeds", "1"], None, "--seeds and --orders: tuning has those of grid.yaml alone"),
            ("ablation", ["--methods", "mulki"], None, "--methods: mulki is none of no-stage-1"),
        ],
    )
    def test_what_can_not_be_is_refused_before_anything_runs(
        self, grid_yaml, tmp_path, stub, stage, options, changes, message
    ):
        path = grid_yaml(**(self.changed(changes[0], **changes[1]) if changes else {}))
        with pytest.raises(SystemExit, match=f"error: .*{message}"):
            runner.main([stage, "--grid", str(path), "--output_dir", str(tmp_path / "runs"), *options])
        assert not stub.exists() and not (tmp_path / "runs").exists()

    @pytest.mark.parametrize(("field", "value"), [("seeds", []), ("methods", {}), ("orders", [])])
    def test_nothing_to_compare(self, grid_yaml, field, value):
        with pytest.raises(ConfigurationError, match=f"grid.yaml: {field} must hold at least one"):
            Grid.load(grid_yaml(**{field: value}))

    def test_orders_differ_in_their_order_alone(self, grid_yaml, tmp_path):
        path = grid_yaml()
        other = tmp_path / "order_2.yaml"
        other.write_text(other.read_text().replace("max_steps: 1", "max_steps: 9"))
        with pytest.raises(ConfigurationError, match="orders: max_steps must be the same .* got 1 in .* and 9 in "):
            Grid.load(path)

    @pytest.mark.parametrize("options", [["--seeds", "a"], ["--seeds", "1,"], ["--workers", "0"]])
    def test_options_that_are_none(self, options, capsys):
        with pytest.raises(SystemExit, match="2"):
            runner.main(["grid", "--output_dir", "x", *options])
        assert f"{options[0]}" in capsys.readouterr().err
