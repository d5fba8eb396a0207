"""Whether the figures of a row can be relied on, as JSON has it."""

from __future__ import annotations

from typing_extensions import TypedDict


class Finding(TypedDict):
    """One thing that was noticed of a measurement: a word for programs, a sentence for people.

    Words: of the machine ``swapped``, ``throttled``, ``quota``, ``load`` and ``threads``; of the
    series of runs ``drift``, ``bimodal``, ``spikes``, and ``unjudged`` where runs are too few.
    """

    word: str
    cause: str


class Stability(TypedDict):
    """What was noticed of a measurement.

    ``word`` is that of the first finding, or ``steady``. ``stable`` is false where one of them
    makes the figures doubtful, None where nobody could tell. ``steady_from_run`` runs went by
    before the series was steady (None: it never was). ``outliers`` runs lie far above all others;
    they are in every figure.
    """

    word: str
    stable: bool | None
    cause: str | None
    findings: list[Finding]
    steady_from_run: int | None
    outliers: int | None
    largest_ms: float | None


class EnergyResults(TypedDict):
    """Whether energy was measured: ``sensor`` is None where there is none, and ``reason`` why."""

    sensor: str | None
    reason: str | None


class OfflineResults(TypedDict):
    """Throughput with all images at hand, as MLPerf's scenario offline: batches back to back."""

    batch: int
    runs: int
    seconds: float
    throughput_ips: float
