"""The stream's metrics on matrices worked out by hand."""

import math
from statistics import mean

import numpy as np
import pytest

from mulki_hf import continual_metric
from mulki_hf.metrics import continual_metrics


TWO = [[80.0, 30.0], [70.0, 90.0]]
THREE = [[90.0, 40.0, 20.0], [60.0, 80.0, 30.0], [70.0, 50.0, 70.0]]
LOSSES = ["bwt", "forgetting", "degradation", "snd_forgetting", "snd_degradation"]
UNDEFINED = dict.fromkeys(["transfer", *LOSSES])


class TestByHand:
    def test_two_tasks(self):
        assert continual_metrics(TWO, [50.0, 40.0]) == {
            "transfer": 30.0,  # task 2 before learning it: 30
            "avg": 67.5,  # (80 + 30 + 70 + 90) / 4
            "last": 80.0,  # (70 + 90) / 2
            "bwt": -10.0,  # 70 - 80
            "forgetting": 10.0,  # max(80, 70) - 70
            "degradation": 10.0,  # 40 - 30
            "snd_forgetting": 10.0,  # 80 - 70
            "snd_degradation": 10.0,  # 40 - 30
        }

    def test_three_tasks(self):
        assert continual_metrics(THREE, [10.0, 45.0, 20.0]) == {
            "transfer": pytest.approx(32.5),  # task 2: 40; task 3: (20 + 30) / 2 = 25; mean of 40 and 25
            "avg": pytest.approx(510 / 9),  # rows sum to 150, 170, 190
            "last": pytest.approx(190 / 3),
            "bwt": pytest.approx(-25.0),  # (70 - 90, 50 - 80) = (-20, -30)
            "forgetting": pytest.approx(25.0),  # (90 - 70, 80 - 50) = (20, 30)
            "degradation": pytest.approx(2.5),  # (45 - 40, 20 - 25 -> 0) = (5, 0)
            "snd_forgetting": pytest.approx(30.0),  # (90 - min(60, 70), 80 - 50) = (30, 30)
            "snd_degradation": pytest.approx(2.5),  # (45 - 40, 20 - min(20, 30)) = (5, 0)
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
        assert without["degradation"] is without["snd_degradation"] is None
        both = {"degradation": 2.5, "snd_degradation": 2.5}
        assert without | both == continual_metrics(THREE, [10.0, 45.0, 20.0])

    def test_in_select_and_distills_own_gains_count(self):
        metrics = continual_metrics([[80.0, 30.0], [85.0, 90.0]], [99.0, 10.0])
        assert (metrics["snd_forgetting"], metrics["snd_degradation"]) == (-5.0, -20.0)
        assert (metrics["forgetting"], metrics["degradation"]) == (0.0, 0.0)

    @pytest.mark.parametrize("zero_shot", [None, [40.0]])
    def test_one_task(self, zero_shot):
        assert continual_metrics([[60.0]], zero_shot) == UNDEFINED | {"avg": 60.0, "last": 60.0}

    @pytest.mark.parametrize("zero_shot", [None, [40.0, 10.0, 5.0]])
    def test_all_tasks_at_once_is_one_row(self, zero_shot):
        assert continual_metrics([[60.0, 90.0, 30.0]], zero_shot) == UNDEFINED | {"avg": 60.0, "last": 60.0}

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
        ([[1.0, 2.0, 3.0]] * 2, None, r"accuracy must be a T x T matrix, or one row of T, got shape \(2, 3\)"),
        ([[1.0, 2.0]] * 3, None, r"accuracy must be a T x T matrix, or one row of T, got shape \(3, 2\)"),
        ([[1.0, 2.0]], [50.0], r"zero_shot must hold one value for each of the 2 tasks, got shape \(1,\)"),
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


def by_definition(A: list[list[float]], Z: list[float]) -> dict[str, float]:
    """What the papers write, over tasks 1..T, one sum after another."""
    T = len(A)
    return {
        "transfer": mean(mean(A[i][j] for i in range(j)) for j in range(1, T)),
        "avg": mean(value for row in A for value in row),
        "last": mean(A[T - 1]),
        "bwt": mean(A[T - 1][j] - A[j][j] for j in range(T - 1)),
        "forgetting": mean(max(A[i][j] for i in range(T)) - A[T - 1][j] for j in range(T - 1)),
        "degradation": mean(max(0.0, Z[j] - mean(A[i][j] for i in range(j))) for j in range(1, T)),
        "snd_forgetting": mean(max(A[j][j] - A[i][j] for i in range(j + 1, T)) for j in range(T - 1)),
        "snd_degradation": mean(max(Z[j] - A[i][j] for i in range(j)) for j in range(1, T)),
    }


@pytest.mark.parametrize("tasks", [2, 3, 5, 11])
def test_random_matrices_against_the_definitions(tasks):
    rng = np.random.default_rng(tasks)
    for _ in range(50):
        # Whole percentages repeat, so that there are ties.
        scale = rng.choice([1, 100])
        accuracy = (rng.integers(0, 100 // scale + 1, (tasks, tasks)) * float(scale)).tolist()
        zero_shot = rng.uniform(0, 100, tasks).tolist()
        assert continual_metrics(accuracy, zero_shot) == pytest.approx(by_definition(accuracy, zero_shot))


def test_a_model_that_never_changes_loses_nothing():
    row = [90.1, 30.3, 40.7]
    metrics = continual_metrics([row] * 3, row)
    assert metrics == pytest.approx({"transfer": 35.5, "avg": 161.1 / 3, "last": 161.1 / 3} | dict.fromkeys(LOSSES, 0))
    # Not a rounding error of nothing.
    assert {metrics[name] for name in LOSSES} == {0.0}


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

    @pytest.mark.parametrize("matrix", [TWO, THREE, [[60.0]], [[60.0, 90.0, 30.0]]])
    def test_is_the_function(self, metric, matrix):
        zero_shot = [45.0, 35.0, 22.0][: len(matrix[0])]
        assert metric.compute(accuracy=matrix) == continual_metrics(matrix)
        assert metric.compute(accuracy=matrix, zero_shot=zero_shot) == continual_metrics(matrix, zero_shot)

    def test_refuses_what_the_function_refuses(self, metric):
        with pytest.raises(ValueError, match="percentages"):
            metric.compute(accuracy=[[101.0]])

    def test_rows_can_be_added_one_by_one(self, metric):
        for row in THREE:
            metric.add(accuracy=row)
        assert metric.compute() == continual_metrics(THREE)
