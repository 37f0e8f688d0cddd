"""`compare --published`: which published results stand beside runs, in text, data, picture and page; else why none."""

import csv
import io
import json
import re

import pytest
from support.browser import overflow
from support.compared import joint
from support.results import of_benchmark, seeded

from mulki_hf.compare import main
from mulki_hf.metrics import continual_metrics
from mulki_hf.report.comparison import pictures
from mulki_hf.report.comparison.beside import beside, points
from mulki_hf.report.comparison.beside_text import PUBLISHED_COLUMNS
from mulki_hf.report.comparison.compared import compare
from mulki_hf.report.comparison.page import page_html
from mulki_hf.report.comparison.tables import CSV_COLUMNS, csv_text, markdown_text, terminal_text
from mulki_hf.report.published.records import settings


SHOWN, SHOWN_POINTS = 31, 23
"""Published of order I, and those of them with Transfer and Last."""


def compared(runs, unconfirmed=False, **options):
    comparison = compare(runs, **options)
    comparison.beside = beside(comparison, unconfirmed)
    return comparison


def seeds(count=3, **which):
    runs = {f"runs/{seed}": of_benchmark(lift=seed, **which) for seed in range(count)}
    for seed, results in enumerate(runs.values()):
        results.config["seed"] = results.about.settings["seed"] = seed
    return runs


def rotations(count=8):
    """Of Select-and-Distill's stream, each better than the one before by a point."""
    runs = {}
    for turned in range(count):
        results = of_benchmark("snd", "its first order", lift=turned)
        results.tasks = [*results.tasks[turned:], *results.tasks[:turned]]
        runs[f"runs/{turned}"] = results
    return runs


def lines_of(comparison):
    return [*csv.DictReader(io.StringIO(csv_text(comparison)))]


def published(method):
    return next(result for result in settings()[0].results if result.method == method)


class TestGroups:
    def test_seeds_are_one_line_above_the_published(self):
        comparison = compared(seeds())
        (group,) = comparison.beside.groups
        assert [(line.label, len(line.runs)) for line in group.own] == [("mulki", 3)]
        assert group.setting is settings()[0] and comparison.beside.unmatched == []
        values = [group.setting.rank(result) for result in group.results]
        assert values[1:] == sorted(values[1:], reverse=True) and group.results[0].method == "zero-shot CLIP"

    def test_each_order_has_its_own(self):
        comparison = compared({"one": of_benchmark(), "two": of_benchmark(order="order II")})
        assert [group.setting.order for group in comparison.beside.groups] == ["order I", "order II"]
        assert [group.own[0].label for group in comparison.beside.groups] == ["mulki, order 1", "mulki, order 2"]
        names = [point.name for point in points(comparison.beside)]
        assert {"ZSCL, order I", "ZSCL, order II"} <= {*names} and len({*names}) == len(names)

    def test_a_run_that_is_not_the_benchmark_is_told_and_the_others_stay(self):
        other = of_benchmark(method="snd")
        other.config["evaluate_on"] = "test"
        other.tasks[0].limits = {"max_train_samples": 10, "training_images": 500}
        comparison = compared({"whole": of_benchmark(), "part": other})
        assert [line.label for line in comparison.beside.groups[0].own] == ["mulki"]
        assert comparison.beside.unmatched == [
            "Nothing published stands beside part, which is of a sample of the images (max_train_samples in aircraft)."
        ]

    def test_on_a_part_of_the_stream_nothing_compares(self):
        short = of_benchmark(method="snd")
        short.accuracy, short.metrics = short.accuracy[:4], {}
        comparison = compared({"whole": of_benchmark(), "short": short})
        assert comparison.beside.groups == [] and len(comparison.tasks) == 4
        whole, unfinished = comparison.beside.unmatched
        assert "beside whole, which is compared without its eurosat, flowers, food101," in whole
        assert "beside short, which has learned 4 of its 11 tasks" in unfinished

    def test_of_no_benchmark_comes_before_on_a_part(self):
        comparison = compared({"one": seeded([[50.0] * 3] * 4), "two": seeded([[50.0]] * 2, names="a")})
        assert comparison.tasks == ["a"]
        assert comparison.beside.unmatched == [
            "Nothing published stands beside one, two, which is of no benchmark: the registry does not have its tasks."
        ]

    def test_all_rotations_together_are_a_mean(self):
        comparison = compared(rotations())
        single, mean = comparison.beside.groups
        assert single.setting.order == "its first order" and not single.setting.rotations
        assert mean.setting.rotations and [line.label for line in mean.own] == ["mulki, mean over 8 orders"]
        lasts = [results.metrics["last"] for results in rotations().values()]
        assert mean.own[0].figures["last"] == [pytest.approx(sum(lasts) / 8)]
        assert comparison.beside.unmatched == []
        assert "| mulki, mean over 8 orders        | 70.5 " in terminal_text(comparison)

    def test_seven_of_eight_are_none(self):
        comparison = compared(rotations(7))
        assert [group.setting.rotations for group in comparison.beside.groups] == [False]
        (sentence,) = comparison.beside.unmatched
        assert sentence.startswith("Nothing published stands beside runs/1, runs/2,") and "8 rotations" in sentence

    def test_what_learned_all_at_once_has_none(self):
        names = of_benchmark().names
        together = joint(names=names)
        for task, other in zip(together.tasks, of_benchmark().tasks, strict=True):
            task.benchmark, task.class_names = other.benchmark, other.class_names
        together.accuracy = [[80.0] * len(names)]
        together.zero_shot = [40.0] * len(names)
        comparison = compared({"mulki": of_benchmark(), "joint": together})
        assert "joint, which learned all tasks at once" in comparison.beside.unmatched[0]
        assert [line.label for line in comparison.beside.groups[0].own] == ["mulki"]


class TestText:
    def test_terminal_has_figures_kind_and_doubts(self):
        shown = terminal_text(compared(seeds()))
        assert re.search(r"\| mulki +\| 43.2 ± 1.0 \| .*one model, no extra data", shown)
        assert re.search(r"\| published: ZSCL +\| 68.1 +\| 75.4 +\| 83.6 +\| extra data", shown)
        assert re.search(
            r"\| published: MulKI +\| 70.1 +\| 77.3 +\| - +\| data or parts not known +\| splits not confirmed; read",
            shown,
        )
        assert "Published: CLIP ViT-B/16; here: openai/clip-vit-base-patch16." in shown

    def test_without_the_option_nothing_is_said(self):
        comparison = compare(seeds())
        body = page_html(comparison).partition("</head>")[2].partition("<script>")[0]
        for made in (terminal_text(comparison), markdown_text(comparison, ["a", "b"]), body):
            assert "ublished" not in made
        assert csv_text(comparison).splitlines()[0] == ",".join(CSV_COLUMNS)

    def test_markdown_has_sources_and_the_tasks(self):
        made = markdown_text(compared(seeds()), ["a.png", "b.png"])
        section = made[made.index("## Beside published results") : made.index("## Accuracy on each task in the end")]
        (row,) = [line for line in section.splitlines() if line.startswith("| *GIFT* (published)") and "86.0" in line]
        assert "1,000 images of Stable Diffusion a task" in row and "(https://github.com/YonseiML/dpw)" in row
        assert re.search(r"\| \*ZSCL\* \(published\) +\| 40.6 +\| 92.2 ", section)
        assert re.search(r"\| mulki +\| 71.0 ± 1.0", section)

    def test_unconfirmed_figures_are_marked(self):
        runs = {"cil": of_benchmark("cil", "CIFAR100, 10 steps", "cil")}
        assert "remembered" in terminal_text(compared(runs)) and "published: LwF" not in terminal_text(compared(runs))
        shown = terminal_text(compared(runs, unconfirmed=True))
        assert re.search(r"\| published: LwF +\| 65.9 .* not confirmed", shown)
        assert re.search(r"\| published: ZSCL +\| - +\| 73.7 ", shown) and "| published: ZSCL (2) " in shown

    def test_what_of_a_run_is_not_as_published_is_its_remark(self):
        runs = seeds(2)
        for results in runs.values():
            results.config |= {"per_device_train_batch_size": 64, "num_processes": 1}
            for task in results.tasks:
                task.steps = 20
            results.tasks[-1].benchmark["redrawn"] = ["train", "evaluation"]
        comparison = compared(runs)
        remark = (
            "20 steps a task of 64 images; ZSCL's code took 1,000 of 64; splits differ: drawn at random, to the "
            "published size, are training and test images of sun397"
        )
        for made in (terminal_text(comparison), markdown_text(comparison, ["a", "b"]), page_html(comparison)):
            assert made.replace("&#39;", "'").count(remark) == 1

    def test_csv_has_every_figure_and_cell(self):
        rows = lines_of(compared(seeds()))
        assert [*rows[0]] == [*CSV_COLUMNS, *PUBLISHED_COLUMNS] and None not in rows[0].values()
        zscl = [row for row in rows if row["row"] == "published: ZSCL"]
        figures = {row["measure"]: float(row["value"]) for row in zscl if row["measure"] != "accuracy"}
        assert {name: figures[name] for name in ("transfer", "avg", "last")} == published("ZSCL").figures
        level = settings()[0].zero_shot.by_task
        computed = continual_metrics(published("ZSCL").matrix, level)
        assert figures["degradation"] == pytest.approx(computed["degradation"], abs=1e-4)
        cells = {
            (row["tasks_learned"], row["task"]): float(row["value"]) for row in zscl if row["measure"] == "accuracy"
        }
        assert len(cells) == 121 and cells["3", "dtd"] == published("ZSCL").matrix[2][3]
        gift = [row for row in rows if row["row"] == "published: GIFT"]
        assert [row["tasks_learned"] for row in gift if row["measure"] == "accuracy"] == ["11"] * 11
        assert gift[0]["extra_data"] == "1,000 images of Stable Diffusion a task" and gift[0]["base_model"]
        assert {row["kind"] for row in rows if row["run"].startswith("runs/")} == {""}

    def test_csv_of_what_means_something_else(self):
        """What a protocol makes of Transfer is left out; a class-incremental run's own figures are there."""
        rows = lines_of(compared({"one": of_benchmark(protocol="cil")}))
        assert {row["measure"] for row in rows if row["row"] == "published: DPeCLIP"} == {"last", "accuracy"}
        rows = lines_of(compared({"one": of_benchmark("cil", "CIFAR100, 10 steps", "cil")}))
        assert {"step_avg", "step_last"} <= {row["measure"] for row in rows if row["row"] == "mulki"}
        rows = lines_of(compared({"a": of_benchmark(), "b": of_benchmark(order="order II")}))
        assert {"published: ZSCL, order I", "published: ZSCL, order II"} <= {row["row"] for row in rows}

    def test_says_why_there_is_none(self):
        comparison = compared({"runs/x": of_benchmark(protocol="xtail")})
        reason = (
            "Nothing published stands beside runs/x, which is of MTIL on ZSCL's splits: order I, xtail, all training"
        )
        for made in (terminal_text(comparison), markdown_text(comparison, ["a", "b"])):
            assert reason in made and "Published there: order I, til," in made
        assert reason.replace("'", "&#39;") in page_html(comparison)
        assert csv_text(comparison).splitlines()[0] == ",".join(CSV_COLUMNS)


def test_the_picture_names_what_was_published(tmp_path, monkeypatch):
    """Hollow, named, a marker for each kind; the frame takes them in."""
    runs, figures = seeds(), []
    monkeypatch.setattr(pictures, "_save", lambda figure, path: figures.append(figure))
    for comparison in (compare(runs), compared(runs)):
        pictures.draw_transfer_last(comparison, tmp_path / "made.png")
    without, beside_published = (figure.axes[0] for figure in figures)
    assert len(without.texts) == 0 and without.get_ylim()[1] < 80
    names = {words.get_text() for words in beside_published.texts}
    assert {"ZSCL", "PACT", "continual fine-tuning", "zero-shot CLIP"} <= names
    hollow = [drawn for drawn in beside_published.collections if str(drawn.get_label()).startswith("published: ")]
    assert sum(len(drawn.get_offsets()) for drawn in hollow) == len(points(compared(runs).beside)) == SHOWN_POINTS
    assert len({tuple(drawn.get_paths()[0].vertices.ravel()) for drawn in hollow}) == len(hollow) == 5
    low, high = beside_published.get_ylim()
    assert low < 65.3 and high > 90.5


def shown(browser, runs, folder, **window):
    path = folder / "page.html"
    path.write_text(page_html(compared(runs)), encoding="utf-8")
    return browser.open(path.as_uri(), **window)


class TestPage:
    def test_rows_links_and_the_switch(self, browser, tmp_path):
        page = shown(browser, seeds() | {"snd": of_benchmark(method="snd")}, tmp_path)
        table = page.locator("table.published")
        assert table.locator("tbody tr").count() == 2 + SHOWN
        row = table.locator("tr", has=page.locator("th", has_text="GIFT"))
        assert row.locator("a").get_attribute("href") == "https://github.com/YonseiML/dpw"
        assert "1,000 images of Stable Diffusion a task" in row.inner_text() and "published" in row.inner_text()
        table.locator("button", has_text="Transfer").click()
        assert "PACT" in table.locator("tbody tr").first.inner_text()
        hollow = page.locator("g[data-row=published] .hollow")
        assert hollow.count() == SHOWN_POINTS
        hollow.first.hover()
        assert re.match(r".*, published: Transfer \d", page.locator("#tip").inner_text())
        page.locator("[data-toggle=published]").click()
        assert not hollow.first.is_visible() and "off" in row.get_attribute("class")
        assert browser.faults == [] and all(address.startswith("file:") for address in browser.requests)

    @pytest.mark.parametrize("dark", [False, True])
    def test_fits_a_narrow_window(self, browser, tmp_path, dark):
        page = shown(browser, seeds(), tmp_path, width=360, dark=dark)
        assert overflow(page) == 0 and browser.faults == []
        stroke = page.evaluate("getComputedStyle(document.querySelector('g .hollow')).stroke")
        assert stroke == ("rgb(163, 171, 185)" if dark else "rgb(88, 96, 112)")


def test_the_command(tmp_path, monkeypatch, capsys):
    monkeypatch.chdir(tmp_path)
    (tmp_path / "one").mkdir()
    of_benchmark().save(tmp_path / "one")
    monkeypatch.setattr("mulki_hf.report.comparison.files.draw_curves", lambda comparison, path: None)
    main(["one", "--published", "--output_dir", "out"])
    assert "| published: ZSCL " in capsys.readouterr().out
    assert "published: ZSCL" in (tmp_path / "out/comparison.csv").read_text()
    main(["one"])
    assert "published" not in capsys.readouterr().out
    with pytest.raises(SystemExit, match="^error: --unconfirmed is of published results, which --published asks for"):
        main(["one", "--unconfirmed"])
    content = json.loads((tmp_path / "one/results.json").read_text())
    for task in content["tasks"]:
        del task["benchmark"]
    (tmp_path / "one/results.json").write_text(json.dumps(content))
    main(["one", "--published"])
    assert "which is of no benchmark: the registry does not have its tasks." in capsys.readouterr().out
