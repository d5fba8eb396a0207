"""How many independent runs a series of runs is worth, each of which resembles the one before it.

A hundred runs of which each is near the last say less than a hundred independent ones, and an
interval that does not know it is too narrow.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.measure.statistics import t_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Correlations of neighbouring rounds that are thought of. Those that do not resemble each other
# are taken to be likelier, each so many times: most machines are steady.
CORRELATIONS, INDEPENDENT_ODDS = np.linspace(-0.9, 0.98, 32), 2.5
# Distances of the true mean from that of the rounds that are thought of, in standard errors of
# independent rounds: near each other where the interval is narrow, up to some hundred.
DISTANCES = np.sinh(np.linspace(0, 7, 250))


def correlation_time(values: NDArray[np.float64]) -> float:
    """Runs that are worth one independent run, at least 1.

    The integrated autocorrelation time, its sum ended where noise begins: by the initial monotone
    sequence of Geyer ("Practical Markov chain Monte Carlo", 1992, section 3.3). A series that
    drifts has a long one.

    Args:
        values: (n,) in the order of time.
    """
    n = len(values)
    centred = values - values.mean()
    power = float(centred @ centred)
    # Equal values, whose mean may be rounded, are no series that rises and falls together.
    if n < 4 or np.ptp(values) == 0:
        return 1.0
    # Padded, so that the end of the series does not meet its beginning.
    size = 1 << (2 * n - 1).bit_length()
    spectrum = np.fft.rfft(centred, size)
    correlation = np.fft.irfft(np.abs(spectrum) ** 2, size)[:n] / power
    pairs = correlation[: n // 2 * 2].reshape(-1, 2).sum(axis=1)
    ends = np.flatnonzero(pairs <= 0)
    positive = pairs[: ends[0]] if len(ends) else pairs
    return max(1.0, 2 * float(np.minimum.accumulate(positive).sum()) - 1)


def ranks(values: NDArray[np.float64]) -> NDArray[np.float64]:
    """(n,) places 0 to n - 1 in the order of size, equal values sharing the middle of theirs.

    What a few huge values cannot distort.
    """
    _, kinds, counts = np.unique(values, return_inverse=True, return_counts=True)
    middles = np.cumsum(counts) - (counts + 1) / 2
    return np.asarray(middles[kinds], np.float64)


def effective_runs(values: NDArray[np.float64], q: float) -> float:
    """Independent runs that a series is worth for its percentile ``q``, 0 to 100.

    By whichever depends more: the runs as a whole, or which of them lie above the percentile, as
    where delays come in bursts.

    Args:
        values: (n,) in the order of time.
        q: percentile.
    """
    above = (values > np.percentile(values, q)).astype(np.float64)
    return len(values) / max(correlation_time(ranks(values)), correlation_time(above))


@dataclass(frozen=True)
class RoundsWorth:
    """What rounds say of their mean, of which each may resemble the one before it.

    Attributes:
        errors: standard errors of independent rounds on each side of a 95 % interval.
        effective: independent rounds that they are worth, likely.
    """

    errors: float
    effective: float


def rounds_worth(values: NDArray[np.float64]) -> RoundsWorth:
    """How wide the interval of a mean is where nobody knows how far rounds resemble each other.

    A few rounds tell little of that, and whoever takes the likeliest correlation for the true one
    makes intervals too narrow. So all correlations count, each as far as the rounds speak for it:
    the mean's posterior of a first-order autoregression (Zellner and Tiao, "Bayesian Analysis of
    the Regression Model with Autocorrelated Errors", 1964), its first value included, with a flat
    prior of the mean and of the scale's logarithm.

    Args:
        values: (rounds,) one figure each, in the order of time; four or more.
    """
    n = len(values)
    if np.ptp(values) == 0:
        return RoundsWorth(t_of(n - 1), n)
    x = (values - values.mean()) / values.std(ddof=1)
    rho = CORRELATIONS[:, None]
    steps = x[1:] - rho * x[:-1]
    # The sum of squares that is left over where the mean is ``distance`` away: a parabola.
    curvature = (1 - rho**2) + (n - 1) * (1 - rho) ** 2
    slope = (1 - rho**2) * x[0] + (1 - rho) * steps.sum(axis=1, keepdims=True)
    level = (1 - rho**2) * x[0] ** 2 + (steps**2).sum(axis=1, keepdims=True)
    distances = np.stack([DISTANCES, -DISTANCES])[:, None] / np.sqrt(n)
    left_over = level - 2 * slope * distances + curvature * distances**2
    logs = np.log(1 - rho**2) / 2 - n / 2 * np.log(left_over)
    prior = np.where(rho <= 0, INDEPENDENT_ODDS, 1.0)
    density = (prior * np.exp(logs - logs.max())).sum(axis=0)
    widths = np.diff(DISTANCES)
    masses = (density[:, 1:] + density[:, :-1]) / 2 * widths
    within = np.concatenate([[0.0], np.cumsum(masses.sum(axis=0))])
    errors = float(np.interp(0.95 * within[-1], within, DISTANCES))
    mean_rho = float(masses.sum(axis=1) @ CORRELATIONS / within[-1])
    return RoundsWorth(errors, n * (1 - mean_rho) / (1 + mean_rho))
