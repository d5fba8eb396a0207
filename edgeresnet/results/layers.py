"""Where the time of a run goes: the JSON contract of ``profile`` about layers, as types."""

from __future__ import annotations

from typing_extensions import TypedDict


class LayerRow(TypedDict):
    """One kernel, by the layers that are in it.

    ``macs`` are of a run; they, ``gmacs_per_s`` and ``peak_share`` are None of what multiplies
    nothing, or where the model or the device does not tell. ``nodes`` are those of the model file
    (none of a kernel that the runtime added), ``kernel`` is what the runtime calls it.
    """

    name: str
    op: str
    precision: str
    unit: str
    time_ms: float
    share: float
    macs: int | None
    gmacs_per_s: float | None
    peak_share: float | None
    nodes: list[str]
    kernel: str


class ShareOfPeak(TypedDict):
    """How near a model comes to its device's peak, and where the rest of its time goes."""

    share: float
    gmacs_per_s: float
    peak_gmacs_per_s: dict[str, float]
    lost_ms: dict[str, float]
    limit: str
    busy: bool
    text: str


class LossRow(TypedDict):
    """One departure of the executed graph from the ideal one, with what would win it back."""

    kind: str
    layer: str
    why: str
    lost_ms: float
    command: str
