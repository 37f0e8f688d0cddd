"""Classes that are learned some at a time: in which order they come, and how many in each task."""

import re
from functools import cache

import numpy as np

from ..errors import ConfigurationError, shown
from ..resources import PACKAGE
from ..strict_yaml import read_yaml


FOLDER = PACKAGE / "data" / "class_orders"
"""A published order each: `source`, and `order`, positions among the class names."""

MOST_TASKS = 100_000
"""Of one entry: their names are made before its data are known."""

NUMPY = re.compile(r"numpy_(\d{1,9})")
"""`numpy_1993`: what `np.random.seed(1993); np.random.permutation(n)` gives, as in PILOT and PROOF."""


def known_orders() -> list[str]:
    """The names of published orders."""
    return [*sorted(path.stem for path in FOLDER.glob("*.yaml")), "numpy_1993"]


def check_class_order(order: str | list, where: str) -> None:
    """Raise `ConfigurationError` unless `order` is the name of one or a list of class numbers or of class names."""
    if isinstance(order, str):
        if NUMPY.fullmatch(order) is None and order not in known_orders():
            raise ConfigurationError(
                f"{where}: class_order must be a list or one of {', '.join(known_orders())} (or another seed of "
                f"numpy's), got {shown(order)}"
            )
        return
    kinds = {type(entry) for entry in order}
    if kinds not in ({int}, {str}):
        raise ConfigurationError(
            f"{where}: class_order must be a list of class numbers or a list of class names, got {shown(order)}"
        )


def task_count(increments: int | list[int]) -> int:
    """How many tasks `class_incremental` asks for."""
    return len(increments) if isinstance(increments, list) else increments


def check_increments(increments: int | list[int], where: str) -> None:
    """Raise `ConfigurationError` unless `increments` is a number of tasks or numbers of classes."""
    if isinstance(increments, int) and increments < 1:
        raise ConfigurationError(f"{where}: class_incremental must be an integer >= 1, got {increments!r}")
    if isinstance(increments, int) and increments > MOST_TASKS:
        raise ConfigurationError(f"{where}: class_incremental must be at most {MOST_TASKS}, got {increments}")
    if isinstance(increments, list) and (not increments or min(increments) < 1):
        raise ConfigurationError(
            f"{where}: class_incremental as a list must hold a number of classes >= 1 for each task, got "
            f"{shown(increments)}"
        )


def class_groups(
    increments: int | list[int],
    order: str | list | None,
    seed: int | None,
    class_names: list[str],
    where: str,
) -> list[list[int]]:
    """The classes of each task, by position in `class_names`.

    Args:
        increments: a number of tasks with equal parts of the classes (the first ones have one more where that is not
            possible), or how many classes each has.
        order (*optional*): see [`check_class_order`]; the classes' own without.
        seed (*optional*): of a shuffled one, in its place.

    Raises:
        ConfigurationError: increments or order are of other classes.
    """
    count = len(class_names)
    if isinstance(increments, list) and sum(increments) != count:
        raise ConfigurationError(
            f"{where}: class_incremental {shown(increments)} sums to {sum(increments)}, but there are {count} classes"
        )
    if isinstance(increments, int) and increments > count:
        raise ConfigurationError(f"{where}: class_incremental is {increments}, but there are {count} classes")
    if task_count(increments) == 1:
        return [list(range(count))]
    parts = np.cumsum(increments)[:-1] if isinstance(increments, list) else increments
    return [part.tolist() for part in np.array_split(_ordered(order, seed, class_names, where), parts)]


def _ordered(order: str | list | None, seed: int | None, class_names: list[str], where: str) -> np.ndarray:
    count = len(class_names)
    if order is None:
        own = np.arange(count)
        if seed is not None:
            np.random.default_rng(seed).shuffle(own)
        return own
    if isinstance(order, str):
        drawn = NUMPY.fullmatch(order)
        if drawn is not None:
            # The legacy generator's stream never changes.
            return np.random.RandomState(int(drawn.group(1))).permutation(count)
        name, order = f"class_order {order!r}", _published(order)
    else:
        name = "class_order"
    if len(order) != count:
        raise ConfigurationError(f"{where}: {name} is of {len(order)} classes, but there are {count}")
    known = {one: position for position, one in enumerate(class_names if isinstance(order[0], str) else range(count))}
    strange = [entry for entry in order if entry not in known]
    if strange or len({*order}) != count:
        repeated = [entry for entry in dict.fromkeys(order) if order.count(entry) > 1]
        what = f"{shown(strange[0])} is none" if strange else f"{shown(repeated[0])} comes more than once"
        raise ConfigurationError(f"{where}: {name} must hold each of the {count} classes once: {what}")
    return np.array([known[entry] for entry in order])


@cache
def _published(name: str) -> list[int]:
    return read_yaml(FOLDER / f"{name}.yaml", "class_order")["order"]
