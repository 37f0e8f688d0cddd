"""Means, spreads and paired differences of metrics, as numbers and as people write them."""

from collections.abc import Iterable, Mapping
from dataclasses import dataclass
from statistics import mean, stdev
from typing import Any

from ..tables import percent, signed


TABLE_METRICS = ("transfer", "avg", "last", "forgetting", "degradation")
"""Those that a table shows."""
LESS_IS_BETTER = {"forgetting", "degradation", "snd_forgetting", "snd_degradation"}


@dataclass
class Spread:
    """A mean, and the standard deviation where there are several values."""

    mean: float
    deviation: float | None

    @classmethod
    def of(cls, values: Iterable[float | None]) -> "Spread | None":
        """Of the values that are defined, if any."""
        known = [value for value in values if value is not None]
        return cls(mean(known), stdev(known) if len(known) > 1 else None) if known else None


def spread_text(values: Iterable[float | None]) -> str:
    """`83.8 ± 0.3`; of one value itself, of none a dash."""
    spread = Spread.of(values)
    if spread is None or spread.deviation is None:
        return percent(None if spread is None else spread.mean)
    return f"{spread.mean:.1f} ± {spread.deviation:.1f}"


def difference_text(pairs: Iterable[tuple[Mapping[str, Any], Mapping[str, Any]]], name: str) -> str:
    """`+2.3 ± 0.6 (3/3)`: by how much the first of each pair has more of a metric, and in how many it is ahead."""
    values = [one[name] - other[name] for one, other in pairs if None not in (one.get(name), other.get(name))]
    spread = Spread.of(values)
    if spread is None:
        return "-"
    sign = -1 if name in LESS_IS_BETTER else 1
    ahead = sum(sign * value > 0 for value in values)
    within = "≈ " if spread.deviation is not None and abs(spread.mean) <= spread.deviation else ""
    around = "" if spread.deviation is None else f" ± {spread.deviation:.1f}"
    return f"{within}{signed(spread.mean)}{around} ({ahead}/{len(values)})"
