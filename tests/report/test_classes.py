"""What a task's images were taken for, class by class."""

import csv

import pytest
from matplotlib.figure import Figure
from PIL import Image
from support.results import empty_results

from mulki_hf.report.classes import Confusion, class_table, plot_confusion, write_classes, write_counts


def confusion(protocol: str = "xtail") -> Confusion:
    """Of the second of two tasks, which has a class `b` as the first has: that counts as its own."""
    results = empty_results("one", "two", protocol=protocol)
    results.tasks[0].class_names, results.tasks[1].class_names = ["a", "b"], ["b", "c", "d|e"]
    # Classes of the stream:  a  b | b  c  d|e
    return Confusion.of(results, 1, "after two", [[4, 2, 3, 0, 1], [0, 5, 0, 2, 0], [0, 0, 0, 0, 0]])


class TestCounts:
    def test_classes_of_equal_name_are_one_and_others_are_together(self):
        assert confusion().counts == [[5, 0, 1, 4], [5, 2, 0, 0], [0, 0, 0, 0]]

    def test_the_commonest_mistake_is_named_with_its_task(self):
        assert confusion().mistakes == [("one: a", 4), ("b", 5), None]

    def test_rows(self):
        assert confusion().rows() == [
            ("b", 10, 5, 50.0, "one: a (4)"),
            ("c", 7, 2, pytest.approx(200 / 7), "b (5)"),
            ("d|e", 0, 0, None, ""),
        ]


def test_the_table_of_a_class_without_images_has_a_dash():
    lines = class_table(confusion()).splitlines()
    assert "| 10     | 5     | 50.0     | one: a (4)" in lines[2] and r"d\|e" in lines[4] and "| -  " in lines[4]


def test_files(tmp_path):
    write_counts(confusion(), tmp_path / "counts.csv")
    write_classes(confusion(), tmp_path / "classes.csv")
    counts, classes = ([*csv.reader((tmp_path / name).open())] for name in ("counts.csv", "classes.csv"))
    assert counts[:2] == [["class", "b", "c", "d|e", "other tasks"], ["b", "5", "0", "1", "4"]]
    assert classes[1] == ["b", "10", "5", "50.0", "one: a (4)"] and classes[3] == ["d|e", "0", "0", "", ""]


class TestPicture:
    @pytest.mark.parametrize("size", [1, 3, 40, pytest.param(400, marks=pytest.mark.long)])
    def test_of_few_and_of_many_classes(self, tmp_path, size):
        names = [f"class number {number}" for number in range(size)]
        counts = [[int(i == j) * 9 + (j == size) for j in range(size + 1)] for i in range(size)]
        plot_confusion(Confusion("t", "m", "xtail", names, counts, [None] * size), tmp_path / "x.png")
        with Image.open(tmp_path / "x.png") as picture:
            assert picture.format == "PNG" and max(picture.size) < 8000

    @pytest.mark.parametrize(("protocol", "columns"), [("til", 3), ("xtail", 4)])
    def test_other_tasks_have_a_column_where_they_compete(self, tmp_path, monkeypatch, protocol, columns):
        drawn = []
        monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
        plot_confusion(confusion(protocol), tmp_path / "x.png")
        shares = drawn[0].axes[0].images[0].get_array()
        assert shares.shape == (3, columns) and shares[0, 0] == pytest.approx(5 / (5 + 1 + 4 * (columns - 3)) * 100)
        assert drawn[0].axes[0].get_title() == f"two, {protocol}: after two"
