"""`comparison.html`: a comparison as one page that needs nothing but a browser."""

import json
from dataclasses import dataclass
from pathlib import Path

import jinja2

from ..published.records import KINDS
from ..tables import percent
from . import tables
from .beside import by_task, header, lines
from .beside_text import WORDS, about
from .charts import panels, scatter, shape
from .compared import Comparison, protocol_sentence
from .looks import DARK_PALETTE, DASHES, KIND_MARKERS, PALETTE, looks
from .pictures import MAKER
from .runs import ComparedRun
from .spread import LESS_IS_BETTER


HERE = Path(__file__).parent


def page_html(comparison: Comparison) -> str:
    """The page; nothing in a name, setting or command is markup."""
    files = jinja2.FileSystemLoader(HERE)
    environment = jinja2.Environment(
        loader=files, autoescape=True, trim_blocks=True, lstrip_blocks=True, undefined=jinja2.StrictUndefined
    )
    environment.filters["json"] = lambda value: json.dumps(value, ensure_ascii=False)
    runs = tables.runs(comparison)
    return environment.get_template("page.html.jinja").render(
        maker=MAKER,
        comparison=comparison,
        sentence=protocol_sentence(comparison.protocol),
        colours=[*zip(PALETTE, DARK_PALETTE, strict=True)],
        dashes=[" ".join(f"{length:g}" for length in dash) for dash in DASHES],
        looks=looks(comparison),
        shapes=[shape(look.marker, (8, 8), 5) for look in looks(comparison)],
        less=[name.capitalize() for name in LESS_IS_BETTER],
        summary=tables.summary(comparison),
        differences=tables.differences(comparison),
        difference_words=tables.difference_words(comparison),
        unpaired=tables.unpaired(comparison),
        last=tables.last(comparison),
        beside=comparison.beside,
        groups=[
            (about(group), header(group), lines(group), by_task(group, comparison.rows), group.own[0].runs[0].tasks)
            for group in (comparison.beside.groups if comparison.beside else ())
        ],
        beside_words=WORDS,
        kind_shapes=[shape(marker, (8, 8), 5) for marker in KIND_MARKERS],
        kinds=KINDS,
        panels=panels(comparison),
        scatter=scatter(comparison),
        matrices=[matrices(run) for run in comparison.runs],
        row_of=[row.label for row in comparison.rows for _ in row.runs],
        settings=tables.settings(comparison),
        runs=[row[:-1] for row in runs],
        commands=[row[-1] for row in runs[1:]],
    )


@dataclass
class Cell:
    """Of a heat table: its words, its share of 1 for the colour, and whether the task has just been learned."""

    text: str
    share: float | None
    learned: bool


def matrices(run: ComparedRun) -> dict[str, list[tuple[str, list[Cell]]]]:
    """By protocol the whole accuracy matrix of a run, a name and cells a row."""
    return {protocol: _heat(run, protocol) for protocol in run.results.protocols}


def _heat(run: ComparedRun, protocol: str) -> list[tuple[str, list[Cell]]]:
    results, own = run.results, run.results.of(protocol)
    rows = [[_cell(value) for value in row] for row in (own.zero_shot, *own.accuracy)]
    if results.stages is None:
        for position, row in enumerate(rows[1:]):
            row[position].learned = True
    return [*zip([run.kind if run.as_it_is else "zero-shot", *results.stage_names], rows, strict=False)]


def _cell(value: float | None) -> Cell:
    return Cell(percent(value), None if value is None else round(value / 100, 3), False)
