"""A stream's results on disk, as a table and as pictures."""

import json

import pytest
from PIL import Image

from mulki_hf.errors import ConfigurationError
from mulki_hf.metrics import continual_metrics
from mulki_hf.report.plots import plot_accuracy_matrix, plot_curves
from mulki_hf.report.tables import markdown_table, results_table
from mulki_hf.results import BaseModel, ReferenceRecord, StreamResults, TaskRecord


ROWS = [[80.25, 30.5], [70.75, 90.125]]


def empty_results(*names: str, method: str = "mulki", protocol: str = "til", **fields) -> StreamResults:
    tasks = [TaskRecord(name, "local files", ["a", "b"], ["{}"], 10, 5) for name in names]
    return StreamResults(method, protocol, tasks, BaseModel("tiny"), **fields)


def make_results(finished: int = 2) -> StreamResults:
    results = empty_results(
        "digits", "Straßenschilder", zero_shot=[50.0, 40.0], config={"seed": 3}, versions={"torch": "2"}
    )
    results.reference = ReferenceRecord("org/pictures", 100, "mit")
    for row in ROWS[:finished]:
        results.add({"til": row}, seconds=1.5)
    return results


class TestFile:
    @pytest.mark.parametrize("finished", [0, 1, 2])
    def test_round_trip(self, tmp_path, finished):
        results = make_results(finished)
        results.save(tmp_path)
        assert StreamResults.load(tmp_path) == results
        assert [path.name for path in tmp_path.iterdir()] == ["results.json"]

    def test_is_json_that_people_can_read(self, tmp_path):
        make_results().save(tmp_path)
        text = (tmp_path / "results.json").read_text(encoding="utf-8")
        assert json.loads(text)["accuracy"] == ROWS
        assert "Straßenschilder" in text and text.endswith("}\n")

    def test_undefined_metrics_are_null(self, tmp_path):
        results = empty_results("only", method="snd", protocol="cil", zero_shot=[10.0])
        results.add({results.protocol: [60.0]})
        results.save(tmp_path)
        assert "NaN" not in (tmp_path / "results.json").read_text()
        assert StreamResults.load(tmp_path).metrics["transfer"] is None

    def test_failing_to_write_keeps_the_old_file(self, tmp_path):
        results = make_results(1)
        results.save(tmp_path)
        results.config = {"broken": object()}
        with pytest.raises(TypeError):
            results.save(tmp_path)
        assert StreamResults.load(tmp_path) == make_results(1)

    @pytest.mark.parametrize("text", ["", "{", "[1, 2]", "7", "{}", '{"method": "mulki"}', '{"a": 1}', "\udcff"])
    def test_broken_file(self, tmp_path, text):
        (tmp_path / "results.json").write_bytes(text.encode("utf-8", "surrogateescape"))
        with pytest.raises(ConfigurationError, match="can't read results from .*results.json"):
            StreamResults.load(tmp_path)

    def test_missing_file(self, tmp_path):
        with pytest.raises(ConfigurationError, match="can't read results"):
            StreamResults.load(tmp_path)


class TestMetrics:
    def test_come_with_the_last_task(self):
        results = make_results(0)
        for row in ROWS:
            assert results.metrics == {}
            results.add({"til": row})
        assert results.metrics == continual_metrics(ROWS, [50.0, 40.0])
        assert results.finished == 2


def cells(line: str) -> list[str]:
    assert line.startswith("| ") and line.endswith(" |")
    return [cell.strip() for cell in line[1:-1].split("|")]


class TestTable:
    def check(self, table: str) -> list[list[str]]:
        """The cells of a well-formed, aligned Markdown table, header first."""
        header, rule, *body = table.splitlines()
        assert {len(line) for line in (rule, *body)} == {len(header)}
        bars = [position for position, sign in enumerate(header) if sign == "|"]
        assert all([p for p, sign in enumerate(line) if sign == "|"] == bars for line in (rule, *body))
        assert set(rule) == {"|", "-"}
        assert all(len(dashes) >= 3 for dashes in rule.strip("|").split("|"))
        return [cells(line) for line in (header, *body)]

    def test_holds_every_number(self):
        matrix, metrics = results_table(make_results()).split("\n\n")
        assert self.check(matrix) == [
            ["after", "digits", "Straßenschilder"],
            ["zero-shot", "50.0", "40.0"],
            ["digits", "80.2", "30.5"],
            ["Straßenschilder", "70.8", "90.1"],
        ]
        # transfer 30.5; avg (80.25 + 30.5 + 70.75 + 90.125) / 4; last (70.75 + 90.125) / 2; bwt 70.75 - 80.25
        assert dict(zip(*self.check(metrics), strict=True)) == {
            "transfer": "30.5",
            "avg": "67.9",
            "last": "80.4",
            "bwt": "-9.5",
            "forgetting": "9.5",
            "degradation": "9.5",
        }

    def test_unfinished_stream_has_the_rows_so_far(self):
        assert [row[0] for row in self.check(results_table(make_results(1)))] == ["after", "zero-shot", "digits"]

    def test_undefined_metrics_are_dashes(self):
        results = empty_results("only", zero_shot=[10.0])
        results.add({results.protocol: [60.0]})
        metrics = self.check(results_table(results).split("\n\n")[1])
        assert metrics[1] == ["-", "60.0", "60.0", "-", "-", "-"]

    def test_short_cells_still_make_a_rule_of_three(self):
        assert self.check(markdown_table([["a", "b"], ["1", "2"]])) == [["a", "b"], ["1", "2"]]

    def test_before_anything_was_measured(self):
        header, *body = self.check(results_table(empty_results("digits", "letters")))
        assert header == ["after", "digits", "letters"]

    def test_names_with_a_bar_stay_in_their_cell(self):
        results = empty_results("a|b", zero_shot=[10.0])
        assert results_table(results).splitlines()[0].replace(r"\|", "").count("|") == 3


@pytest.mark.parametrize("draw", [plot_accuracy_matrix, plot_curves])
@pytest.mark.parametrize(("tasks", "finished"), [(1, 0), (1, 1), (2, 1), (6, 6)])
def test_pictures(tmp_path, draw, tasks, finished):
    results = empty_results(*(f"task {j}" for j in range(tasks)), zero_shot=[40.0] * tasks)
    for i in range(finished):
        results.add({"til": [float(10 * i + j) for j in range(tasks)]})
    draw(results, tmp_path / "picture.png")
    with Image.open(tmp_path / "picture.png") as picture:
        assert picture.format == "PNG"
        assert len(picture.convert("RGB").getcolors(maxcolors=1 << 24)) > 10
