"""Results as Markdown tables."""

import shutil
from pathlib import Path

import pytest
from matplotlib.figure import Figure
from support.results import by_protocols, empty_results, make_results

from mulki_hf.report.plots import plot_accuracy_matrix, plot_curves
from mulki_hf.report.tables import (
    duration,
    full_tables,
    markdown_table,
    matrix_table,
    progress_line,
    results_table,
    signed,
)
from mulki_hf.results import StreamResults


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
            "snd_forgetting": "9.5",
            "snd_degradation": "9.5",
        }

    def test_of_other_protocols_the_metrics(self):
        matrix, metrics = results_table(by_protocols()).split("\n\n")
        assert self.check(matrix)[2] == ["digits", "80.2", "30.5"]
        header, *lines = self.check(metrics)
        assert header[:4] == ["protocol", "transfer", "avg", "last"] and header[-1] == "snd_degradation"
        assert [line[:4] for line in lines] == [
            ["cil", "30.5", "67.9", "80.4"],
            ["xtail", "20.5", "57.9", "70.4"],
            ["til", "10.5", "47.9", "60.4"],
        ]
        # Where all is 10 points lower, nothing more is lost.
        assert len({tuple(line[4:]) for line in lines}) == 1

    def test_the_matrix_by_another_protocol(self):
        rows = self.check(matrix_table(by_protocols(1), "til"))
        assert rows == [["after", "digits", "letters"], ["zero-shot", "30.0", "20.0"], ["digits", "60.2", "10.5"]]

    def test_metrics_that_older_versions_did_not_have_are_left_out(self, tmp_path):
        shutil.copy(Path(__file__).with_name("results_of_one_protocol.json"), tmp_path / "results.json")
        metrics = self.check(results_table(StreamResults.load(tmp_path)).split("\n\n")[1])
        assert metrics[0] == ["transfer", "avg", "last", "bwt", "forgetting", "degradation"]
        # Of two protocols one with and one without.
        results = by_protocols()
        del results.metrics["snd_forgetting"]
        lines = self.check(results_table(results).split("\n\n")[1])
        cells = {line[0]: dict(zip(lines[0], line, strict=True))["snd_forgetting"] for line in lines[1:]}
        assert cells == {"cil": "-", "xtail": "9.5", "til": "9.5"}

    def test_unfinished_stream_has_the_rows_so_far(self):
        assert [row[0] for row in self.check(results_table(make_results(1)))] == ["after", "zero-shot", "digits"]

    def test_undefined_metrics_are_dashes(self):
        results = empty_results("only", zero_shot=[10.0])
        results.add({results.protocol: [60.0]})
        metrics = self.check(results_table(results).split("\n\n")[1])
        assert metrics[1] == ["-", "60.0", "60.0", "-", "-", "-", "-", "-"]

    def test_short_cells_still_make_a_rule_of_three(self):
        assert self.check(markdown_table([["a", "b"], ["1", "2"]])) == [["a", "b"], ["1", "2"]]

    def test_before_anything_was_measured(self):
        header, *body = self.check(results_table(empty_results("digits", "letters")))
        assert header == ["after", "digits", "letters"]

    def test_names_with_a_bar_stay_in_their_cell(self):
        results = empty_results("a|b", zero_shot=[10.0])
        assert results_table(results).splitlines()[0].replace(r"\|", "").count("|") == 3


class TestLearnedElsewhere:
    """Rows of another stream, or of one model: their means, and nothing that supposes learning."""

    def results(self, *stages: str) -> StreamResults:
        results = empty_results("x", "y", elsewhere=True)
        results.stages = empty_results(*stages).tasks if stages else []
        results.measured({"til": [50.0, 40.0]})
        for number, _ in enumerate(stages):
            results.evaluated({"til": [60.0 + number, 30.0]})
        return results

    def test_a_runs_stages(self):
        results = self.results("a", "b")
        assert results.metrics == {"last": 45.5} and results.tasks_learned == 0
        header, _, *rows = full_tables(results).splitlines()[2:]
        assert cells(header) == ["after", "x", "y", "mean"]
        assert [cells(row) for row in rows] == [
            ["zero-shot", "50.0", "40.0", "45.0"],
            ["a", "60.0", "30.0", "45.0"],
            ["b", "61.0", "30.0", "45.5"],
        ]

    def test_one_model_has_its_name(self):
        results = self.results()
        assert matrix_table(results).splitlines()[2].startswith("| tiny ")
        assert results.subject == "tiny" and results.first_row == "tiny"

    def test_round_trip(self, tmp_path):
        self.results("a", "b", "c").save(tmp_path)
        assert StreamResults.load(tmp_path) == self.results("a", "b", "c")

    @pytest.mark.pictures
    @pytest.mark.parametrize("stages", [(), ("a",), ("a", "b"), ("a", "b", "c")])
    def test_pictures_frame_and_shade_nothing(self, tmp_path, monkeypatch, stages):
        drawn = []
        monkeypatch.setattr(Figure, "savefig", lambda figure, *args, **kwargs: drawn.append(figure))
        for draw in (plot_accuracy_matrix, plot_curves):
            draw(self.results(*stages), tmp_path / "x.png")
        assert all(not axes.patches for figure in drawn for axes in figure.axes[:1])
        name = "mulki" if stages else "tiny"
        assert drawn[1].get_suptitle().startswith(f"{name}, til: ")


def test_progress_has_a_line_for_each_protocol():
    assert progress_line(by_protocols(1), 0).splitlines() == [
        "task 1/2 digits: 80.2 % (zero-shot 50.0 %); not yet learned 30.5 % (zero-shot 40.0 %)",
        "  xtail: 70.2 % (zero-shot 40.0 %); not yet learned 20.5 % (zero-shot 30.0 %)",
        "  til: 60.2 % (zero-shot 30.0 %); not yet learned 10.5 % (zero-shot 20.0 %)",
    ]
    assert progress_line(by_protocols(), 1).splitlines()[1:] == [
        "  xtail: 80.1 % (zero-shot 30.0 %); earlier tasks 60.8 %",
        "  til: 70.1 % (zero-shot 20.0 %); earlier tasks 50.8 %",
    ]
    assert "\n" not in progress_line(make_results(), 1)


def test_numbers():
    assert [signed(value) for value in (3.24, -0.44, 0.04, -0.04)] == ["+3.2", "−0.4", "0.0", "0.0"]
    assert [duration(value) for value in (None, 12, 90, 3700)] == ["-", "12 s", "1 min 30 s", "1 h 1 min"]
