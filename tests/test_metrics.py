"""The stream's metrics on matrices worked out by hand."""

import math

import pytest

from mulki_hf import continual_metric
from mulki_hf.metrics import continual_metrics


TWO = [[80.0, 30.0], [70.0, 90.0]]
THREE = [[90.0, 40.0, 20.0], [60.0, 80.0, 30.0], [70.0, 50.0, 70.0]]


class TestByHand:
    def test_two_tasks(self):
        assert continual_metrics(TWO, [50.0, 40.0]) == {
            "transfer": 30.0,  # task 2 before learning it: 30
            "avg": 67.5,  # (80 + 30 + 70 + 90) / 4
            "last": 80.0,  # (70 + 90) / 2
            "bwt": -10.0,  # 70 - 80
            "forgetting": 10.0,  # max(80, 70) - 70
            "degradation": 10.0,  # 40 - 30
        }

    def test_three_tasks(self):
        assert continual_metrics(THREE, [10.0, 45.0, 20.0]) == {
            "transfer": pytest.approx(32.5),  # task 2: 40; task 3: (20 + 30) / 2 = 25; mean of 40 and 25
            "avg": pytest.approx(510 / 9),  # rows sum to 150, 170, 190
            "last": pytest.approx(190 / 3),
            "bwt": pytest.approx(-25.0),  # (70 - 90, 50 - 80) = (-20, -30)
            "forgetting": pytest.approx(25.0),  # (90 - 70, 80 - 50) = (20, 30)
            "degradation": pytest.approx(2.5),  # (45 - 40, 20 - 25 -> 0) = (5, 0)
        }

    def test_transfer_is_the_mean_of_column_means(self):
        # columns before learning: (60), (0, 0); their means' mean is 30, the entries' mean would be 20
        assert continual_metrics([[9, 60, 0], [9, 9, 0], [9, 9, 9]])["transfer"] == 30.0

    def test_forgetting_looks_at_the_best_row_and_bwt_at_the_diagonal(self):
        # task 1: learned at 50, best 90 after task 2, 70 in the end
        metrics = continual_metrics([[50, 0, 0], [90, 40, 0], [70, 40, 0]])
        assert (metrics["bwt"], metrics["forgetting"]) == (10.0, 10.0)  # (20 + 0) / 2 and (20 + 0) / 2

    def test_gains_do_not_offset_degradation(self):
        assert continual_metrics(TWO, [99.0, 10.0])["degradation"] == 0.0

    def test_without_zero_shot_there_is_no_degradation_and_nothing_else_changes(self):
        without = continual_metrics(THREE)
        assert without["degradation"] is None
        assert without | {"degradation": 2.5} == continual_metrics(THREE, [10.0, 45.0, 20.0])

    @pytest.mark.parametrize("zero_shot", [None, [40.0]])
    def test_one_task(self, zero_shot):
        undefined = dict.fromkeys(["transfer", "bwt", "forgetting", "degradation"])
        assert continual_metrics([[60.0]], zero_shot) == undefined | {"avg": 60.0, "last": 60.0}

    def test_bounds_are_percentages_and_results_plain_floats(self):
        metrics = continual_metrics([[0, 100], [100, 0]], [0, 100])
        assert metrics["bwt"] == 100.0
        assert {type(value) for value in metrics.values()} == {float}


@pytest.mark.parametrize(
    ("accuracy", "zero_shot", "message"),
    [
        ([], None, "accuracy must be a T x T matrix"),
        ([[]], None, "accuracy must be a T x T matrix"),
        ([50.0], None, "accuracy must be a T x T matrix"),
        ([[1.0, 2.0]], None, r"accuracy must be a T x T matrix, got shape \(1, 2\)"),
        ([[[1.0]]], None, "accuracy must be a T x T matrix"),
        ([[1.0, 2.0], [3.0]], None, "accuracy must be rows of numbers of equal length"),
        ([["high"]], None, "accuracy must be rows of numbers"),
        ([[80.0, math.nan], [70.0, 90.0]], None, r"accuracy holds NaN at \[0, 1\]"),
        ([[80.0, 30.0], [-1.0, 90.0]], None, r"accuracy must be percentages in \[0, 100\], got -1.0 at \[1, 0\]"),
        ([[80.0, 30.0], [70.0, 100.5]], None, r"got 100.5 at \[1, 1\]"),
        ([[math.inf]], None, "got inf"),
        (TWO, [], "zero_shot must hold one value for each of the 2 tasks"),
        (TWO, [50.0], r"zero_shot must hold one value for each of the 2 tasks, got shape \(1,\)"),
        (TWO, [[50.0, 40.0]], "zero_shot must hold one value"),
        (TWO, [50.0, math.nan], r"zero_shot holds NaN at \[1\]"),
        (TWO, [50.0, 101.0], r"zero_shot must be percentages in \[0, 100\], got 101.0 at \[1\]"),
        (TWO, ["x", "y"], "zero_shot must be rows of numbers"),
        (50.0, None, "T x T"),
    ],
)
def test_invalid_input(accuracy, zero_shot, message):
    with pytest.raises(ValueError, match=message):
        continual_metrics(accuracy, zero_shot)


class TestEvaluateMetric:
    @pytest.fixture(scope="class")
    def metric(self, tmp_path_factory):
        import evaluate

        with pytest.MonkeyPatch.context() as patch:
            modules = str(tmp_path_factory.mktemp("modules"))  # away from the user's cache
            patch.syspath_prepend(modules)
            folder = evaluate.loading.init_dynamic_modules("mulki_test_modules", modules)
            patch.setattr("evaluate.loading.init_dynamic_modules", lambda: folder)
            yield evaluate.load(
                continual_metric.__file__, keep_in_memory=True, cache_dir=str(tmp_path_factory.mktemp("cache"))
            )

    @pytest.mark.parametrize("matrix", [TWO, THREE, [[60.0]]])
    def test_is_the_function(self, metric, matrix):
        zero_shot = [45.0, 35.0, 22.0][: len(matrix)]
        assert metric.compute(accuracy=matrix) == continual_metrics(matrix)
        assert metric.compute(accuracy=matrix, zero_shot=zero_shot) == continual_metrics(matrix, zero_shot)

    def test_refuses_what_the_function_refuses(self, metric):
        with pytest.raises(ValueError, match="percentages"):
            metric.compute(accuracy=[[101.0]])

    def test_rows_can_be_added_one_by_one(self, metric):
        for row in THREE:
            metric.add(accuracy=row)
        assert metric.compute() == continual_metrics(THREE)
