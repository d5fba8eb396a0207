"""Percentiles of latency with intervals that hold where runs depend on each other."""

from __future__ import annotations

import math
from collections.abc import Mapping
from dataclasses import dataclass
from functools import lru_cache
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.measure.dependence import effective_runs
from edgeresnet.device.measure.statistics import Z95

if TYPE_CHECKING:
    from numpy.typing import NDArray

TOLD = (50, 90, 95, 99)
TAIL = 0.025
# Up to so many runs the binomial distribution is summed, above them the normal one stands for it.
EXACT = 20_000
# Of more runs nobody dreams.
MOST_RUNS = 10**8


@dataclass(frozen=True)
class Percentile:
    """One percentile of a series.

    Attributes:
        value_ms: of the samples as they are.
        interval_ms: [low, high], 95 %; None where the runs are worth too few independent ones.
        effective: independent runs that the series is worth here.
    """

    value_ms: float
    interval_ms: list[float] | None
    effective: float


def percentile(samples_ms: NDArray[np.float64], q: float) -> Percentile:
    """A percentile with its interval, from order statistics, without a guess at a distribution.

    The ranks are those of Hahn and Meeker ("Statistical Intervals", 1991, section 5.2) for as many
    independent runs as the series is worth, at the same levels of the series that there is. No
    interval is given where no run lies surely beyond the percentile: of p99 below 368 such runs.

    Args:
        samples_ms: (n,) in the order of time.
        q: 0 to 100, both excluded.
    """
    value = float(np.percentile(samples_ms, q))
    effective = effective_runs(samples_ms, q)
    found = _ranks(int(effective), q / 100)
    if found is None:
        return Percentile(value, None, effective)
    ordered, n = np.sort(samples_ms), len(samples_ms)
    low, high = (rank * n / int(effective) for rank in found)
    places = max(math.floor(low), 1) - 1, min(math.ceil(high), n) - 1
    return Percentile(value, [float(ordered[place]) for place in places], effective)


def least_independent(q: float) -> int:
    """Independent runs below which percentile ``q`` has no interval."""
    share = q / 100
    return math.floor(max(math.log(TAIL) / math.log(p) for p in (share, 1 - share))) + 1


def interval_note(found: Mapping[int, Percentile], runs: int) -> str | None:
    """A sentence on which percentiles have no interval, and what would give one; None: all have.

    Args:
        found: by percentile.
        runs: in the series.
    """
    lacking = [q for q, one in found.items() if one.interval_ms is None]
    if not lacking:
        return None
    q = lacking[-1]
    names = [f"p{one}" for one in lacking]
    listed = " and ".join(filter(None, [", ".join(names[:-1]), names[-1]]))
    worth = f"{runs} runs are worth {found[q].effective:.0f} independent ones"
    if found[q].effective > 0.99 * runs:
        worth = f"there are {runs} runs"
    return (
        f"no 95 % interval of {listed}: {worth}, and p{q} takes {least_independent(q)}; about "
        f"{runs_for_interval(found[q], q, runs):,} runs would give it."
    )


def runs_for_interval(found: Percentile, q: float, runs: int) -> int:
    """About how many runs would give an interval, if they depend on each other as these do."""
    return _rounded_up(least_independent(q) * runs / found.effective)


def runs_needed(samples_ms: NDArray[np.float64], q: float, limit_ms: float) -> int | None:
    """About how many runs would tell whether a percentile is over a limit; None: no number would.

    Args:
        samples_ms: (n,) in the order of time; what share of them is within the limit, and how they
            depend on each other, is taken to stay so.
        q: 0 to 100, both excluded.
        limit_ms: to be told apart from the percentile.
    """
    within, share = float((samples_ms <= limit_ms).mean()), q / 100
    per_run = len(samples_ms) / effective_runs(samples_ms, q)

    def decides(independent: int) -> bool:
        found = _ranks(independent, share)
        if found is None:
            return False
        low, high = (rank / independent for rank in found)
        return high <= within or low > within

    few, many = 1, 2
    while many <= EXACT and not decides(many):
        few, many = many, 2 * many
    if many > EXACT:
        if within == share:
            return None
        few = many = math.ceil(share * (1 - share) * (Z95 / (within - share)) ** 2)
    while many - few > max(1, few // 100):
        middle = (few + many) // 2
        few, many = (few, middle) if decides(middle) else (middle, many)
    return _rounded_up(many * per_run) if many * per_run <= MOST_RUNS else None


def _rounded_up(runs: float) -> int:
    """To two digits: more are not worth it."""
    whole = math.ceil(runs)
    step = int(10 ** max(0, len(str(whole)) - 2))
    return -(-whole // step) * step


@lru_cache(maxsize=256)
def _ranks(n: int, share: float) -> tuple[int, int] | None:
    """The ranks, 1 to n, of independent values between which a quantile lies; None: too few."""
    if n < 2:
        return None
    if n > EXACT:
        half = Z95 * math.sqrt(n * share * (1 - share))
        return math.floor(n * share - half), math.ceil(n * share + half) + 1
    places = np.arange(n + 1)
    factorials = np.concatenate([[0.0], np.cumsum(np.log(np.arange(1, n + 1)))])
    chances = factorials[n] - factorials - factorials[::-1]
    chances += places * math.log(share) + (n - places) * math.log1p(-share)
    below = np.cumsum(np.exp(chances))
    low = int(np.searchsorted(below, TAIL, "right"))
    high = int(np.searchsorted(below, 1 - TAIL)) + 1
    return (low, high) if low >= 1 and high <= n else None
