"""Runs to compare, whose numbers follow a rule."""

from .results import empty_results, seeded


ZERO = [50.0, 40.0, 30.0]


def rows(lift: float = 0.0, width: int = 3) -> list[list[float]]:
    """A zero-shot row, and one after each task: what is learned gains 30, what was loses 2 with each task after it."""
    matrix = [ZERO[:width]]
    for i in range(width):
        matrix.append([ZERO[j] + (30 + lift - 2 * (i - j) if j <= i else lift / 4 - 1) for j in range(width)])
    return matrix


def three(method: str, lift: float, **fields):
    return {f"{method}-{seed}": seeded(rows(lift + seed), seed, method=method, **fields) for seed in range(3)}


def zero_shot(seed: int = 42, names: str = "abc", **fields):
    results = seeded([ZERO[: len(names)]], seed, names, method="zero_shot", **fields)
    results.stages = []
    matrix = [ZERO[: len(names)]] * len(names)
    results.stayed({results.protocol: matrix})
    return results


def joint(seed: int = 0, names: str = "abc", **fields):
    results = seeded(rows()[:1], seed, names, method="joint", **fields)
    results.stages = empty_results("together").tasks
    results.add({results.protocol: [82.0, 72.0, 62.0][: len(names)]})
    return results
