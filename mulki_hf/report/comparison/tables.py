"""A comparison as tables: of cells for whoever sets them, as Markdown, and tidy for a spreadsheet."""

import csv
import io
from collections.abc import Iterator
from dataclasses import replace

from ...markdown import text
from ...metrics import METRICS
from ..tables import csv_cell, markdown_table, matrix_table
from .beside import Beside
from .beside_text import PUBLISHED_COLUMNS, beside_csv, beside_markdown, beside_parts
from .compared import Comparison, Row, protocol_sentence
from .runs import ComparedRun
from .spread import TABLE_METRICS, difference_text, spread_text
from .versions import short_version, versions_of


Table = list[list[str]]
"""Rows of cells, the header first."""

CSV_COLUMNS = (
    "run", "row", "method", "order", "seed", "base_model", "protocol",
    "measure", "tasks_learned", "after", "task", "value",
)  # fmt: skip

MARK = "<!-- made by mulki-hf compare -->"
"""First line of the Markdown file."""


def summary(comparison: Comparison) -> Table:
    """A line a row: mean and spread of the metrics over its runs."""
    table = [["row", "runs", *(name.capitalize() for name in TABLE_METRICS)]]
    for row in comparison.rows:
        table.append([row.label, str(len(row.runs)), *(spread_text(row.values(name)) for name in TABLE_METRICS)])
    return table


def differences(comparison: Comparison) -> Table:
    """Each other variant minus the chosen one; empty where there is none."""
    label = comparison.variants[comparison.against][0]
    table = [[f"minus {label}", "pairs", *(name.capitalize() for name in TABLE_METRICS)]]
    for variant, (other, _) in comparison.variants.items():
        if variant != comparison.against:
            pairs = [(one.metrics, its.metrics) for one, its in comparison.pairs(variant)]
            table.append([other, str(len(pairs)), *(difference_text(pairs, name) for name in TABLE_METRICS)])
    return table if len(table) > 1 else []


def unpaired(comparison: Comparison) -> list[str]:
    """A sentence for each variant of which no run has a partner."""
    label, chosen = comparison.variants[comparison.against]
    return [
        f"{other} has no pair with {label}, whose seeds are {_seeds(chosen)} and its own {_seeds(runs)}: pairs are of "
        "equal seed and order of the tasks."
        for variant, (other, runs) in comparison.variants.items()
        if variant != comparison.against and not comparison.pairs(variant)
    ]


def last(comparison: Comparison) -> Table:
    """A line a row: accuracy on each task in the end; above them the models' before any training."""
    table = [["in the end", *comparison.tasks]]
    for levels in zero_shot_levels(comparison).items():
        name, own = levels
        table.append([name, *(spread_text([own[task]]) for task in comparison.tasks)])
    for row in comparison.rows:
        table.append([row.label, *(spread_text(row.last(task)) for task in comparison.tasks)])
    return table


def zero_shot_levels(comparison: Comparison) -> dict[str, dict[str, float | None]]:
    """By `zero-shot`, or the model where there are several, its accuracy on each task before any training."""
    bases: dict[str, ComparedRun] = {}
    for run in comparison.runs:
        if not run.as_it_is:
            bases.setdefault(run.traits["model_name_or_path"], run)
    one = len(bases) == 1
    return {
        "zero-shot" if one else f"zero-shot {name}": {task: run.curves[task][0] for task in comparison.tasks}
        for name, run in bases.items()
    }


def settings(comparison: Comparison) -> Table:
    """What is not the same in all rows; a line a setting, a column a variant."""
    runs = [own[0] for _, own in comparison.variants.values()]
    table = [["setting", *(label for label, _ in comparison.variants.values())]]
    table.append(["method", *(run.kind for run in runs)])
    for name in dict.fromkeys(name for run in runs for name in run.traits):
        values = [run.trait(name) for run in runs]
        if len(set(values)) > 1:
            table.append([name, *(value or "-" for value in values)])
    return table


def runs(comparison: Comparison) -> Table:
    """Where each run comes from."""
    table = [["run", "row", "seed", "tasks learned", "mulki-hf", "commit", "hardware", "command"]]
    for row in comparison.rows:
        for run in row.runs:
            table.append([run.name, row.label, run.seed, *_origin(run)])
    return table


def _origin(run: ComparedRun) -> list[str]:
    results, versions = run.results, versions_of(run.results)
    made = results.provenance
    learned = (
        "none" if run.stays else "elsewhere" if run.elsewhere else f"{results.tasks_learned} of {len(results.tasks)}"
    )
    commit = short_version(versions.get("git_commit")) if versions.get("git_commit") else "-"
    return [
        learned,
        versions.get("mulki-hf") or "-",
        commit,
        made.get("hardware") or "-",
        made.get("command") or "from Python",
    ]


def _seeds(runs: list[ComparedRun]) -> str:
    return ", ".join(dict.fromkeys(run.seed for run in runs))


# As text


def terminal_text(comparison: Comparison) -> str:
    """What the command prints."""
    parts = [protocol_sentence(comparison.protocol), *(f"Note: {note}" for note in comparison.notes)]
    parts.append(_markdown(summary(comparison)))
    if table := differences(comparison):
        parts += [_markdown(table), *unpaired(comparison), difference_words(comparison)]
    if comparison.beside is not None:
        parts += beside_parts(comparison.beside)
    return "\n\n".join(parts)


def difference_words(comparison: Comparison) -> str:
    """What the table of differences says."""
    label = comparison.variants[comparison.against][0]
    return (
        f"Each row minus {label}: mean ± standard deviation of the differences, paired "
        "by seed and order; in brackets the pairs in which the row is ahead (of forgetting and degradation, less is). "
        "≈: the difference is within its spread."
    )


def markdown_text(comparison: Comparison, pictures: list[str]) -> str:
    """`comparison.md`, beside `pictures` by those names."""
    parts = [f"{MARK}\n# Comparison of {len(comparison.runs)} runs", _introduction(comparison)]
    if comparison.notes:
        parts.append("\n".join(f"> **Note:** {text(note)}\n>" for note in comparison.notes).removesuffix("\n>"))
    parts += [_markdown(summary(comparison)), "Mean ± standard deviation over the runs of a row."]
    if table := differences(comparison):
        parts += ["## Differences", text(difference_words(comparison)), _markdown(table)]
        parts += [text(sentence) for sentence in unpaired(comparison)]
    if comparison.beside is not None:
        parts += ["## Beside published results", *beside_markdown(comparison.beside, comparison.rows)]
    parts += ["## Accuracy on each task in the end", _markdown(last(comparison))]
    parts += [f"![{alt}]({name})" for alt, name in zip(PICTURE_WORDS, pictures, strict=True)]
    parts += ["## Settings that differ", _markdown(settings(comparison))]
    parts += ["## Runs", _markdown(runs(comparison))]
    for run in comparison.runs:
        parts += [f"### {text(run.name)}", matrix_table(run.results, comparison.protocol)]
    return "\n\n".join(parts) + "\n"


PICTURE_WORDS = ("Each task's accuracy over the stream", "Transfer against Last, a point a run")


def _introduction(comparison: Comparison) -> str:
    tasks = ", ".join(comparison.tasks)
    return text(f"{protocol_sentence(comparison.protocol)} Tasks: {tasks}.")


def _markdown(table: Table) -> str:
    return markdown_table([[text(cell) for cell in row] for row in table])


# As data


def csv_text(comparison: Comparison) -> str:
    """`comparison.csv`: a line for each run and metric, and for each cell of its matrix, by every protocol they share.

    `measure` is the metric or `accuracy`; an accuracy has the number of compared tasks learned (0: before any
    training), the last of them and the task that it is of. What is not defined is empty.
    """
    out = io.StringIO()
    writer = csv.writer(out, lineterminator="\n")
    beside = comparison.beside or Beside()
    more = PUBLISHED_COLUMNS if beside.groups else ()
    # A file without them is as it always was.
    writer.writerow([*CSV_COLUMNS, *more])
    for protocol in comparison.protocols:
        for row in comparison.rows:
            for run in row.runs:
                for line in _csv_rows(row, replace(run, protocol=protocol)):
                    writer.writerow([*map(csv_cell, line), *("" for _ in more)])
    for group in beside.groups:
        writer.writerows(beside_csv(beside, group))
    return out.getvalue()


def _csv_rows(row: Row, run: ComparedRun) -> Iterator[list]:
    results = run.results
    order = "" if run.end_alone else row.order or 1
    head = [run.name, row.label, results.method, order, run.seed, results.base.name, run.protocol]
    for name in METRICS:
        yield [*head, name, "", "", "", _number(run.metrics.get(name))]
    stages = ["", *(results.stage_names[stage] for stage in run.stages)]
    for step, after in zip(run.curves[run.tasks[0]], stages, strict=True):
        for task in run.tasks:
            yield [*head, "accuracy", step, after, task, _number(run.curves[task][step])]


def _number(value: float | None) -> str:
    return "" if value is None else f"{value:.4f}"
