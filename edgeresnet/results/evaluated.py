"""What evaluating one model gives back: the rest of `edgeresnet.results.measured`."""

from __future__ import annotations

from typing import Any

from typing_extensions import NotRequired, TypedDict


class EvaluateResults(TypedDict):
    """``evaluate``. ``answers`` are logits, or probabilities of a model that ends in them.

    Of a model without logits they are embeddings: top-1 is then of the nearest neighbour among the
    other images, and ``calibration_error`` is None.
    """

    schema: int
    target: str
    device: str
    precision: str
    answers: str
    n: int
    top1: float
    top5: float
    top1_interval: list[float]
    balanced_accuracy: float
    macro_f1: float
    calibration_error: float | None
    confusion: dict[str, dict[str, int]]
    per_class: dict[str, float | None]
    data: str
    skipped: list[str]
    conversions: dict[str, int]
    doubts: NotRequired[list[str]]
    preprocess_ms: float
    run_ms: float | None
    emulated: bool
    placement: list[dict[str, Any]]
