"""What setting several depths beside each other gives back."""

from __future__ import annotations

from typing import Annotated

from pydantic import Field
from typing_extensions import TypedDict

Pair = Annotated[list[float], Field(min_length=2, max_length=2)]


class FrontPoint(TypedDict):
    """One network in one precision; ``name`` is that of its row, which has all else.

    ``megabytes`` is the size of the bundle's model files (10^6 bytes). ``energy_mj`` of one input,
    without what the idle machine takes; None: no sensor. ``best_at`` has ``latency``, ``size`` and
    ``energy`` where no other point that was measured has less of it at the same top-1 or a higher
    one: by point values, which intervals may not tell apart. ``drop`` is the top-1 that was lost
    against the same network in float, with its paired interval; None of a float one, and of images
    without labels.
    """

    name: str
    arch: str
    target: str
    precision: str
    top1: float | None
    top1_interval: Pair | None
    drop: float | None
    drop_interval: Pair | None
    p50_ms: float | None
    p50_interval_ms: Pair | None
    megabytes: float
    energy_mj: float | None
    best_at: list[str]


class UnfinishedNetwork(TypedDict):
    """One that is not in the comparison, and why."""

    arch: str
    why: str


class FrontResults(TypedDict):
    """The points in the order of the recipe; ``energy``: which sensor told, or why none."""

    minutes: float | None
    points: list[FrontPoint]
    unfinished: list[UnfinishedNetwork]
    energy: str
