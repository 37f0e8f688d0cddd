"""What a column's labels mean: which class each name or number in the data stands for, if for one of the task's."""

import difflib
import logging
from collections.abc import Iterable
from pathlib import Path
from typing import Any

from datasets import ClassLabel

from ..errors import ConfigurationError, shown
from .labels import LEFT_OUT, Classes
from .names import check_class_names
from .task_config import TaskConfig


logger = logging.getLogger(__name__)


def classes_of(task: TaskConfig, feature: Any, where: str) -> Classes:
    """The classes of a split whose label column is a `feature` of `datasets`.

    Raises:
        ConfigurationError: there are no names, two are alike, or they are not those that the column has.
    """
    of_task, given = f"task {task.name!r}", task.class_names
    known = list(feature.names) if isinstance(feature, ClassLabel) else None
    if isinstance(given, dict):
        check_class_names([*given.values()], of_task)
        mapped = {label: name for label, name in given.items() if label not in task.left_out_classes}
        names = [*mapped.values()]
        check_class_names(names, f"{of_task}, without its left_out_classes")
        positions = {label: position for position, label in enumerate(mapped)}
        positions |= dict.fromkeys(task.left_out_classes, LEFT_OUT)
        if known is None:
            return Classes(names, positions)
        meant = _meant(known, [*positions], f"{where}, column {task.label_column!r}")
        return Classes(names, {label: positions[meant[label]] for label in known}, known)
    if isinstance(given, str):
        given = _read_names(given, of_task)
    if given is None:
        if known is None:
            raise ConfigurationError(
                f"{of_task}: class names are missing: column {task.label_column!r} of {task.dataset!r} is "
                f"{feature}, not a ClassLabel; give class_names"
            )
        given = known
    check_class_names(given, of_task)
    if known is not None:
        _check_order(given, known, f"{where}, column {task.label_column!r}")
    if unknown := [name for name in task.left_out_classes if name not in given]:
        raise ConfigurationError(f"{of_task}: left_out_classes are no classes of the data: {_listed(unknown, given)}")
    names = [name for name in given if name not in task.left_out_classes]
    check_class_names(names, f"{of_task}, without its left_out_classes")
    positions = {name: position for position, name in enumerate(names)}
    return Classes(names, positions | dict.fromkeys(task.left_out_classes, LEFT_OUT), list(given))


def _meant(known: list[str], labels: list[str], where: str) -> dict[str, str]:
    """By each label `known` in the data which of the `labels` that are mapped or left out it is.

    That is the same one or, where there is one alone, one that differs in nothing but case, blanks and signs: `F-16A_B`
    for `F-16A/B`, as a copy's folders may be called.

    Raises:
        ConfigurationError: for one of either there is no other.
    """
    unmapped = [label for label in known if label not in labels]
    absent = [label for label in labels if label not in known]
    plain = [[_plain(label) for label in ones] for ones in (unmapped, absent)]
    spelled = {
        label: absent[plain[1].index(letters)]
        for label, letters in zip(unmapped, plain[0], strict=True)
        if letters and plain[0].count(letters) == plain[1].count(letters) == 1
    }
    unmapped = [label for label in unmapped if label not in spelled]
    absent = [label for label in absent if label not in spelled.values()]
    problems = [f"class_names maps no label {_listed(unmapped, absent)}"] if unmapped else []
    problems += [f"the data have no label {_listed(absent, unmapped)}"] if absent else []
    if problems:
        raise ConfigurationError(
            f"{where}: {'; '.join(problems)}. Map every name that the data have, or name it in left_out_classes"
        )
    if spelled:
        few = ", ".join(f"{shown(label)} for {shown(meant)}" for label, meant in [*spelled.items()][:5])
        more = f", ... ({len(spelled)} in all)" if len(spelled) > 5 else ""
        logger.warning(f"{where}: some labels are spelled otherwise than class_names maps them: {few}{more}")
    return {label: spelled.get(label, label) for label in known}


def _plain(label: str) -> str:
    return "".join(letter for letter in label.casefold() if letter.isalnum())


def _check_order(given: list[str], known: list[str], where: str) -> None:
    """Raise `ConfigurationError` for `given` names that are those of the labels, `known`, in another order."""
    plain, theirs = ([*map(_plain, names)] for names in (given, known))
    if plain != theirs and sorted(plain) == sorted(theirs) and len({*plain}) == len(plain):
        first = next(number for number, name in enumerate(plain) if name != theirs[number])
        raise ConfigurationError(
            f"{where}: class_names are the labels' own names in another order: label {first} is {shown(known[first])} "
            f"in the data, and {shown(given[first])} there. Map the data's names to them, or leave class_names out"
        )


def _listed(names: list[str], others: Iterable[str]) -> str:
    """The first of `names`, each with the one of `others` that may be meant."""
    others, texts = [*others], []
    for name in names[:5]:
        near = difflib.get_close_matches(name, others, n=1)
        texts.append(shown(name) + (f" (is it {near[0]!r}?)" if near else ""))
    return ", ".join(texts) + (f", ... ({len(names)} in all)" if len(names) > 5 else "")


def _read_names(path: str, where: str) -> list[str]:
    try:
        text = Path(path).read_text(encoding="utf-8-sig")
    except (OSError, ValueError) as error:
        reason = f"it is not UTF-8 text ({error}); save it as UTF-8" if isinstance(error, UnicodeError) else error
        raise ConfigurationError(f"{where}: can't read class_names file {shown(path)}: {reason}") from error
    return [line.strip() for line in text.splitlines() if line.strip()]
