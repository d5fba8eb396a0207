"""What a comparison of two records of ``profile`` gives back."""

from __future__ import annotations

from typing_extensions import TypedDict

from edgeresnet.results.intervals import RatioResults


class RecordRow(TypedDict):
    """One batch size that both records have; figures of the first record, then of the second.

    ``speedup``: how many times as fast the second is; without an interval where ``speedup_note``
    says why. None where a record has no times.
    """

    batch: int
    p50_ms: list[float | None]
    p99_ms: list[float | None]
    speedup: RatioResults | None
    speedup_note: str | None


class RecordPair(TypedDict):
    """``compare a.json b.json``.

    ``comparable`` says whether machine, versions and options are the same and both records are
    stable; ``reasons`` why not. ``same_model``: None where a record does not tell its model.
    """

    schema: int
    records: list[str]
    comparable: bool
    reasons: list[str]
    same_model: bool | None
    rows: list[RecordRow]
