"""Runs beside published results as text: for a terminal, as Markdown, and as lines of the CSV."""

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING

from ...markdown import text
from ...metrics import METRICS
from ..published.records import CLIP_B16, MEASURES
from ..tables import markdown_table
from .beside import KIND, Beside, Group, Line, by_task, header, lines


if TYPE_CHECKING:
    from .compared import Row

PUBLISHED_COLUMNS = ("kind", "extra_data", "per_task_parts", "trained", "source", "remark")
"""What the CSV says of published results, after its other columns."""

WORDS = (
    "Published figures are as printed; of a method, one run or few. Not known: nothing was found that says so. "
    "Splits not confirmed: taken to be those of the other rows of its table. Read second-hand: in what others wrote of "
    "the source. Not confirmed: remembered alone."
)


def beside_parts(beside: Beside) -> list[str]:
    """For a terminal: figures, kind, and what is not certain."""
    parts = []
    for group in beside.groups:
        table = [["", *header(group), KIND, "remark"]]
        for line in lines(group):
            name = f"published: {line.name}" if line.published else line.name
            table.append([name, *line.figures, line.cells[KIND], line.remark or "-"])
        parts += [f"Beside published results of {about(group)}", markdown_table(_read(table))]
    return [*parts, *(f"Note: {sentence}" for sentence in beside.unmatched), *([WORDS] if parts else [])]


def beside_markdown(beside: Beside, rows: list["Row"]) -> list[str]:
    """The same with sources, and accuracy on each task where it was published."""
    parts = []
    for group in beside.groups:
        cells = [*lines(group)[0].cells]
        table = [["", *header(group), *cells, "source", "remark"]]
        for line in lines(group):
            source = f"[{text(line.source)}]({line.url})" if line.published else ""
            own = [*map(text, line.figures), *(text(line.cells[name]) for name in cells)]
            table.append([named(line.name, line.published), *own, source, text(line.remark)])
        parts += [text(about(group)), markdown_table(table)]
        if last := by_task(group, rows):
            tasks = group.own[0].runs[0].tasks
            ends = [[named(line.name, line.published), *map(text, values)] for line, values in last]
            parts.append(markdown_table([["in the end", *map(text, tasks)], *ends]))
    return [*parts, *map(text, beside.unmatched), *([text(WORDS)] if parts else [])]


def about(group: Group) -> str:
    """What is equal, and whether the models are."""
    bases = [*dict.fromkeys(run.results.base.name for line in group.own for run in line.runs)]
    theirs = [*dict.fromkeys(result.backbone for result in group.results)] or [CLIP_B16]
    models = f"Published: {', '.join(theirs)}; here: {', '.join(filter(None, bases)) or '-'}."
    return " ".join(filter(None, [f"{group.setting.name}. {models}", group.setting.note]))


def named(name: str, published: bool) -> str:
    """A name in Markdown, with what is published in italics."""
    return f"*{text(name)}* (published)" if published else text(name)


def beside_csv(beside: Beside, group: Group) -> Iterator[list]:
    """Metrics and accuracies of published results, and what of the runs' own has no line yet."""
    setting = group.setting
    for own in group.own:
        # Metrics have lines by run; class-incremental figures and means over rotations have none.
        if setting.rotations or setting.measures == MEASURES["cil"]:
            results = own.runs[0].results
            head = [own.label, own.label, results.method, "", "", results.base.name, setting.protocol]
            for name, values in own.figures.items():
                yield from (
                    [*head, name, "", "", "", _number(value), *[""] * len(PUBLISHED_COLUMNS)] for value in values
                )
    names = group.own[0].runs[0].results.names
    for line, result in zip(lines(group)[len(group.own) :], group.results, strict=True):
        name = f"published: {line.name}{beside.suffix(group)}"
        head = [name, name, line.name, setting.order, "", result.backbone]
        tail = [*_cells(line), line.source, line.remark]
        known = setting.metrics(result)
        measures = [measure for measure in (*METRICS, *setting.measures) if measure in known]
        for measure in dict.fromkeys(measures):
            yield [*head, setting.protocol, measure, "", "", "", _number(known[measure]), *tail]
        matrix = result.matrix or [[]] * (len(names) - 1) + [result.last_row or []]
        for step, row in enumerate(matrix, start=1):
            for task, value in zip(names, row, strict=False):
                yield [*head, setting.protocol, "accuracy", step, names[step - 1], task, _number(value), *tail]


def _cells(line: Line) -> list[str]:
    return [line.cells[name] for name in (KIND, "extra data", "per-task parts", "trained")]


def _read(table: Sequence[Sequence[str]]) -> list[list[str]]:
    return [[text(cell) for cell in row] for row in table]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
