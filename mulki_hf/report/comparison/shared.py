"""What runs have in common: splits, protocols, tasks; refused where there is nothing that compares."""

from collections.abc import Iterable
from itertools import combinations

from ...errors import ConfigurationError
from ...evaluation.protocols import PROTOCOLS
from ...records import TaskRecord
from .runs import DRAWN, ComparedRun


def check_splits(runs: list[ComparedRun]) -> None:
    """Raise `ConfigurationError` for runs that were evaluated on other splits."""
    splits = _by(runs, lambda run: str(run.results.config.get("evaluate_on", "test")))
    if len(splits) > 1:
        raise ConfigurationError(f"evaluated on different splits, which don't compare: {_listed(splits)}")


def choose_protocol(runs: list[ComparedRun], asked: str | None) -> list[str]:
    """The protocols that all runs have and that are known here, first the one by which they are compared.

    Raises:
        ConfigurationError: that is none of them, or nobody asked and the headlines differ.
    """
    first, *others = runs
    shared = [
        name
        for name in first.results.protocols
        if name in PROTOCOLS and all(name in run.results.protocols for run in others)
    ]
    have = "; ".join(f"{run.name} has {', '.join(run.results.protocols)}" for run in runs)
    if asked is not None:
        if asked not in shared:
            raise ConfigurationError(f"--protocol {asked}: not all runs were evaluated by it: {have}")
        return [asked, *(name for name in shared if name != asked)]
    headlines = _by(runs, lambda run: run.results.protocol)
    if len(headlines) > 1 or first.results.protocol not in shared:
        hint = f"give --protocol {' or '.join(shared)}, which all have" if shared else "no protocol is in all of them"
        raise ConfigurationError(f"evaluated by different protocols, which don't compare: {have}: {hint}")
    return shared


def shared_tasks(runs: list[ComparedRun]) -> tuple[list[str], list[str]]:
    """Tasks that are the same in all runs and that all have learned, in the order of the first; why others are not.

    Raises:
        ConfigurationError: there is none.
    """
    shared, apart = [], []
    for name in (task.name for task in runs[0].known):
        found = [(run.name, task) for run in runs for task in run.known if task.name == name]
        pairs = (
            f"{name!r} is not the same in {one} and {other}: {reason}"
            for (one, first), (other, second) in combinations(found, 2)
            if (reason := unlike(first, second))
        )
        reason = next(pairs, None)
        if reason:
            apart.append(reason)
        elif len(found) == len(runs):
            shared.append(name)
    if not shared:
        learned = "; ".join(f"{run.name}: {', '.join(task.name for task in run.known)}" for run in runs)
        said = f". {'; '.join(apart)}" if apart else ""
        raise ConfigurationError(f"no task is in all runs, so that nothing compares ({learned}){said}")
    return shared, apart


def unlike(one: TaskRecord, other: TaskRecord) -> str | None:
    """Why accuracies on two tasks of one name don't compare, if they don't."""
    if one.class_names != other.class_names:
        counts = len(one.class_names), len(other.class_names)
        return f"{counts[0]} and {counts[1]} classes" if counts[0] != counts[1] else "other class names"
    if one.evaluation_images != other.evaluation_images:
        return f"{one.evaluation_images} and {other.evaluation_images} evaluation images"
    if None not in (one.fingerprint, other.fingerprint) and one.fingerprint != other.fingerprint:
        draws = [
            (task.limits["max_eval_samples"], task.limits.get("sample_seed")) for task in (one, other) if _sampled(task)
        ]
        if _sampled(one) != _sampled(other) or len(set(draws)) > 1:
            return "other evaluation images were drawn"
        # The fingerprint is of both splits: of other training images, fewer or drawn, it says nothing of the other.
        drawn = any(name in task.limits for name in DRAWN for task in (one, other))
        if one.training_images == other.training_images and not drawn:
            return "other images or labels"
    return None


def _sampled(task: TaskRecord) -> bool:
    return "max_eval_samples" in task.limits


def check_competition(runs: list[ComparedRun]) -> None:
    """Raise `ConfigurationError` where not the same classes compete for the images of the compared tasks."""
    seen: dict = {}
    for run in runs:
        for cell, rivals in run.competition().items():
            other, theirs = seen.setdefault(cell, (run, rivals))
            if theirs != rivals:
                names = [", ".join(sorted(name for name, *_ in who)) for who in (theirs, rivals)]
                raise ConfigurationError(
                    f"by {run.protocol} the runs don't compare: for images of {cell[1]!r} the classes of {names[0]} "
                    f"compete in {other.name}, and those of {names[1]} in {run.name}"
                )


def _by(runs: Iterable[ComparedRun], what) -> dict[str, list[str]]:
    found: dict[str, list[str]] = {}
    for run in runs:
        found.setdefault(what(run), []).append(run.name)
    return found


def _listed(named: dict[str, list[str]]) -> str:
    return "; ".join(f"{what} ({', '.join(names)})" for what, names in named.items())
