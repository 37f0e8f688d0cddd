"""The benchmark's tables."""

import json

import pytest
import table
from records import Record, Records, versions_of
from support.results import empty_results


def record(label: str, order: int, seed: int, metrics: tuple, stage: str = "grid", **fields) -> Record:
    names = ("transfer", "avg", "last", "forgetting")
    content = {"trial": "", "method": label, "settings": {}, "tasks": ["a"], "steps": 1, "seconds": 1.0}
    content |= {"zero_shot": [1.0], "accuracy": [], "versions": {}, "data": {"a": "f00"}}
    return Record(
        stage=stage,
        label=label,
        order=order,
        seed=seed,
        metrics=dict(zip(names, metrics, strict=False)),
        **content | fields,
    )


MULKI = [record("mulki", order, seed, (30, 60 + 10 * order + seed, 80, 5)) for order in (1, 2) for seed in (0, 1)]


EMPTY = '{"of": "mulki", "settings": {}, "versions": {}, "runs": []}'


class TestTable:
    def test_mean_and_spread_are_over_seeds_and_orders(self):
        assert "| mulki  | 4    | 30.0 ± 0.0 | 75.5 ± 5.8 | 80.0 ± 0.0 | 5.0 ± 0.0" in table.comparison(MULKI)

    def test_means_of_each_order(self):
        assert "| mulki  | 30.0        | 70.5   | 80.0    | 30.0        | 80.5" in table.orders(MULKI)

    def test_differences_are_of_pairs_alone(self):
        """Unpaired, the orders' spread would hide them."""
        snd = [record("snd", run.order, run.seed, (31, run.metrics["avg"] - 2 - run.seed, 80, 7)) for run in MULKI[:3]]
        line = table.differences([*MULKI, *snd], "mulki").splitlines()[-1]
        cells = [cell.strip() for cell in line.split("|")[1:-1]]
        assert cells[:4] == ["snd", "3", "−1.0 ± 0.0 (0/3)", "+2.3 ± 0.6 (3/3)"]
        # Less forgetting is ahead; what is within its spread is said so.
        assert cells[4:] == ["≈ 0.0 ± 0.0 (0/3)", "−2.0 ± 0.0 (3/3)", "-"]

    def test_a_run_that_stands_for_all_seeds_or_orders_is_in_every_pair(self):
        zero_shot = [record("zero_shot", order, 0, (40, 60, 60, 0)) for order in (1, 2)]
        joint = [record("joint", 1, seed, (None, 90 + seed, 90 + seed)) for seed in (0, 1)]
        lines = table.differences([*MULKI, *zero_shot, *joint], "mulki").splitlines()[2:]
        cells = [[cell.strip() for cell in line.split("|")[1:-1]] for line in lines]
        assert cells[0][:3] == ["zero_shot", "4", "−10.0 ± 0.0 (0/4)"]
        assert cells[1][:4] == ["joint", "4", "-", "−15.0 ± 5.8 (0/4)"]

    def test_runs_on_other_data_are_told(self):
        tuning = record("mulki", 1, 0, (1, 1, 1), "tuning", data={"a": "va1"})
        assert "saw the same data" not in table.tables(Records([*MULKI, tuning]))
        changed = table.tables(Records([*MULKI, record("snd", 1, 0, (1, 1, 1), data={"a": "f01", "b": "f02"})]))
        assert "**Warning:** Not all runs saw the same data: a changed" in changed

    def test_runs_of_other_versions_are_told(self, tmp_path, capsys):
        """Below the first table, and to whom writes the tables into a file."""
        made = {"git_commit": "c0ffee", "torch": "2.13"}
        runs = [record(run.label, run.order, run.seed, (30, 60, 80, 5), versions=made) for run in MULKI]
        assert "Warning" not in table.tables(Records(runs))
        other = record("snd", 1, 0, (1, 1, 1, 1), versions=made | {"torch": "2.14"})
        Records([*runs, other]).save(tmp_path / "runs.json")
        table.main([str(tmp_path / "runs.json"), "--output", str(tmp_path / "runs.md")])
        warning = "Not all runs were made with the same versions: torch (2.13 in 4 runs, 2.14 in 1)."
        assert capsys.readouterr().err == f"warning: {warning}\n"
        parts = (tmp_path / "runs.md").read_text().split("\n\n")
        assert parts[1].startswith("| method") and parts[2] == f"**Warning:** {warning}"

    def test_a_run_that_went_on_with_another_commit_is_told(self):
        results = empty_results("a", "b", zero_shot=[5.0, 6.0], versions={"python": "3.11", "torch": "2.13"})
        for commit in ("c0ffee", "decade" + "0" * 34):
            results.provenance = {"git_commit": commit}
            results.add({"til": [50.0, 10.0]})
        made = versions_of(results)
        assert made == {"python": "3.11", "torch": "2.13", "git_commit": f"c0ffee then decade{'0' * 34}"}
        told = table.tables(Records([record("mulki", 1, 0, (1, 1, 1), versions=made)]))
        assert "versions: git_commit (c0ffee then decade00 in 1 run)." in told

    def test_an_ablation_names_what_differs(self):
        less = [record("no-stage-1", 1, 0, (29, 69, 78), "ablation", method="mulki", settings={"eliciting": False})]
        line = table.variants(MULKI, less, "mulki").splitlines()[-1]
        assert "eliciting=false" in line and "−1.0 (0/1)" in line and "−2.0 (0/1)" in line

    def test_the_best_mean_of_the_headline_is_chosen(self):
        tuning = [
            record(
                "snd",
                1,
                0,
                (transfer, avg, 70),
                "tuning",
                trial=f"learning_rate={rate}",
                settings={"learning_rate": rate},
            )
            for rate, transfer, avg in ((0.1, 33, 60), (0.2, 32, 65), (0.3, 28, 66))
        ]
        assert [line.endswith("| yes    |") for line in table.trials(tuning).splitlines()[2:]] == [False, True, False]
        joint = [record("joint", 1, 0, (None, avg, avg), "tuning", trial=f"{avg}") for avg in (50, 60)]
        assert table.best_trial(joint).trial == "60"
        other = [record("snd", 1, 0, (30, 60, 70), settings={"learning_rate": 0.1})]
        assert "- snd, of 3: `learning_rate=0.2`" in table.chosen(tuning, [])
        assert "**the grid ran with** `learning_rate=0.1`" in table.chosen(tuning, other)
        assert "ran with" not in table.chosen(tuning, [record("snd", 1, 0, (1, 1, 1), settings={"learning_rate": 0.2})])

    def test_what_all_runs_have_is_written_once(self, tmp_path):
        path = tmp_path / "runs.json"
        shared, made = {"max_steps": 40, "batch": None}, {"git_commit": "c0ffee", "torch": "2.13"}
        runs = [
            record("a", 1, 0, (1, 1, 1), settings=shared | {"rate": 1}, versions=made),
            record("b", 1, 0, (1, 1, 1), settings=shared | {"rate": 2, "own": 3}, versions=made | {"torch": "2.14"}),
        ]
        Records(runs).save(path)
        content = json.loads(path.read_text())
        assert (content["settings"], content["versions"]) == (shared, {"git_commit": "c0ffee"})
        assert [run["settings"] for run in content["runs"]] == [{"rate": 1}, {"rate": 2, "own": 3}]
        assert [run["versions"] for run in content["runs"]] == [{"torch": "2.13"}, {"torch": "2.14"}]
        assert Records.load(path, tmp_path).runs == runs

    @pytest.mark.parametrize("content", [None, "{", '{"runs": [{"stage": 1}]}', EMPTY])
    def test_what_is_no_record_is_refused(self, tmp_path, content):
        path = tmp_path / "results.json"
        if content is not None:
            path.write_text(content)
        with pytest.raises(SystemExit, match=f"error: .*{path}"):
            table.main([str(path)])

    def test_a_folder_of_something_else_is_not_passed_over(self, grid_yaml, tmp_path):
        stray = tmp_path / "runs/tuning/tuned/learning_rate=7/order1-seed0"
        stray.mkdir(parents=True)
        (stray / "results.json").write_text("{}")
        with pytest.raises(SystemExit, match="learning_rate=7/order1-seed0 is no run of the grid"):
            table.main([str(tmp_path / "runs"), "--grid", str(grid_yaml())])
