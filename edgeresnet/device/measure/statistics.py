"""A figure with its 95 % confidence interval."""

from __future__ import annotations

from dataclasses import dataclass


@dataclass(frozen=True)
class Interval:
    """``value`` lies, with 95 % confidence, between ``low`` and ``high``."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}
