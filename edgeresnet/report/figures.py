"""How figures are written, in tables, on pages and in Markdown."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

DASH = "–"


def figure(value: float | None, digits: int) -> str:
    """With so many digits behind the point; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}"


def ratio_text(ratio: Mapping[str, Any]) -> str:
    """Times as fast with the interval, or that there is none."""
    low, high = ratio["low"], ratio["high"]
    span = "no interval" if low is None or high is None else f"{low:.2f}-{high:.2f}"
    return f"{ratio['value']:.2f}x ({span})"


def row_name(row: Mapping[str, Any]) -> str:
    """What a row is called: the model, or what was swept over, or the batch size."""
    return str(row.get("name") or row.get("label") or f"batch {row['batch']}")
