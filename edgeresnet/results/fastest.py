"""What a comparison of INT8's speed with that of float precisions gives back."""

from __future__ import annotations

from typing import Any, Literal

from typing_extensions import TypedDict

from edgeresnet.results.intervals import RatioResults

SpeedDecision = Literal["faster", "slower", "undecided"]


class FastestRow(TypedDict):
    """One precision. ``int8_speedup``: times as fast as it INT8 is; None of INT8 itself."""

    precision: str
    p50_ms: float
    p99_ms: float
    runs: int
    int8_speedup: RatioResults | None
    fastest: bool


class Judgement(TypedDict):
    """What timing the precisions of one network in turn says of INT8.

    ``int8`` is the precision that stands for it. It is ``faster`` if the interval of its speed-up
    over each float precision lies above 1, ``slower`` if one lies below. ``fastest`` is None where
    neither is so; ``advised`` is then the float precision with the smallest median.
    """

    int8: str
    decision: SpeedDecision
    fastest: str | None
    advised: str
    precisions: list[FastestRow]


class FastestOfTarget(Judgement):
    """For one target of a run with ``compare.fastest``."""

    target: str
    device: str


class FastestResults(FastestOfTarget):
    """``quantize --fastest``; ``export_command`` makes the bundle of what is ``advised``."""

    threads: int | None
    batch: int
    rounds: int
    export_command: str
    note: str | None
    environment: dict[str, Any]
