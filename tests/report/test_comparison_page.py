"""The page of a comparison: whole without a network, nothing in it is markup, and it works in a browser."""

import html
import json
import re
from html.parser import HTMLParser

import pytest
from PIL import Image
from support.browser import overflow
from support.compared import joint, rows, three, zero_shot
from support.results import by_protocols, seeded

from mulki_hf.errors import ConfigurationError
from mulki_hf.report.comparison.charts import panels, scatter
from mulki_hf.report.comparison.compared import compare
from mulki_hf.report.comparison.files import MARKS, check_free, write
from mulki_hf.report.comparison.page import page_html


NASTY = "<script>alert(1)</script>"


def runs():
    return three("mulki", 0) | three("finetune", -6) | {"zero": zero_shot(), "joint": joint()}


class Page(HTMLParser):
    """Elements and text of a page; raises for tags that are not closed in order."""

    VOID = {"meta", "link"}

    def __init__(self, text: str):
        super().__init__()
        self.open, self.tags, self.attributes, self.words = [], [], [], []
        self.feed(text)
        assert self.open == []

    def handle_starttag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes
        if tag not in self.VOID:
            self.open.append(tag)

    def handle_startendtag(self, tag, attributes):
        self.tags.append(tag)
        self.attributes += attributes

    def handle_endtag(self, tag):
        assert self.open.pop() == tag

    def handle_data(self, data):
        if self.open and self.open[-1] not in ("style", "script"):
            self.words.append(data.strip())


class TestText:
    def test_has_every_figure_of_the_tables_and_the_notes(self):
        comparison = compare(runs())
        page = Page(page_html(comparison))
        for row in comparison.rows:
            assert row.label in page.words
        assert "minus mulki" in page.words and "−6.0 ± 0.0 (0/3)" in page.words
        assert all(note in page.words for note in comparison.notes)
        assert "python -m mulki_hf.train --seed 2" in page.words

    def test_asks_for_nothing_from_elsewhere(self):
        page = Page(page_html(compare(runs())))
        assert not {"img", "iframe", "object"} & {*page.tags} and page.tags.count("script") == 1
        addresses = [value for name, value in page.attributes if name in ("src", "href", "action")]
        assert addresses == ["data:,"]
        assert re.search(r"@import|url\(|https?://", page_html(compare(runs()))) is None

    def test_no_name_is_markup(self):
        one = seeded(rows(), method=f"own:{NASTY}", settings={"word": f"{NASTY}'\"& {{{{ 7 * 7 }}}}"})
        other = seeded(rows(), 1, method="finetune")
        for results in (one, other):
            results.tasks[1].name = NASTY
            results.provenance["command"] = NASTY
        text = page_html(compare({f"runs/{NASTY}": one, "other": other}))
        page = Page(text)
        assert page.tags.count("script") == 1 and NASTY not in text.partition("<script>")[0]
        assert NASTY in page.words and f"runs/{NASTY}" in page.words
        tips = [json.loads(value) for name, value in page.attributes if name == "data-tip"]
        assert any(NASTY in said for tip in tips for _, said in tip)
        assert "{{ 7 * 7 }}" in html.unescape(text)

    def test_matrices_are_of_all_protocols(self):
        page = Page(page_html(compare({"one": by_protocols()})))
        assert {"cil", "xtail", "til", "60.2", "80.2", "70.2"} <= {*page.words}


class TestCharts:
    def test_a_panel_a_task_with_every_row_where_its_numbers_are(self):
        comparison = compare(runs())
        drawn = panels(comparison)
        assert [panel.task for panel in drawn] == ["a", "b", "c"]
        panel = drawn[0]
        points = [tuple(map(float, point.split(","))) for point in panel.marks[0].line.split()]
        assert points[1] == panel.frame.at(1, 81.0)  # the mean of 80, 81 and 82
        assert panel.marks[0].band and not panel.marks[3].line
        assert len(panel.marks[3].dots) == 2  # joint: before and after
        assert (1, "finetune: 75.0 ± 1.0") in panel.steps[1][2]

    def test_transfer_against_last(self):
        chart = scatter(compare(runs()))
        assert [len(mark.dots) for mark in chart.marks] == [4, 4, 0, 0]
        zero, all_at_once = chart.marks[2].level, chart.marks[3].level
        assert zero[0] == zero[2] and all_at_once[1] == all_at_once[3]

    def test_of_many_tasks_not_every_number_is_written(self):
        names = "abcdefghijklmnopqrstuvwxyz"
        matrix = [[50.0] * 26] * 27
        panel = panels(compare({"one": seeded(matrix, 0, names), "two": seeded(matrix, 1, names)}))[0]
        assert panel.across == [*range(0, 27, 3)] and len(panel.steps) == 27

    def test_of_one_task_there_is_no_transfer(self):
        comparison = compare({"one": seeded(rows(width=1), names="a"), "two": seeded(rows(2, 1), 1, "a")})
        assert [len(mark.dots) for mark in scatter(comparison).marks] == [0]
        assert "<svg" in page_html(comparison)


class TestFiles:
    def test_all_are_written_and_a_comparison_takes_an_older_ones_place(self, tmp_path):
        for _ in range(2):
            check_free(tmp_path / "out")
            assert write(compare(runs()), tmp_path / "out") == tmp_path / "out/comparison.html"
        assert {path.name for path in (tmp_path / "out").iterdir()} == {*MARKS}
        for name in ("curves.png", "transfer_last.png"):
            with Image.open(tmp_path / "out" / name) as picture:
                assert min(picture.size) > 300 and len(picture.convert("RGB").getcolors(1 << 24)) > 50

    @pytest.mark.parametrize("name", MARKS)
    def test_what_is_somebody_elses_is_refused(self, tmp_path, name):
        (tmp_path / name).write_text("mine")
        with pytest.raises(ConfigurationError, match=f"{name} was not written by a comparison.*--overwrite"):
            check_free(tmp_path)
        check_free(tmp_path, overwrite=True)
        (tmp_path / name).unlink()
        (tmp_path / name).mkdir()
        with pytest.raises(ConfigurationError, match=f"{name} is a folder"):
            check_free(tmp_path, overwrite=True)


class TestBrowser:
    @pytest.fixture
    def page(self, tmp_path):
        """The address of a page with long names."""
        long = {f"runs/a-run-with-a-rather-long-name-{seed}": seeded(rows(3), seed, method="snd") for seed in range(2)}
        others = {f"lr-{lr}": seeded(rows(lr), settings={"learning_rate": lr / 1e4}) for lr in range(1, 7)}
        comparison = compare(runs() | long | others)
        (tmp_path / "page.html").write_text(page_html(comparison), encoding="utf-8")
        return (tmp_path / "page.html").as_uri()

    @pytest.mark.parametrize("width", [1280, 390])
    @pytest.mark.parametrize("dark", [False, True], ids=["light", "dark"])
    def test_fits_and_asks_for_nothing(self, browser, page, width, dark):
        shown = browser.open(page, width=width, dark=dark)
        for summary in shown.locator("summary").all()[:3]:
            summary.click()
        assert overflow(shown) <= 0
        assert browser.faults == [] and browser.requests == [page]
        background = shown.evaluate("getComputedStyle(document.body).backgroundColor")
        assert (background == "rgb(255, 255, 255)") != dark

    def test_sorts_by_a_column_three_ways(self, browser, page):
        shown = browser.open(page)
        head = shown.locator("#summary thead button", has_text="Last")

        def labels() -> list[str]:
            return shown.locator("#summary tbody th").all_inner_texts()

        def values() -> list[float]:
            return [
                float(text.split()[0]) for text in shown.locator("#summary tbody td:nth-child(5)").all_inner_texts()
            ]

        given = labels()
        head.click()
        assert values() == sorted(values(), reverse=True) and labels() != given
        assert shown.locator("#summary th[aria-sort=descending]").inner_text().startswith("Last")
        head.press("Enter")
        assert values() == sorted(values())
        head.click()
        assert labels() == given
        # Less is better, and what is not defined comes last.
        shown.locator("#summary thead button", has_text="Forgetting").click()
        forgetting = shown.locator("#summary tbody td:nth-child(6)").all_inner_texts()
        assert forgetting[0] == "0.0" and forgetting[-1] == "-"
        assert browser.faults == []

    def test_the_legend_switches_a_row_off_and_on(self, browser, page):
        shown = browser.open(page)
        button, drawn = shown.locator("[data-toggle='1']"), shown.locator(".panels g[data-row='1']").first
        assert drawn.is_visible()
        button.click()
        assert not drawn.is_visible() and button.get_attribute("aria-pressed") == "false"
        assert shown.locator(".panels g[data-row='0']").first.is_visible()
        button.press("Space")
        assert drawn.is_visible() and button.get_attribute("aria-pressed") == "true"
        for visible in (False, True):
            shown.locator("[data-all]").click()
            assert drawn.is_visible() == visible

    def test_values_are_read_by_pointer_and_by_keys(self, browser, page):
        shown = browser.open(page)
        tip, chart = shown.locator("#tip"), shown.locator(".panels .chart").first
        assert not tip.is_visible()
        chart.hover(position={"x": 5, "y": 5})
        chart.locator(".hit").nth(1).hover()
        assert "finetune" in tip.inner_text() and "75.0 ± 1.0" in tip.inner_text()
        shown.locator("[data-toggle='1']").click()
        chart.focus()
        for _ in range(2):
            chart.press("ArrowRight")
        assert "a, after 1 task" in tip.inner_text() and "75.0 ± 1.0" not in tip.inner_text()
        chart.press("Escape")
        assert not tip.is_visible()
        last = shown.locator(".scatter")
        last.focus()
        last.press("ArrowRight")
        assert tip.inner_text().startswith("mulki-0: Transfer")
        assert browser.faults == []

    def test_without_javascript_tables_and_charts_are_there(self, browser, page):
        shown = browser.open(page, javascript=False)
        for part in ("#summary", "#differences", ".panels .line >> nth=0", ".scatter .dot >> nth=0"):
            assert shown.locator(part).is_visible()
        shown.locator("summary").first.click()
        assert shown.locator(".heat").first.is_visible()
