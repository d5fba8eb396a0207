"""A figure with its interval, as JSON has it."""

from __future__ import annotations

from typing_extensions import TypedDict


class RatioResults(TypedDict):
    """Times as fast, with its 95 % interval; None where rounds are worth too few independent ones.

    Results of older versions always have one.
    """

    value: float
    low: float | None
    high: float | None


class IntervalResults(TypedDict):
    """A figure with its 95 % confidence interval."""

    value: float
    low: float
    high: float
