"""What a series of timed runs looks like: steady, drifting, of two kinds, or with spikes.

Nothing is ever removed from it: what is seen here is told beside the figures.
"""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Literal

import numpy as np

from edgeresnet.device.measure.dependence import correlation_time, ranks

if TYPE_CHECKING:
    from numpy.typing import NDArray

Word = Literal["steady", "drift", "bimodal", "spikes", "unjudged"]
# Below so many runs a drift cannot be told from luck.
LEAST_RUNS = 30
# What is smaller than this share of the median is no matter, however sure it is.
MATTERS = 0.05
# Of Kolmogorov's distribution, for an error of 1 in 1000: exp(-2 x²) = 0.0005.
SURELY = math.sqrt(math.log(2000) / 2)
FEW_RUNS = 10
# The smaller of two kinds of runs has at least this share; fewer are spikes.
LEAST_SHARE = 0.1
# How far apart two kinds lie, in standard deviations within them: a normal distribution split in
# two has 2.6, a flat one 3.5.
APART = 3.8
# Times the distance between the quartiles above the upper one, and times the median.
FAR_OUT, SPIKE_TIMES, LEAST_SPIKES = 3.0, 1.5, 3


@dataclass(frozen=True)
class Series:
    """What a series of runs is.

    Attributes:
        word: ``steady``, ``drift``, ``bimodal``, ``spikes``, or ``unjudged`` where runs are too
            few.
        cause: a sentence with figures; None of a steady one.
        steady_from_run: how many runs went by before it was steady; None: it never was.
        outliers: runs far above all others, which are in every figure.
        largest_ms: the slowest run.
    """

    word: Word
    cause: str | None
    steady_from_run: int | None
    outliers: int
    largest_ms: float


def judge_series(samples_ms: NDArray[np.float64]) -> Series:
    """Say what a series of runs is: drift first, then two kinds of runs, then spikes.

    Args:
        samples_ms: (n,) positive, in the order of time.
    """
    n, largest = len(samples_ms), float(samples_ms.max())
    outliers = int(_spikes(samples_ms).sum())
    if n < LEAST_RUNS:
        cause = f"{n} runs are too few to tell whether they are steady ({LEAST_RUNS} would do)."
        return Series("unjudged", cause, None, outliers, largest)
    if (place := change_place(samples_ms)) is not None:
        rest = samples_ms[place:]
        settled = len(rest) >= max(LEAST_RUNS, n // 2) and change_place(rest) is None
        cause = _drift_text(samples_ms, place, settled=settled)
        return Series("drift", cause, place if settled else None, outliers, largest)
    if (threshold := valley_ms(samples_ms)) is not None:
        return Series("bimodal", _kinds_text(samples_ms, threshold), None, outliers, largest)
    if outliers >= LEAST_SPIKES:
        return Series("spikes", _spikes_text(samples_ms, outliers), 0, outliers, largest)
    return Series("steady", None, 0, outliers, largest)


def change_place(samples_ms: NDArray[np.float64]) -> int | None:
    """After how many runs the level changes; None where it surely does not, or by too little.

    Pettitt's test on ranks ("A non-parametric approach to the change-point problem", 1979), whose
    sums are held against what they scatter by where runs depend on each other. That is estimated
    about a step and a slope, so that a drift does not hide itself.

    Args:
        samples_ms: (n,) in the order of time.
    """
    n = len(samples_ms)
    places = ranks(samples_ms)
    sums = np.abs(np.cumsum(places - places.mean()))
    edge = max(5, n // 50)
    place = edge + int(sums[edge - 1 : n - edge].argmax())
    moments = np.arange(n, dtype=np.float64)
    shape = np.stack([np.ones(n), moments, moments >= place], axis=1)
    around = places - shape @ np.linalg.lstsq(shape, places, rcond=None)[0]
    time = correlation_time(around)
    # Of few independent runs the correlation is underestimated.
    scatter = math.sqrt(float(around.var()) * time * (n + FEW_RUNS * time))
    if sums[place - 1] <= SURELY * scatter:
        return None
    before, after = _levels(samples_ms, place)
    return place if abs(after - before) >= MATTERS * min(before, after) else None


def valley_ms(samples_ms: NDArray[np.float64]) -> float | None:
    """The threshold between two kinds of runs; None where there is one kind.

    The split of the logarithms into two that leaves the least variance within (Otsu, 1979). The
    two must lie `APART`, as Ashman, Bird and Zepf (1994) measure it, with a valley between them.

    Args:
        samples_ms: (n,) positive, in any order.
    """
    ordered = np.sort(np.log(samples_ms))
    n = len(ordered)
    least = math.ceil(LEAST_SHARE * n)
    # Whatever lies far out must not draw the split to itself.
    clipped = np.minimum(ordered, ordered[n - 1 - least // 2])
    sizes = np.arange(1, n)
    sums, squares = np.cumsum(clipped), np.cumsum(clipped**2)
    low, high = sums[:-1] / sizes, (sums[-1] - sums[:-1]) / (n - sizes)
    within = squares[-1] - sizes * low**2 - (n - sizes) * high**2
    cut = least - 1 + int(within[least - 1 : n - least].argmin())
    lower, upper = clipped[: cut + 1], clipped[cut + 1 :]
    a, b = float(np.median(lower)), float(np.median(upper))
    spread = math.sqrt((float(lower.var()) + float(upper.var())) / 2)
    if b - a < MATTERS or b - a < APART * spread:
        return None
    reach = (b - a) / 6
    at_a, at_b, between = (
        int(((clipped >= m - reach) & (clipped <= m + reach)).sum()) for m in (a, b, (a + b) / 2)
    )
    peak = min(at_a, at_b)
    if peak < least / 2 or between + 3 * math.sqrt(max(between, 1)) > peak:
        return None
    return math.exp((float(lower[-1]) + float(upper[0])) / 2)


def _spikes(samples_ms: NDArray[np.float64]) -> NDArray[np.bool_]:
    """(n,) which runs lie far outside: beyond Tukey's outer fence (1977), and by half and more."""
    low, median, high = np.percentile(samples_ms, (25, 50, 75))
    fence = max(float(high + FAR_OUT * (high - low)), float(SPIKE_TIMES * median))
    return np.greater(samples_ms, fence)


def _levels(samples_ms: NDArray[np.float64], place: int) -> tuple[float, float]:
    return float(np.median(samples_ms[:place])), float(np.median(samples_ms[place:]))


def _drift_text(samples_ms: NDArray[np.float64], place: int, *, settled: bool) -> str:
    before, after = _levels(samples_ms, place)
    n = len(samples_ms)
    if settled and before > after:
        return (
            f"the first {place} of {n} runs take {before / after:.2f} times as long as the others "
            f"({before:.3g} and {after:.3g} ms): not warmed up, or something else ran then."
        )
    tenth = max(n // 10, 1)
    first, last = (float(np.median(part)) for part in (samples_ms[:tenth], samples_ms[-tenth:]))
    return (
        f"the level changes while measuring: {before:.3g} ms in the first {place} of {n} runs, "
        f"{after:.3g} ms in the others (first tenth {first:.3g}, last tenth {last:.3g})."
    )


def _kinds_text(samples_ms: NDArray[np.float64], threshold_ms: float) -> str:
    slow = samples_ms > threshold_ms
    quick = float(np.median(samples_ms[~slow]))
    stretches = 1 + int(np.count_nonzero(np.diff(slow)))
    share, slow_ms = float(slow.mean()), float(np.median(samples_ms[slow]))
    return (
        f"there are two kinds of runs: {1 - share:.0%} about {quick:.3g} ms, {share:.0%} about "
        f"{slow_ms:.3g} ms, in turns of {len(slow) / stretches:.0f} "
        "runs on average: cores of two kinds, clocks, or threads that move between cores."
    )


def _spikes_text(samples_ms: NDArray[np.float64], outliers: int) -> str:
    times = float(samples_ms.max() / np.median(samples_ms))
    return (
        f"{outliers} of {len(samples_ms)} runs lie far above the others, the slowest at "
        f"{times:.1f} times the median; they are in all figures."
    )
