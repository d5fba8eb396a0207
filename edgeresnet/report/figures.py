"""How figures are written, in tables, on pages and in Markdown."""

from __future__ import annotations

DASH = "–"


def figure(value: float | None, digits: int) -> str:
    """With so many digits behind the point; a dash where there is none."""
    return DASH if value is None else f"{value:.{digits}f}"
