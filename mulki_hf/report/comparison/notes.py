"""What has to be known before two rows are read against each other, a sentence each."""

from collections.abc import Iterator, Mapping, Sequence

from .runs import ComparedRun
from .versions import changed_versions, versions_of


ZERO_SHOT_TOLERANCE = 0.5
"""Points by which one model's accuracies may differ between machines and precisions."""


def notes(runs: list[ComparedRun], tasks: list[str], apart: list[str], orders: Sequence[tuple[str, ...]]) -> list[str]:
    """All of them; the gravest first.

    Args:
        runs: with their compared tasks and protocol.
        tasks: the compared ones.
        apart: why tasks of one name are not compared.
        orders: in which they were learned.
    """
    return [
        *_other_tasks(runs, tasks, apart),
        *_orders(orders),
        *_bases(runs),
        *_cells(runs),
        *_twice(runs),
        *_versions(runs),
        *_standing(runs),
    ]


def _other_tasks(runs: list[ComparedRun], tasks: list[str], apart: list[str]) -> Iterator[str]:
    for run in runs:
        done, total = run.results.finished, len(run.results.learned)
        if done < total:
            yield f"{run.name} has learned {done} of its {total} tasks: only those are compared."
    left = {run.name: [name for name in run.results.names if name not in tasks] for run in runs}
    if any(left.values()):
        count = f"the {len(tasks)} tasks that all have" if len(tasks) > 1 else "the one task that all have"
        others = "; ".join(f"{run}: {', '.join(names)}" for run, names in left.items() if names)
        yield (
            f"The runs are of different tasks. They are compared on {count} ({', '.join(tasks)}), and every metric is "
            f"of those alone. Left out: {others}."
        )
    yield from (f"Task {reason}." for reason in apart)


def _orders(orders: Sequence[tuple[str, ...]]) -> Iterator[str]:
    if len(orders) > 1:
        said = "; ".join(f"{number}: {', '.join(order)}" for number, order in enumerate(orders, start=1))
        yield (
            f"The tasks were learned in {len(orders)} orders ({said}). All metrics but Last depend on the order by "
            "definition: read rows of one order against each other; differences are of pairs of one order."
        )


def _bases(runs: list[ComparedRun]) -> Iterator[str]:
    bases: dict[str, list[ComparedRun]] = {}
    for run in (run for run in runs if not run.as_it_is):
        bases.setdefault(run.traits["model_name_or_path"], []).append(run)
    if len(bases) > 1:
        yield f"The runs start from different models: {_counted({name: len(own) for name, own in bases.items()})}."
    for name, own in bases.items():
        apart = 0.0
        for task in own[0].tasks:
            levels = [level for run in own if (level := run.curves[task].get(0)) is not None]
            if levels:
                apart = max(apart, max(levels) - min(levels))
        if apart > ZERO_SHOT_TOLERANCE:
            yield (
                f"Runs that start from {name or 'a model without a name'} differ by up to {apart:.1f} points before "
                "any training: another model of that name, or other prompts or data."
            )


def _cells(runs: list[ComparedRun]) -> Iterator[str]:
    for run in runs:
        if run.lacking:
            partial = ", ".join(f"{name} of {cells}" for name, cells in run.lacking.items())
            yield f"In {run.name} not every cell was measured, so metrics are left out: {partial} cells."


def _twice(runs: list[ComparedRun]) -> Iterator[str]:
    alike: dict[tuple, list[ComparedRun]] = {}
    for run in runs:
        alike.setdefault((run.kind, *run.traits.items(), run.seed, run.order), []).append(run)
    for own in alike.values():
        if len(own) > 1:
            same = all(run.accuracy == own[0].accuracy for run in own)
            yield (
                f"{' and '.join(run.name for run in own)} are of one row and one seed ({own[0].seed})"
                f"{', with the same accuracies' if same else ''}: the spread is not over seeds alone, and only the "
                "first is in the pairs."
            )


def _versions(runs: list[ComparedRun]) -> Iterator[str]:
    if changed := changed_versions([versions_of(run.results) for run in runs]):
        yield f"Not all runs were made with the same versions: {', '.join(changed)}."


def _standing(runs: list[ComparedRun]) -> Iterator[str]:
    if any(run.stays for run in runs):
        methods = ", ".join(dict.fromkeys(run.results.method for run in runs if run.stays))
        yield f"{methods} learns nothing: one run stands for every seed."
    if any(run.at_once for run in runs):
        methods = ", ".join(dict.fromkeys(run.results.method for run in runs if run.at_once))
        yield (
            f"{methods} learns all tasks at once: one row of the matrix, in which Transfer, Forgetting and Degradation "
            "are not defined."
        )

    if others := [run.name for run in runs if run.elsewhere]:
        yield f"Evaluated on tasks that they did not learn: {', '.join(others)}. Of those only Last is defined."


def _counted(numbers: Mapping[str, int]) -> str:
    return ", ".join(f"{name or '-'} in {count} {'run' if count == 1 else 'runs'}" for name, count in numbers.items())
