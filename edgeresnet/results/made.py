"""What making a checkpoint gives back: the rest of `edgeresnet.results.measured`."""

from __future__ import annotations

from typing import Any

from typing_extensions import NotRequired, TypedDict

from edgeresnet.results.fastest import FastestResults
from edgeresnet.results.measured import Budget


class TrainResults(TypedDict):
    """``train``: top-1 on the validation images."""

    top1: float
    epochs_run: int
    threads: int
    conversions: dict[str, int]
    doubts: list[str]


class ShardedPart(TypedDict):
    """One part of what ``shard`` wrote; ``kept`` of its shards lay there already, whole."""

    images: int
    bytes: int
    shards: int
    kept: int


class ShardResults(TypedDict):
    """``shard``: what to give as ``data``, how many classes, and what was written, by part."""

    data: str
    classes: int
    parts: dict[str, ShardedPart]


class PruneResults(TypedDict):
    """``prune``; what the cut itself tells (latency, cost share, step) stands beside these.

    Of a network without a classifier top-1 is of nearest neighbours, None without labels, and
    nothing is recovered.
    """

    criterion: str
    budget: dict[str, float | str]
    top1_dense: float | None
    top1_before_recovery: float | None
    top1: float | None
    drop: float | None
    macs_before: int
    macs_after: int
    parameters_before: int
    parameters_after: int
    widths_before: dict[str, Any]
    widths_after: dict[str, Any]
    images: int
    conversions: dict[str, int]
    data: str
    seed: int


class QuantizeResults(TypedDict):
    """``quantize``; ``rungs`` has a row of figures for each method that was tried.

    On images without labels, top-1 and what was lost of it are None. ``class_changes`` has for each
    class that images show their number, and how many of them were ``lost`` and ``gained``. All is
    of ``images``, as many of the last of the ``looks`` as decided the budgets. ``fastest`` is there
    where it was asked for; None: the comparison failed. Of a network without a classifier, answers
    are nearest neighbours, and ``cosine`` (``mean``, ``smallest``) tells how like the float
    network's its embeddings are.
    """

    method: str
    observer: str
    weight_bits: int
    start: str
    top1_float: float | None
    top1_int8: float | None
    drop: float | None
    drop_interval: list[float] | None
    lost: int | None
    gained: int | None
    class_changes: dict[str, list[int]] | None
    agreement: float
    agreement_interval: list[float]
    cosine: NotRequired[dict[str, float]]
    images: int
    looks: list[int]
    rungs: list[dict[str, Any]]
    budgets: list[Budget]
    verdict: str
    verdict_text: str
    strict: bool
    threads: int
    seconds: float
    calibration_images: int
    calibration_digest: str
    calibration_classes: dict[str, int]
    data: str
    data_fingerprint: str
    conversions: dict[str, int]
    doubts: list[str]
    seed: int
    quantized_with: dict[str, Any]
    fastest: NotRequired[FastestResults | None]


class AdoptResults(TypedDict):
    """What ``adopt`` found, and how sure that is; the intervals of all rows hold together.

    ``n`` images were drawn with ``seed``, and are known again by ``images_fingerprint``.
    """

    n: int
    top1: float
    top1_interval: list[float]
    settings: dict[str, Any]
    input_spec: dict[str, Any]
    classes: list[str]
    not_distinguished: list[dict[str, Any]]
    rows: list[dict[str, Any]]
    candidates: int
    images_run: int
    seconds: float
    seed: NotRequired[int]
    images_fingerprint: NotRequired[str]
