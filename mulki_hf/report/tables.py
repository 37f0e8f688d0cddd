"""Results as Markdown tables, and numbers as people write them."""

from ..results import StreamResults
from .markdown import text


def results_table(results: StreamResults) -> str:
    """The accuracy matrix and the metrics, aligned for a terminal."""
    tables = [matrix_table(results)]
    if results.metrics:
        tables.append(markdown_table([[*results.metrics], [*map(percent, results.metrics.values())]]))
    return "\n\n".join(tables)


def matrix_table(results: StreamResults) -> str:
    """The accuracy matrix alone."""
    names = [*map(text, results.names)]
    rows = [["after", *names]]
    if results.zero_shot:
        rows.append(["zero-shot", *map(percent, results.zero_shot)])
    rows += [[name, *map(percent, row)] for name, row in zip(names, results.accuracy, strict=False)]
    return markdown_table(rows)


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
    """One line about the task just finished."""
    row, zero_shot = results.accuracy[position], results.zero_shot
    line = f"task {position + 1}/{len(row)} {results.names[position]}: {row[position]:.1f} % "
    line += f"(zero-shot {zero_shot[position]:.1f} %)"
    if position:
        line += f"; earlier tasks {sum(row[:position]) / position:.1f} %"
    rest = len(row) - position - 1
    if rest:
        ahead = sum(row[position + 1 :]) / rest
        line += f"; not yet learned {ahead:.1f} % (zero-shot {sum(zero_shot[position + 1 :]) / rest:.1f} %)"
    return line
