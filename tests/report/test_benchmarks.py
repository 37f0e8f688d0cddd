"""Figures are held against published ones, and what isn't confirmed of the data is said, from the results alone."""

import pytest
from support.results import empty_results

from mulki_hf.report.benchmarks import PUBLISHED_FOR, notes, zero_shot_warnings
from mulki_hf.report.tables import results_table
from mulki_hf.results import StreamResults


def measured(zero_shot: list[float | None], published: float | None = 50.0, **fields) -> StreamResults:
    """Results of the tasks `a` and `b`, of the first of which something was published."""
    config = {"protocols": [fields.get("protocol", "til")]} | fields.pop("config", {})
    results = empty_results("a", "b", config=config, **fields)
    results.base.hub_id = PUBLISHED_FOR
    results.tasks[0].benchmark = {"name": "mtil:aircraft", "zero_shot": published, "notes": [], "changed": []}
    results.zero_shot = zero_shot
    return results


class TestWarnings:
    @pytest.mark.parametrize(
        ("value", "said"),
        [
            (50.0, None),
            (51.4, None),
            (48.6, None),
            (51.6, "51.6 %, 1.6 points above"),
            (40.0, "40.0 %, 10.0 points below"),
        ],
    )
    def test_more_than_one_and_a_half_points(self, value, said):
        warnings = zero_shot_warnings(measured([value, 3.0]))
        assert len(warnings) == (said is not None)
        assert not said or f"Zero-shot accuracy on a is {said} the 50.0 % published for mtil:aircraft" in warnings[0]

    def test_only_what_compares(self):
        assert zero_shot_warnings(measured([10.0, 3.0]))
        assert not zero_shot_warnings(measured([None, 3.0])) and not zero_shot_warnings(measured([]))
        assert not zero_shot_warnings(measured([10.0, 3.0], published=None))
        assert not zero_shot_warnings(measured([10.0, 3.0], protocol="xtail"))
        assert not zero_shot_warnings(measured([10.0, 3.0], config={"evaluate_on": "validation"}))
        for change in ("another model", "a sample", "other names"):
            results = measured([10.0, 3.0])
            task = results.tasks[0]
            if change == "another model":
                results.base.hub_id = "openai/clip-vit-base-patch32"
            elif change == "a sample":
                task.limits = {"max_eval_samples": 5, "evaluation_images": 3333}
            else:
                task.benchmark["changed"] = ["class_names"]
            assert not zero_shot_warnings(results), change

    def test_a_limit_that_leaves_no_image_out(self):
        results = measured([10.0, 3.0])
        results.tasks[0].limits = {"max_eval_samples": 9999, "evaluation_images": results.tasks[0].evaluation_images}
        assert zero_shot_warnings(results)


class TestNotes:
    def test_each_once_with_its_tasks(self):
        results = empty_results("a", "b_", "c")
        for task, own in zip(results.tasks, (["Not pinned.", "Split_d anew."], ["Not pinned."], []), strict=True):
            task.benchmark = {"name": "mtil:x", "zero_shot": None, "notes": own, "changed": []}
        results.tasks[2].benchmark["changed"] = ["templates", "train_split"]
        assert notes(results) == [
            r"a, b\_: Not pinned.",
            r"a: Split_d anew.",
            r"c: Not mtil:x as published: the task says otherwise in templates, train_split.",
        ]
        results.warnings = ["Far away."]
        assert results_table(results).partition("\n\n")[2].startswith("WARNING: Far away.\n\na, b\\_: Not pinned.\n")

    def test_results_without(self):
        assert notes(empty_results("a")) == [] and "WARNING" not in results_table(empty_results("a"))

    def test_stay_in_results(self, tmp_path):
        results = measured([10.0, 3.0])
        results.warnings = ["Far away."]
        results.save(tmp_path)
        again = StreamResults.load(tmp_path)
        assert again.warnings == ["Far away."] and again.tasks == results.tasks
