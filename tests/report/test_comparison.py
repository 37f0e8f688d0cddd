"""Runs side by side: which are seeds of one row, on what they are compared, and how rows differ."""

import csv
import io
import re

import numpy as np
import pytest
from support.compared import ZERO, joint, rows, three, zero_shot
from support.results import empty_results, seeded

from mulki_hf.errors import ConfigurationError
from mulki_hf.metrics import METRICS, continual_metrics
from mulki_hf.records import ReferenceRecord
from mulki_hf.report.comparison.compared import compare
from mulki_hf.report.comparison.tables import (
    CSV_COLUMNS,
    csv_text,
    differences,
    last,
    markdown_text,
    settings,
    summary,
    terminal_text,
    unpaired,
)


def column(table: list[list[str]], name: str) -> dict[str, str]:
    return {row[0]: row[table[0].index(name)] for row in table[1:]}


class TestRows:
    def test_seeds_are_one_row_with_mean_and_spread(self):
        comparison = compare(three("mulki", 0) | three("finetune", -4))
        assert [(row.label, len(row.runs)) for row in comparison.rows] == [("mulki", 3), ("finetune", 3)]
        expected = [continual_metrics(rows(seed)[1:], ZERO)["avg"] for seed in range(3)]
        assert (
            column(summary(comparison), "Avg")["mulki"] == f"{np.mean(expected):.1f} ± {np.std(expected, ddof=1):.1f}"
        )
        assert comparison.notes == []

    def test_what_says_nothing_of_the_result_makes_no_row(self):
        runs = three("mulki", 0)
        for number, results in enumerate(runs.values()):
            results.config |= {
                "output_dir": f"/there/{number}",
                "hub_model_id": f"org/{number}",
                "logging_steps": number,
            }
        assert len(compare(runs).rows) == 1

    def test_a_label_says_as_little_as_tells_rows_apart(self):
        runs = {
            "a": seeded(rows(), settings={"learning_rate": 1e-4, "text_learning_rate": 1e-4}),
            "b": seeded(rows(), settings={"learning_rate": 5e-4, "text_learning_rate": 5e-4}),
            "c": seeded(rows(), settings={"learning_rate": 5e-4, "text_learning_rate": 5e-4, "lora_r": 16}),
            "d": seeded(rows(), method="finetune", settings={"learning_rate": 3e-4}),
            "e": seeded(rows(), method="snd"),
        }
        comparison = compare(runs)
        labels = [row.label for row in comparison.rows]
        assert labels == [
            "mulki, learning_rate 0.0001",
            "mulki, learning_rate 0.0005",
            "mulki, learning_rate 0.0005, lora_r 16",
            "finetune",
            "snd",
        ]
        # The table has all that differs, with the default where nobody gave a value.
        table = {row[0]: row[1:] for row in settings(comparison)}
        assert table["text_learning_rate"] == ["0.0001", "0.0005", "0.0005", "-", "-"]
        assert table["learning_rate"][-1] == "1e-05"

    def test_labels_that_are_cut_off_differ_all_the_same(self):
        tuners = [{"peft_type": "OFT", "target_modules": "a" * 40, "r": r} for r in (1, 2, 3)]
        runs = {f"{n}": seeded(rows(), settings={"peft_config": tuner}) for n, tuner in enumerate(tuners)}
        labels = [row.label for row in compare(runs).rows]
        assert len({*labels}) == 3 and max(map(len, labels)) < 70 and labels[2] == f"{labels[0]} (3)"

    @pytest.mark.parametrize("where", ["model", "templates", "training images", "reference"])
    def test_what_the_settings_do_not_say_makes_rows_too(self, where):
        one, other = seeded(rows()), seeded(rows(), 1)
        if where == "model":
            other.base.name = "large"
        elif where == "templates":
            other.tasks[1].templates = ["a {}"]
        elif where == "training images":
            other.tasks[1].training_images = 4
        else:
            other.reference = ReferenceRecord("org/pictures", 5)
        comparison = compare({"one": one, "other": other})
        assert len(comparison.rows) == 2 and len({row.label for row in comparison.rows}) == 2
        assert len(settings(comparison)) >= 3

    def test_the_same_seed_twice_is_told(self):
        (note,) = compare({"one": seeded(rows()), "again": seeded(rows(1))}).notes
        assert note.startswith("one and again are of one row and one seed (0): ")


class TestDifferences:
    def test_are_of_pairs_alone(self):
        """Seeds lie far apart, pairs do not."""
        runs = {f"m{seed}": seeded(rows(5 * seed), seed) for seed in (0, 1, 2)}
        runs |= {f"f{seed}": seeded(rows(5 * seed - 4), seed, method="finetune") for seed in (2, 1, 3)}
        table = differences(compare(runs))
        assert table[0][:2] == ["minus mulki", "pairs"]
        assert column(table, "pairs") == {"finetune": "2"}
        assert column(table, "Last")["finetune"] == "−4.0 ± 0.0 (0/2)"
        assert column(table, "Transfer")["finetune"] == "−1.0 ± 0.0 (0/2)"

    def test_less_forgetting_is_ahead(self):
        worse = [ZERO, *([value - 3 * (i > j) for j, value in enumerate(row)] for i, row in enumerate(rows()[1:]))]
        table = differences(compare({"m": seeded(rows()), "f": seeded(worse, method="finetune")}, against="f"))
        assert column(table, "Forgetting")["mulki"] == "−3.0 (1/1)"
        assert table[0][0] == "minus finetune"

    def test_without_a_common_seed_there_is_none_and_it_is_said(self):
        comparison = compare({"m": seeded(rows(), 0), "f": seeded(rows(), 1, method="finetune")})
        assert column(differences(comparison), "pairs") == {"finetune": "0"}
        assert column(differences(comparison), "Avg") == {"finetune": "-"}
        assert unpaired(comparison) == [
            "finetune has no pair with mulki, whose seeds are 0 and its own 1: pairs are of equal seed and order of "
            "the tasks."
        ]
        assert unpaired(comparison)[0] in terminal_text(comparison)

    def test_what_learns_nothing_stands_for_every_seed_and_joint_for_every_order(self):
        runs = three("mulki", 0) | {f"ba-{seed}": seeded(rows(), seed, "bac") for seed in range(3)}
        runs |= {"zero": zero_shot(), "zero-bac": zero_shot(7, "bac")}
        runs |= {f"joint-{seed}": joint(seed) for seed in range(3)}
        comparison = compare(runs)
        assert column(differences(comparison), "pairs") == {"zero_shot": "6", "joint": "6"}

    def test_against_must_be_one_of_them(self):
        with pytest.raises(ConfigurationError, match="--against 'x' is none of the runs: m"):
            compare({"m": seeded(rows())}, against="x")

    def test_one_row_alone_has_no_differences(self):
        comparison = compare(three("mulki", 0))
        assert differences(comparison) == [] and "minus" not in terminal_text(comparison)


class TestMethodsThatAreNoStreams:
    def test_joint_is_one_row_of_the_matrix(self):
        comparison = compare({"mulki": seeded(rows()), "joint": joint()})
        assert [row[2:] for row in summary(comparison) if row[0] == "joint"] == [["-", "72.0", "72.0", "-", "-"]]
        assert comparison.rows[1].curve("a") == {0: [50.0], 3: [82.0]}
        assert any("joint learns all tasks at once" in note for note in comparison.notes)

    def test_zero_shot_has_its_recorded_metrics(self):
        comparison = compare({"mulki": seeded(rows()), "zero": zero_shot()})
        assert [row[2:] for row in summary(comparison) if row[0] == "zero_shot"] == [
            ["35.0", "40.0", "40.0", "0.0", "0.0"]
        ]
        assert column(last(comparison), "b") == {"zero-shot": "40.0", "mulki": "68.0", "zero_shot": "40.0"}

    def test_zero_shot_on_fewer_tasks(self):
        """Where no more classes compete as tasks go by its matrix is known, else nothing is."""
        runs = {"two": seeded(rows(width=2), names="ab"), "zero": zero_shot()}
        assert column(summary(compare(runs)), "Avg")["zero_shot"] == "45.0"
        runs = {"two": seeded(rows(width=2), names="ab", protocol="cil"), "zero": zero_shot(protocol="cil")}
        comparison = compare(runs)
        assert summary(comparison)[2][2:] == ["-"] * 5
        assert column(last(comparison), "b")["zero_shot"] == "-"


class TestEvaluationsOfWhatLearnedElsewhere:
    """Of models that did not learn the tasks there is what they are in the end."""

    def elsewhere(self, row: list[float], name: str = "clip", stages=None, **fields):
        results = seeded([row], names="abc", **fields)
        results.base.name, results.elsewhere, results.stages = name, True, []
        if stages:
            results.stages = empty_results(*stages).tasks
            for number in range(len(stages)):
                results.accuracy.append([value + number for value in row])
        return results

    def test_models_as_they_are_side_by_side(self):
        runs = {"one": self.elsewhere(ZERO), "other": self.elsewhere([60.0, 50.0, 40.0], "tuned")}
        comparison = compare(runs)
        assert [row.label for row in comparison.rows] == ["clip", "tuned"]
        assert summary(comparison)[2][2:] == ["-", "-", "50.0", "-", "-"]
        assert column(differences(comparison), "Last") == {"tuned": "+10.0 (1/1)"}
        assert last(comparison)[1:] == [["clip", "50.0", "40.0", "30.0"], ["tuned", "60.0", "50.0", "40.0"]]
        assert comparison.notes == [
            "Evaluated on tasks that they did not learn: one, other. Of those only Last is defined."
        ]
        assert len(csv_text(comparison).splitlines()) == 1 + 2 * (8 + 3)

    def test_another_streams_models_beside_a_stream(self):
        runs = {"stream": seeded(rows()), "run": self.elsewhere(ZERO, "tiny", stages=("x", "y"), method="snd")}
        comparison = compare(runs)
        assert column(summary(comparison), "Last") == {"mulki": "68.0", "snd": "41.0"}
        assert comparison.rows[1].curve("a") == {0: [50.0], 3: [51.0]}
        assert markdown_text(comparison, ["x.png", "y.png"]) and csv_text(comparison)


class TestOtherTasks:
    def test_are_compared_where_they_overlap(self):
        """With every metric of that part of the matrix alone, as if there had been no other task."""
        comparison = compare({"three": seeded(rows()), "two": seeded(rows(1, width=2), names="ab", method="finetune")})
        assert comparison.tasks == ["a", "b"]
        assert comparison.rows[0].runs[0].metrics == continual_metrics([row[:2] for row in rows()[1:3]], ZERO[:2])
        (note,) = comparison.notes
        assert "different tasks" in note and "(a, b)" in note and "Left out: three: c." in note
        for text in (terminal_text(comparison), markdown_text(comparison, ["x.png", "y.png"])):
            assert "The runs are of different tasks." in text

    def test_of_a_longer_stream_the_rows_after_the_common_tasks(self):
        runs = {"axb": seeded(rows(), names="axb"), "ab": seeded(rows(width=2), names="ab")}
        comparison = compare(runs)
        assert comparison.rows[0].runs[0].accuracy == [[rows()[i][j] for j in (0, 2)] for i in (1, 3)]
        # It has learned something else before, and so is no seed of the other.
        assert [row.label for row in comparison.rows] == ["mulki, other tasks x", "mulki"]

    def test_an_unfinished_run_is_compared_on_what_it_has_learned(self):
        runs = three("mulki", 0) | {"begun": seeded(rows()[:3], 3)}
        comparison = compare(runs)
        assert comparison.tasks == ["a", "b"]
        assert comparison.notes[0] == "begun has learned 2 of its 3 tasks: only those are compared."
        # Up to there it is a seed like the others.
        assert [len(row.runs) for row in comparison.rows] == [4]
        with pytest.raises(ConfigurationError, match="begun: nothing to compare yet"):
            compare({"mulki": seeded(rows()), "begun": seeded(rows()[:1])})

    def test_no_overlap_is_refused(self):
        with pytest.raises(ConfigurationError, match=r"no task is in all runs.*one: a, b, c; other: x, y, z"):
            compare({"one": seeded(rows()), "other": seeded(rows(), names="xyz")})

    @pytest.mark.parametrize(
        ("change", "why"),
        [
            ({"class_names": ["a", "b", "c"]}, "2 and 3 classes"),
            ({"class_names": ["a", "z"]}, "other class names"),
            ({"evaluation_images": 7}, "5 and 7 evaluation images"),
            ({"fingerprint": "f01"}, "other images or labels"),
        ],
    )
    def test_a_task_of_the_same_name_may_be_another(self, change, why):
        one, other = seeded(rows()), seeded(rows(), 1)
        one.tasks[1].fingerprint = other.tasks[1].fingerprint = "f00"
        for name, value in change.items():
            setattr(other.tasks[1], name, value)
        comparison = compare({"one": one, "other": other})
        assert comparison.tasks == ["a", "c"]
        assert f"Task 'b' is not the same in one and other: {why}." in comparison.notes

    def test_fewer_training_images_are_the_same_task(self):
        """Their fingerprint is another, the evaluation images are not."""
        one, other = seeded(rows()), seeded(rows())
        one.tasks[1].fingerprint, other.tasks[1].fingerprint, other.tasks[1].training_images = "f00", "f01", 4
        assert compare({"one": one, "other": other}).tasks == ["a", "b", "c"]

    def test_few_shots_are_rows_of_the_same_tasks_whichever_images_were_drawn(self):
        runs = {"whole": seeded(rows())} | {f"few-{seed}": seeded(rows(-5), seed) for seed in range(2)}
        for number, results in enumerate(runs.values()):
            for task in results.tasks:
                task.fingerprint = f"f{number}"
                if number:
                    task.training_images, task.limits = 4, {"shots": 2, "sample_seed": number, "training_images": 10}
        comparison = compare(runs)
        assert comparison.tasks == ["a", "b", "c"] and comparison.notes == []
        assert [row.label for row in comparison.rows] == ["mulki", "mulki, shots 2"]
        # Of the evaluation images they have to be the same ones.
        for seeds in ((0, 1), (1, 1)):
            for seed, name in zip(seeds, ("few-0", "few-1"), strict=True):
                for task in runs[name].tasks:
                    task.limits |= {"max_eval_samples": 5, "sample_seed": seed}
            if seeds == (0, 1):
                with pytest.raises(ConfigurationError, match="'a' is not .* few-0: other evaluation images were drawn"):
                    compare({name: runs[name] for name in ("few-1", "few-0")})
        assert compare({name: runs[name] for name in ("few-1", "few-0")}).tasks == ["a", "b", "c"]

    def test_every_run_is_held_against_every_other(self):
        runs = {name: seeded(rows(), seed) for seed, name in enumerate(("few", "one", "two"))}
        for number, results in enumerate(runs.values()):
            results.tasks[1].fingerprint = f"f{number}"
        runs["few"].tasks[1].training_images = 4
        comparison = compare(runs)
        assert comparison.tasks == ["a", "c"]
        assert "Task 'b' is not the same in one and two: other images or labels." in comparison.notes

    def test_other_orders_are_rows_of_their_own_whose_pairs_stay_apart(self):
        runs = {
            "abc": seeded(rows()),
            "cab": seeded(rows(1), names="cab"),
            "f": seeded(rows(-1), names="cab", method="snd"),
        }
        comparison = compare(runs)
        assert [row.label for row in comparison.rows] == ["mulki, order 1", "mulki, order 2", "snd, order 2"]
        assert "learned in 2 orders (1: a, b, c; 2: c, a, b)" in comparison.notes[0]
        assert comparison.rows[1].runs[0].metrics == continual_metrics(rows(1)[1:], ZERO)
        assert comparison.rows[1].curve("c") == {step: [row[0]] for step, row in enumerate(rows(1))}
        assert column(differences(comparison), "Last") == {"snd": "−2.0 (0/1)"}

    def test_other_models_are_allowed_and_told(self):
        other = seeded(rows(), method="snd")
        other.base.name = "large"
        (note,) = compare({"one": seeded(rows()), "other": other}).notes
        assert note == "The runs start from different models: tiny in 1 run, large in 1 run."

    def test_models_of_one_name_that_are_not_one(self):
        moved = [[value + 5 for value in ZERO], *rows()[1:]]
        (note,) = compare({"one": seeded(rows()), "other": seeded(moved, 1)}).notes
        assert "start from tiny differ by up to 5.0 points before any training" in note

    def test_cells_that_were_not_measured(self):
        holes = rows()
        holes[1][2] = None
        comparison = compare({"one": seeded(rows()), "grown": seeded(holes, 1)})
        assert any(
            "In grown not every cell was measured" in note and "avg of 8 of 9" in note for note in comparison.notes
        )
        assert comparison.rows[0].curve("c")[1] == [rows()[1][2], None]
        # A figure of fewer cells is not the same figure.
        grown = comparison.rows[0].runs[1].metrics
        assert grown["avg"] is None and grown["last"] is not None


class TestProtocols:
    def both(self, headline: str, **fields):
        other = {"til": "cil", "cil": "til"}[headline]
        results = seeded(rows()[:1], protocol=headline, **fields)
        results.measured({other: [value - 10 for value in ZERO]})
        for row in rows()[1:]:
            results.add({headline: row, other: [value - 10 for value in row]})
        return results

    def test_different_headlines_are_refused_with_what_each_has(self):
        with pytest.raises(ConfigurationError, match="one has til; two has cil: no protocol is in all"):
            compare({"one": seeded(rows()), "two": seeded(rows(), protocol="cil")})
        runs = {"one": self.both("til"), "two": self.both("cil", method="snd")}
        with pytest.raises(ConfigurationError, match="two has cil, til: give --protocol til or cil, which all have"):
            compare(runs)
        assert column(summary(compare(runs, "cil")), "Last") == {"mulki": "58.0", "snd": "68.0"}

    def test_one_that_a_run_does_not_have(self):
        with pytest.raises(ConfigurationError, match="--protocol cil: not all runs were evaluated by it"):
            compare({"one": self.both("til"), "two": seeded(rows())}, "cil")

    def test_other_competitors_are_refused(self):
        """Among the classes of three tasks an accuracy is another than among those of two."""
        runs = {"three": seeded(rows(), protocol="xtail"), "two": seeded(rows(width=2), names="ab", protocol="xtail")}
        with pytest.raises(ConfigurationError, match="by xtail the runs don't compare: for images of 'a'"):
            compare(runs)
        # Seen so far are the same ones; not so where another task came first.
        runs = {"three": seeded(rows(), protocol="cil"), "two": seeded(rows(width=2), names="ab", protocol="cil")}
        assert compare(runs).tasks == ["a", "b"]
        runs["two"] = seeded(rows(), names="xab", protocol="cil")
        with pytest.raises(ConfigurationError, match="by cil the runs don't compare"):
            compare(runs)

    def test_what_compares_them_is_said(self):
        short = seeded(rows(width=2)[:1], names="ba", protocol="cil", method="snd")
        short.measured({"til": ZERO[:2]})
        for row in rows(width=2)[1:]:
            short.add({"cil": row, "til": row})
        with pytest.raises(ConfigurationError, match="; --protocol til compares them"):
            compare({"long": self.both("cil", names="xab"), "short": short})

    def test_validation_and_test_splits_do_not_mix(self):
        tuned = seeded(rows(), settings={"evaluate_on": "validation"})
        with pytest.raises(ConfigurationError, match=r"different splits.*test \(one\); validation \(tuned\)"):
            compare({"one": seeded(rows()), "tuned": tuned})


class TestFiles:
    def test_csv_has_every_number_once(self):
        comparison = compare(three("mulki", 0) | {"joint": joint(), "zero": zero_shot()})
        lines = list(csv.DictReader(io.StringIO(csv_text(comparison))))
        assert tuple(lines[0]) == CSV_COLUMNS
        found = {(line["run"], line["measure"]): line["value"] for line in lines if line["measure"] != "accuracy"}
        assert len(found) == 5 * len(METRICS) and found["joint", "transfer"] == ""
        assert float(found["mulki-1", "avg"]) == pytest.approx(continual_metrics(rows(1)[1:], ZERO)["avg"], abs=1e-4)
        cells = {
            (line["run"], line["tasks_learned"], line["after"], line["task"]): float(line["value"])
            for line in lines
            if line["measure"] == "accuracy"
        }
        assert cells["mulki-2", "2", "b", "c"] == rows(2)[2][2] and cells["joint", "3", "together", "a"] == 82
        assert len(cells) == 3 * 12 + 6 + 3

    def test_markdown_is_whole_and_names_are_no_markup(self):
        runs = {"runs/a*b*": seeded(rows(), method="own:<script>"), "m|n": seeded(rows(), 1)}
        text = markdown_text(compare(runs), ["curves.png", "transfer_last.png"])
        assert text.startswith("<!-- made by mulki-hf compare -->\n# Comparison of 2 runs")
        assert "(curves.png)" in text and r"runs/a\*b\*" in text and r"m\|n" in text
        assert re.search(r"(?<!\\)<script", text) is None
