"""What measuring and comparing give back: the JSON contract as types."""

from __future__ import annotations

from typing import Any

Budget = dict[str, Any]


def figure_text(budget: Budget) -> str:
    """The value with its interval, as ``0.0028 (-0.0049 to 0.0105)``."""
    value = f"{budget['value']:.3g}"
    if budget["low"] is None:
        return value
    return f"{value} ({budget['low']:.3g} to {budget['high']:.3g})"
