"""Metrics of any matrix, with any cells missing."""

from statistics import mean

import pytest
from hypothesis import assume, given, settings
from hypothesis import strategies as st

from mulki_hf.metrics import METRICS, cells_used, continual_metrics


cells = st.one_of(st.none(), st.floats(0, 100, allow_subnormal=False))
whole = st.floats(0, 100, allow_subnormal=False)


def streams(cell=cells):
    """A matrix of one to five tasks, and its zero-shot row or none."""

    def of(tasks: int):
        row = st.lists(cell, min_size=tasks, max_size=tasks)
        return st.tuples(st.lists(row, min_size=tasks, max_size=tasks), st.none() | row)

    return st.integers(1, 5).flatmap(of)


def known(values):
    return [value for value in values if value is not None]


def difference(left, right):
    return None if left is None or right is None else left - right


def plainly(matrix, level) -> dict[str, float | None]:
    """As the docstring has it, in plain Python."""
    tasks = len(matrix)
    level, last = level or [None] * tasks, matrix[-1]
    means = {name: [] for name in METRICS}
    means["avg"], means["last"] = known(sum(matrix, [])), known(last)
    for j in range(1, tasks):
        before = known(matrix[i][j] for i in range(j))
        lost = known(difference(level[j], matrix[i][j]) for i in range(j))
        means["transfer"] += [mean(before)] if before else []
        means["degradation"] += [max(0.0, mean(lost))] if lost else []
        means["snd_degradation"] += [max(lost)] if lost else []
    for j in range(tasks - 1):
        column, since = known(row[j] for row in matrix), known(row[j] for row in matrix[j + 1 :])
        means["bwt"] += known([difference(last[j], matrix[j][j])])
        means["forgetting"] += known([difference(max(column), last[j])]) if column else []
        means["snd_forgetting"] += known([difference(matrix[j][j], min(since))]) if since else []
    return {name: mean(own) if own else None for name, own in means.items()}


@given(streams())
def test_they_are_what_they_are_said_to_be(stream):
    matrix, level = stream
    assert continual_metrics(matrix, level) == {
        name: None if value is None else pytest.approx(value, abs=1e-9) for name, value in plainly(*stream).items()
    }


@given(streams())
def test_bounds(stream):
    metrics, own = continual_metrics(*stream), known(sum(stream[0], []))
    for name in ("transfer", "avg", "last"):
        assert metrics[name] is None or min(own) - 1e-9 <= metrics[name] <= max(own) + 1e-9
    for name in ("bwt", "snd_forgetting", "snd_degradation"):
        assert metrics[name] is None or -100 <= metrics[name] <= 100
    for name in ("forgetting", "degradation"):
        assert metrics[name] is None or 0 <= metrics[name] <= 100


@given(streams(whole))
def test_of_a_whole_matrix_all_are_known_and_agree(stream):
    matrix, level = stream
    metrics = continual_metrics(matrix, level)
    if len(matrix) == 1:
        assert {name for name in METRICS if metrics[name] is not None} == {"avg", "last"}
        return
    unknown = set() if level else {"degradation", "snd_degradation"}
    assert {name for name in METRICS if metrics[name] is None} == unknown
    # What is lost since a task was learned, at worst, is no less than what is lost in the end.
    assert metrics["snd_forgetting"] >= -metrics["bwt"] - 1e-9
    assert metrics["forgetting"] >= -metrics["bwt"] - 1e-9


@given(st.integers(1, 6), whole)
def test_of_a_model_that_never_changes(tasks, value):
    metrics = continual_metrics([[value] * tasks] * tasks, [value] * tasks)
    same, gone = {"transfer", "avg", "last"}, set(METRICS) - {"transfer", "avg", "last"}
    assert all(metrics[name] in (None, pytest.approx(value)) for name in same)
    assert all(metrics[name] in (None, pytest.approx(0, abs=1e-9)) for name in gone)


@given(streams(), st.data())
def test_a_cell_that_a_metric_does_not_use_changes_nothing(stream, data):
    """And one that it uses is counted: [`cells_used`] says how many there are."""
    matrix, level = stream
    used = cells_used(matrix, level)
    row, column = (data.draw(st.integers(0, len(matrix) - 1)) for _ in range(2))
    other = [[*cells] for cells in matrix]
    other[row][column] = data.draw(cells)
    before, after, now = continual_metrics(matrix, level), continual_metrics(other, level), cells_used(other, level)
    filled = (other[row][column] is not None) - (matrix[row][column] is not None)
    for name in used:
        assert now[name][1] == used[name][1] and now[name][0] - used[name][0] in (0, filled)
    upper, left = row < column, column < len(matrix) - 1
    touched = {"avg"} | ({"last"} if row == len(matrix) - 1 else set())
    touched |= {"transfer", "degradation", "snd_degradation"} if upper else set()
    touched |= {"forgetting", "bwt", "snd_forgetting"} if left else set()
    assert {name: before[name] for name in METRICS if name not in touched} == {
        name: after[name] for name in METRICS if name not in touched
    }


@given(streams(), st.randoms(use_true_random=False))
def test_whatever_has_no_order_needs_none(stream, random):
    """The mean of all cells, and that of the last row."""
    matrix, level = stream
    assume(len(matrix) > 1)
    columns = [*range(len(matrix))]
    random.shuffle(columns)
    turned = [[row[column] for column in columns] for row in matrix]
    before, after = continual_metrics(matrix, level), continual_metrics(turned)
    for name in ("avg", "last"):
        assert after[name] == (None if before[name] is None else pytest.approx(before[name], abs=1e-9))


odd = st.one_of(cells, st.floats(), st.text(max_size=3), st.booleans())


@settings(max_examples=30)
@given(st.lists(st.lists(odd, max_size=3), max_size=3), st.none() | st.lists(cells, max_size=3))
def test_anything_else_is_refused(matrix, level):
    """With a message, or it is a matrix after all."""
    try:
        continual_metrics(matrix, level)
    except ValueError as error:
        assert str(error)
