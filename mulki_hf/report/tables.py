"""Results as Markdown tables, and numbers as people write them."""

import re
from collections.abc import Iterable
from typing import Any

from ..evaluation.protocols import PROTOCOLS
from ..markdown import text
from ..metrics import cells_lacking
from ..results import ProtocolResults, StreamResults
from .benchmarks import notes
from .samples import samples_text


_FORMULA = re.compile(r"\s*[=+\-@].*[(|!]", re.DOTALL)


def results_table(results: StreamResults) -> str:
    """The headline's accuracy matrix and the metrics by every protocol, aligned for a terminal.

    Below stand warnings, notes on benchmarks' data, and which tasks were learned or measured on a sample of images.
    """
    return "\n\n".join([matrix_table(results), *_below(results)])


def full_tables(results: StreamResults) -> str:
    """The same with the accuracy matrix by every protocol."""
    tables = [f"{name}: {PROTOCOLS[name].sentence}\n\n{matrix_table(results, name)}" for name in results.protocols]
    return "\n\n".join([*tables, *_below(results)])


def _below(results: StreamResults) -> list[str]:
    tables = [*(f"WARNING: {warning}" for warning in results.warnings)]
    tables += filter(None, ["\n".join(notes(results)), samples_text(results)])
    # Of what was learned elsewhere the means of the rows, which their table has, say all.
    if results.metrics and not results.elsewhere:
        tables.append(metrics_table({protocol: results.of(protocol).metrics for protocol in results.protocols}))
        tables += filter(None, [cells_note(results)])
    return tables


def cells_note(results: StreamResults, tasks: int | None = None) -> str:
    """What the metrics of the first `tasks` (default: all) could use, where cells were not measured; else empty."""
    lines = []
    for protocol in results.protocols:
        own = results.of(protocol)
        accuracy = [row[:tasks] for row in own.accuracy]
        lacking = cells_lacking(accuracy, own.zero_shot[:tasks] or None) if accuracy else {}
        if lacking:
            by = f" ({protocol})" if results.others else ""
            partial = ", ".join(f"{name} {cells}" for name, cells in lacking.items())
            lines.append(f"Not every cell was measured{by}; metrics are of those that were: {partial}.")
    return "\n".join(lines)


def matrix_table(results: StreamResults, protocol: str | None = None) -> str:
    """The accuracy matrix by `protocol`, without one the headline's; with the rows' means where no metric has them."""
    names, own = [*map(text, results.names)], results.of(protocol or results.protocol)
    means = ["mean"] if results.elsewhere else []
    rows = [["model" if results.elsewhere and not results.stages else "after", *names, *means]]
    if own.zero_shot:
        for name, row in zip([results.first_row, *results.stage_names], [own.zero_shot, *own.accuracy], strict=False):
            rows.append([text(name), *map(percent, row), *(percent(average(row)) for _ in means)])
    return markdown_table(rows)


def metrics_table(metrics: dict[str, dict[str, float | None]]) -> str:
    """A line of metrics for each protocol, which one alone has no need to name."""
    keys = dict.fromkeys(key for own in metrics.values() for key in own)
    rows = [["protocol", *keys]]
    rows += [[protocol, *(percent(own.get(key)) for key in keys)] for protocol, own in metrics.items()]
    return markdown_table(rows if len(metrics) > 1 else [row[1:] for row in rows])


def percent(value: float | None) -> str:
    """One decimal, a dash for what is not defined."""
    return "-" if value is None else f"{value:.1f}"


def markdown_table(rows: list[list[str]]) -> str:
    """Rows of cells, the header first, as an aligned Markdown table."""
    rows = [[cell.replace("|", r"\|") for cell in row] for row in rows]
    widths = [max(3, *(len(row[column]) for row in rows)) for column in range(len(rows[0]))]
    lines = [
        "| " + " | ".join(cell.ljust(width) for cell, width in zip(row, widths, strict=True)) + " |" for row in rows
    ]
    lines.insert(1, "|" + "|".join("-" * (width + 2) for width in widths) + "|")
    return "\n".join(lines)


def csv_cell(value: Any) -> Any:
    """A cell that no spreadsheet takes for a formula that calls something: a quote goes before it.

    A class may well be called `+`, `=` or `-1`; those stay.
    """
    return f"'{value}" if isinstance(value, str) and _FORMULA.match(value) else value


def duration(seconds: float | None) -> str:
    if seconds is None:
        return "-"
    minutes, rest = divmod(round(seconds), 60)
    hours, minutes = divmod(minutes, 60)
    return f"{hours} h {minutes} min" if hours else f"{minutes} min {rest} s" if minutes else f"{rest} s"


def signed(value: float) -> str:
    """`+3.2`, `−0.4`, `0.0`: with a real minus sign."""
    return f"{value:+.1f}".replace("-", "−") if abs(value) >= 0.05 else "0.0"


def progress_line(results: StreamResults, position: int) -> str:
    """One line about the task just finished, and below it one by each protocol but the headline's."""
    if results.stages is not None:
        mean = percent(average(results.accuracy[position]))
        return f"{results.stage_names[position]}: {mean} % on average over {len(results.tasks)} tasks"
    lines = [f"task {position + 1}/{len(results.tasks)} {results.names[position]}: "]
    lines += [f"  {protocol}: " for protocol in results.others]
    owns = [results.of(protocol) for protocol in results.protocols]
    return "\n".join(line + _standing(own, position) for line, own in zip(lines, owns, strict=True))


def _standing(own: StreamResults | ProtocolResults, position: int) -> str:
    row, zero_shot = own.accuracy[position], own.zero_shot
    line = f"{percent(row[position])} % (zero-shot {percent(zero_shot[position])} %)"
    if position:
        line += f"; earlier tasks {percent(average(row[:position]))} %"
    if ahead := row[position + 1 :]:
        before = average(zero_shot[position + 1 :])
        line += f"; not yet learned {percent(average(ahead))} % (zero-shot {percent(before)} %)"
    return line


def average(values: Iterable[float | None]) -> float | None:
    """Mean of the values that are known; None if there is none."""
    known = [value for value in values if value is not None]
    return sum(known) / len(known) if known else None
