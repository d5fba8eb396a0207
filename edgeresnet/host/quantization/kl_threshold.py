"""The clip point by which a quantized distribution tells most of the original.

Source: Migacz, "8-bit Inference with TensorRT", GTC 2017 ("Entropy calibration"): of a histogram
the first n bins are merged into as many levels as the grid has; the n whose merged distribution
has the smallest Kullback-Leibler divergence from the clipped one is the threshold. Values that are
exactly 0, as half of those behind a ReLU, are on every grid and left out. Where the smallest
threshold that such a histogram can tell is the best one, which an outlier makes, it is made anew of
the values up to there.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.host.quantization.histogram import Histogram

BINS = 2048
STRIDE = 8
# A narrower one would hold less than these: the rest is not a tail any more.
LEAST_INSIDE = 0.5
SMALLEST_COUNT = 1e-4


def kl_threshold(histogram: Histogram, levels: int) -> float:
    """Magnitude of the smallest divergence.

    Args:
        histogram: of magnitudes; of a signed tensor both sides fall together, as its grid is
            symmetric.
        levels: integers of the grid from 0 up.
    """
    limit = histogram.maximum
    total = float(histogram.counts[1:].sum())
    while True:
        counts = histogram.linear(limit, BINS).numpy()
        beyond = max(0.0, total - float(counts.sum()))
        thresholds = range(levels, BINS + 1, STRIDE)
        divergences = [divergence(counts, n, levels, beyond) for n in thresholds]
        best = thresholds[int(np.argmin(divergences))]
        narrow = counts[:levels].sum() < LEAST_INSIDE * total
        if best > levels or narrow or total == 0:
            return limit * best / BINS
        # Somewhat more than the smallest, so that the best can lie on either side of it.
        limit *= 2 * levels / BINS


def divergence(counts: NDArray[np.float64], n: int, levels: int, beyond: float = 0.0) -> float:
    """KL divergence, in nats, of the first ``n`` bins merged into levels from them clipped.

    Args:
        counts: of a histogram.
        n: bins that stay; what lies above is clipped into the last of them.
        levels: of the grid.
        beyond: values above the histogram.

    Returns:
        0 or more. Where nothing was but what is clipped falls, the merged distribution has
        `SMALLEST_COUNT`: with nothing, no outlier could ever be clipped.
    """
    inside = counts[:n]
    clipped = inside.copy()
    clipped[-1] += counts[n:].sum() + beyond
    total = clipped.sum()
    level = np.arange(n) * levels // n
    filled = inside > 0
    merged = np.bincount(level, weights=inside, minlength=levels)
    shared = np.bincount(level, weights=filled, minlength=levels)
    expanded = np.where(filled, (merged / np.maximum(shared, 1))[level], 0.0)
    told = clipped > 0
    expanded = np.where(told & ~filled, SMALLEST_COUNT, expanded)
    p, q = clipped[told] / total, expanded[told] / expanded.sum()
    return float((p * np.log(p / q)).sum())
