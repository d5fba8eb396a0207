"""How often budgets are decided, rightly, and after how many images: a simulation.

``python -m tests.benchmarks.budget_looks`` prints README's table. Each run draws images one by one
from a population where a candidate is wrong on a share that the baseline has right (lost), and
right on a share that the baseline has wrong (gained); limits are of the drop, lost minus gained.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeresnet.device.measure.sequential import Look, looks
from edgeresnet.device.measure.statistics import paired_bounds

RUNS = 10_000
IMAGES = 10_000
# Shares lost and gained, and the limit.
CASES = [
    (0.0005, 0.0005, 0.01),
    (0.0025, 0.0025, 0.01),
    (0.035, 0.005, 0.005),
    (0.045, 0.015, 0.005),
    (0.01, 0.01, 0.005),
    (0.02, 0.02, 0.005),
    (0.012, 0.01, 0.005),
    (0.02, 0.01, 0.005),
    (0.01, 0.005, 0.005),
    (0.015, 0.005, 0.01),
]


@dataclass(frozen=True, eq=False)
class Simulated:
    """What came of the runs.

    Attributes:
        covered: share of the runs in which the intervals of all looks hold the true drop.
        decisions: (runs,) 1 kept, -1 missed, 0 undecided.
        images: (runs,) after which that was decided; all of them where it was not.
        at_once: (runs,) the decisions by the plain 95 % interval of all images.
    """

    covered: float
    decisions: np.ndarray[Any, np.dtype[np.int64]]
    images: np.ndarray[Any, np.dtype[np.int64]]
    at_once: np.ndarray[Any, np.dtype[np.int64]]


def simulate(
    lost: float, gained: float, limit: float, *, n: int = IMAGES, runs: int = RUNS, seed: int = 0
) -> Simulated:
    """Walk through ``n`` images in each run, and look at them as a budget does."""
    generator = np.random.default_rng(seed)
    counts = np.zeros((runs, 2), np.int64)
    covered, decisions = np.ones(runs, bool), np.zeros(runs, np.int64)
    images, seen, true = np.full(runs, n), 0, lost - gained
    shares = [lost, gained, 1 - lost - gained]
    for look in looks(n):
        counts += generator.multinomial(look.images - seen, shares, runs)[:, :2]
        seen = look.images
        low, high = _bounds(counts, look)
        covered &= (low <= true + 1e-12) & (true - 1e-12 <= high)
        new = np.where(decisions == 0, _decided(low, high, limit), 0)
        images, decisions = np.where(new != 0, seen, images), decisions + new
    at_once = _decided(*_bounds(counts, looks(n, whole=True)[0]), limit)
    return Simulated(float(covered.mean()), decisions, images, at_once)


def _bounds(counts: np.ndarray[Any, np.dtype[np.int64]], look: Look) -> tuple[Any, Any]:
    # Most runs have the same few counts.
    pairs, which = np.unique(counts, axis=0, return_inverse=True)
    low, high = paired_bounds(pairs[:, 0], pairs[:, 1], look.images, look.z)
    return low[which.ravel()], high[which.ravel()]


def _decided(low: Any, high: Any, limit: float) -> np.ndarray[Any, np.dtype[np.int64]]:
    return np.where(high <= limit, 1, np.where(low > limit, -1, 0))


def table(cases: Sequence[tuple[float, float, float]] = CASES, runs: int = RUNS) -> list[str]:
    """README's table, a line each."""
    lines = [
        "| lost | gained | limit | kept | missed | undecided | all images at once: kept | missed | "
        "images, median | on a fifth |",
        "| --- | --- | --- | --- | --- | --- | --- | --- | --- | --- |",
    ]
    for lost, gained, limit in cases:
        found = simulate(lost, gained, limit, runs=runs)
        shares = [(found.decisions == k).mean() for k in (1, -1, 0)]
        shares += [(found.at_once == k).mean() for k in (1, -1)]
        median = int(np.median(found.images))
        early = ((found.decisions != 0) & (found.images <= IMAGES / 5)).mean()
        lines.append(
            f"| {100 * lost:g} % | {100 * gained:g} % | {limit:g} | "
            + " | ".join(f"{share:.3f}" for share in shares)
            + f" | {median:,} | {early:.3f} |"
        )
    return lines


if __name__ == "__main__":
    print("\n".join(table()))
