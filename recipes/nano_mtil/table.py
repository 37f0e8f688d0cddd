"""The tables of nano-MTIL: `python recipes/nano_mtil/table.py runs/nano_mtil [--record FILE] [--picture FILE]`.

Of a folder of runs, finished or not, or of the JSON file that `--record` wrote of one: all methods, the differences
between one and each other, the orders, the ablation, and what tuning chose.
"""

import argparse
import sys
from collections.abc import Iterable
from pathlib import Path

from grid import GRID
from one_run import trial_name
from picture import draw
from records import Record, Records

from mulki_hf.errors import ConfigurationError
from mulki_hf.report.comparison.spread import TABLE_METRICS as METRICS
from mulki_hf.report.comparison.spread import difference_text, spread_text
from mulki_hf.report.tables import average, markdown_table, percent


HEADLINE = METRICS[:3]
SPREAD = """Mean ± standard deviation of the differences, paired by seed and order; in brackets the pairs in which the
first is ahead. ≈: the difference is within its spread."""
STANDS_FOR = {"zero_shot": lambda run: run.order, "joint": lambda run: run.seed}
"""Methods whose runs stand for every seed or every order, and what still tells them apart."""


def main(argv: list[str] | None = None) -> None:
    """The command."""
    parser = argparse.ArgumentParser(description=__doc__, formatter_class=argparse.RawDescriptionHelpFormatter)
    parser.add_argument("runs", type=Path, help="output_dir of run.py, or a JSON file of --record")
    parser.add_argument("--record", type=Path, help="JSON file to write, with everything that is shown here")
    parser.add_argument("--picture", type=Path, help="PNG to write: Transfer against Last")
    parser.add_argument("--output", type=Path, help="Markdown file to write; default: print it")
    parser.add_argument("--grid", type=Path, default=GRID, help="of the folder; default: the one beside this script")
    args = parser.parse_args(argv)
    try:
        records = Records.load(args.runs, args.grid)
        if args.picture and not records.stage("grid"):
            raise ConfigurationError(f"--picture: {args.runs} holds no run of the grid, only of other stages")
    except ConfigurationError as error:
        sys.exit(f"error: {error}")
    for warning in records.warnings():
        print(f"warning: {warning}", file=sys.stderr)
    text = tables(records)
    if args.output:
        args.output.write_text(text + "\n", encoding="utf-8")
    else:
        print(text)
    if args.record:
        records.save(args.record)
    if args.picture:
        draw(records.stage("grid"), args.picture)


def tables(records: Records) -> str:
    """All that the records can tell, as Markdown; what speaks against comparing them below the first table."""
    grid, tuning, ablation = map(records.stage, ("grid", "tuning", "ablation"))
    parts = []
    if grid:
        parts += ["## Methods", comparison(grid), notes(grid), "## Order by order", orders(grid)]
    if any(run.label == records.of for run in grid):
        parts += [f"## {records.of} against each other method", SPREAD, differences(grid, records.of)]
        if ablation:
            parts += [f"## Ablation: the variant against {records.of}", SPREAD, variants(grid, ablation, records.of)]
    if tuning:
        parts += ["## Tuning", trials(tuning), chosen(tuning, grid)]
    parts[2:2] = [f"**Warning:** {warning}" for warning in records.warnings()]
    return "\n\n".join(filter(None, parts))


def rows(runs: Iterable[Record]) -> dict[str, list[Record]]:
    """The runs by label."""
    found: dict[str, list[Record]] = {}
    for run in runs:
        found.setdefault(run.label, []).append(run)
    return found


def comparison(grid: list[Record]) -> str:
    """All methods: mean and spread over seeds and orders."""
    table = [["method", "runs", *(name.capitalize() for name in METRICS)]]
    for label, runs in rows(grid).items():
        table.append(
            [label, str(len(runs)), *(spread_text([run.metrics.get(name) for run in runs]) for name in METRICS)]
        )
    return markdown_table(table)


def notes(grid: list[Record]) -> str:
    """What has to be said of rows that are no streams."""
    said = {
        "zero_shot": "zero_shot learns nothing: a run for each order, of a model that stays as it is.",
        "joint": "joint learns all tasks at once, whatever their order: the usual upper bound, one row a run.",
    }
    there = {run.method for run in grid}
    return "\n".join(
        ["Mean ± standard deviation over seeds and orders.", *(said[name] for name in said if name in there)]
    )


def orders(grid: list[Record]) -> str:
    """The means of each order."""
    numbers = sorted({run.order for run in grid})
    table = [["method", *(f"{number}: {name.capitalize()}" for number in numbers for name in HEADLINE)]]
    for label, runs in rows(grid).items():
        of = [[run for run in runs if run.order == number] for number in numbers]
        table.append(
            [label, *(percent(average([run.metrics.get(name) for run in own])) for own in of for name in HEADLINE)]
        )
    return markdown_table(table)


def differences(grid: list[Record], of: str) -> str:
    """One method minus each other."""
    table = [[f"{of} minus", "pairs", *(name.capitalize() for name in METRICS)]]
    found = rows(grid)
    for label, others in found.items():
        if label != of:
            table.append([label, *_paired(found[of], others)])
    return markdown_table(table)


def variants(grid: list[Record], ablation: list[Record], of: str) -> str:
    """Each variant minus the whole method."""
    whole = rows(grid)[of]
    table = [["variant", "settings", "pairs", *(name.capitalize() for name in METRICS)]]
    for label, runs in rows(ablation).items():
        table.append([label, trial_name(runs[0].over(whole[0])), *_paired(runs, whole)])
    return markdown_table(table)


def trials(tuning: list[Record]) -> str:
    """All that was tried, with the best of each method."""
    best = {id(best_trial(runs)) for runs in rows(tuning).values()}
    table = [["method", "trial", *(name.capitalize() for name in HEADLINE), "chosen"]]
    for label, runs in rows(tuning).items():
        for run in runs:
            figures = [percent(run.metrics.get(name)) for name in HEADLINE]
            table.append([label, run.trial, *figures, "yes" if id(run) in best else ""])
    return markdown_table(table)


def best_trial(runs: list[Record]) -> Record:
    """The one with the best mean of the headline's metrics, as far as they are defined; the first of equals."""
    return max(runs, key=lambda run: average([run.metrics.get(name) for name in HEADLINE]) or 0.0)


def chosen(tuning: list[Record], grid: list[Record]) -> str:
    """What goes into `grid.yaml` as `chosen`, and where something else went there."""
    words = "Chosen for the best mean of Transfer, Avg and Last on the validation splits:"
    lines, ran = [words, ""], rows(grid)
    for label, runs in rows(tuning).items():
        best = best_trial(runs)
        lines.append(f"- {label}, of {len(runs)}: `{best.trial}`")
        if label in ran and (other := ran[label][0].over(best)):
            lines[-1] += f"; **the grid ran with** `{trial_name(other)}`"
    return "\n".join(lines)


def _paired(first: list[Record], second: list[Record]) -> list[str]:
    """Number of pairs, and for each metric the first's difference to the second."""
    place = STANDS_FOR.get(second[0].method, lambda run: (run.order, run.seed))
    partners = {place(run): run.metrics for run in second}
    pairs = [(run.metrics, partners[place(run)]) for run in first if place(run) in partners]
    return [str(len(pairs)), *(difference_text(pairs, name) for name in METRICS)]


if __name__ == "__main__":
    main()
