"""A figure with its interval, as JSON has it."""

from __future__ import annotations

from typing_extensions import TypedDict


class IntervalResults(TypedDict):
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float
