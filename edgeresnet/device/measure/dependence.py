"""How many independent runs a series of runs is worth, each of which resembles the one before it.

A hundred runs of which each is near the last say less than a hundred independent ones, and an
interval that does not know it is too narrow.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray


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
