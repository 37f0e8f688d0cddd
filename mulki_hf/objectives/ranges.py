"""Ranges of methods' settings."""

import math
from typing import Any


def check_strengths(arguments: Any, *names: str) -> None:
    """Raise `ValueError`, with name and value, unless the fields are finite and not below zero."""
    for name in names:
        if not 0 <= getattr(arguments, name) < math.inf:
            raise ValueError(f"{name} must be >= 0 and finite, got {getattr(arguments, name)}")


def check_temperature(arguments: Any, name: str) -> None:
    """Raise `ValueError`, with name and value, unless the field is finite and above zero."""
    if not 0 < getattr(arguments, name) < math.inf:
        raise ValueError(f"{name} must be > 0 and finite, got {getattr(arguments, name)}")
