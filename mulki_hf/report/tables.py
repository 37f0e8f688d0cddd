"""Results as Markdown tables, and numbers as people write them."""

from ..results import StreamResults


def results_table(results: StreamResults) -> str:
    """The accuracy matrix and the metrics, aligned for a terminal."""
    tables = [matrix_table(results)]
    if results.metrics:
        tables.append(markdown_table([[*results.metrics], [*map(percent, results.metrics.values())]]))
    return "\n\n".join(tables)


def matrix_table(results: StreamResults) -> str:
    """The accuracy matrix alone."""
    rows = [["after", *results.names]]
    if results.zero_shot:
        rows.append(["zero-shot", *map(percent, results.zero_shot)])
    rows += [[name, *map(percent, row)] for name, row in zip(results.names, results.accuracy, strict=False)]
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
