"""A figure with its confidence interval; score intervals of shares and of paired shares.

Half of an interval is given in standard errors, ``z``: 1.96 of a single one of 95 %, more where
several are to hold together (`z_of`). Numpy alone: a device has no scipy.
"""

from __future__ import annotations

from dataclasses import dataclass
from statistics import NormalDist
from typing import TYPE_CHECKING

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import ArrayLike, NDArray

Z95 = 1.959963984540054
# Halvings of [-1, 1] in the search for a bound: to 10 digits.
HALVINGS = 36


@dataclass(frozen=True)
class Interval:
    """``value`` lies, with 95 % confidence, between ``low`` and ``high``."""

    value: float
    low: float
    high: float

    def to_dict(self) -> dict[str, float]:
        """Plain values, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def z_of(alpha: float) -> float:
    """Standard errors on each side of an interval that errs with probability ``alpha``."""
    # Not of 1 - alpha / 2, which rounds to 1 where a look among millions of images spends little.
    return -NormalDist().inv_cdf(alpha / 2)


def alpha_of(z: float) -> float:
    """The inverse of `z_of`."""
    return 2 * NormalDist().cdf(-z)


def t_of(freedom: float, z: float = Z95) -> float:
    """Standard errors on each side where the error itself is estimated: Student's quantile.

    By the expansion of Abramowitz and Stegun (1964), 26.7.5: to a part in 800 from 5 degrees of
    freedom on.

    Args:
        freedom: degrees of freedom, 5 or more; they may be broken.
        z: the same quantile of the normal distribution.
    """
    terms = (
        (z**3 + z) / 4,
        (5 * z**5 + 16 * z**3 + 3 * z) / 96,
        (3 * z**7 + 19 * z**5 + 17 * z**3 - 15 * z) / 384,
    )
    return z + sum(term / freedom**power for power, term in enumerate(terms, start=1))


def wilson(hits: float, n: float, z: float = Z95) -> tuple[float, float]:
    """Score interval of a proportion (Wilson, 1927); of 95 % unless ``z`` is another."""
    share, z2 = hits / n, z**2
    centre = (share + z2 / (2 * n)) / (1 + z2 / n)
    half = z / (1 + z2 / n) * np.sqrt(share * (1 - share) / n + z2 / (4 * n * n))
    # Rounding must not leave the share itself outside.
    return min(share, max(0.0, float(centre - half))), max(share, min(1.0, float(centre + half)))


def paired_bounds(
    first: ArrayLike, second: ArrayLike, n: ArrayLike, z: ArrayLike
) -> tuple[NDArray[np.float64], NDArray[np.float64]]:
    """Score interval of the difference of two shares of the same images (Tango, 1998).

    All differences that a score test at ``z`` does not reject; unlike an interval about the
    observed standard error it stays wide where there is (nearly) no disagreement.

    Args:
        first: images of the first kind of disagreement; fractions too, as of expected counts.
        second: of the other kind.
        n: all images; where it is 0, nothing is known.
        z: half of the interval in standard errors. All four are broadcast.

    Returns:
        (low, high) of (first - second) / n, as the arguments are broadcast.
    """
    arrays = np.broadcast_arrays(*(np.asarray(x, np.float64) for x in (first, second, n, z)))
    b, c, images, width = arrays
    turned, high = _paired_high(
        np.stack([c, b]), np.stack([b, c]), np.stack([images] * 2), np.stack([width] * 2)
    )
    return -turned, high


def _paired_high(
    b: NDArray[np.float64], c: NDArray[np.float64], n: NDArray[np.float64], z: NDArray[np.float64]
) -> NDArray[np.float64]:
    """The largest difference that is not rejected, by halving; 1 where there are no images."""
    low, high = (b - c) / np.maximum(n, 1), np.ones_like(n)
    for _ in range(HALVINGS):
        middle = (low + high) / 2
        # The likeliest share of the second kind where the difference is ``middle``.
        linear = (2 * n - b + c) * middle - b - c
        constant = c * middle * (1 - middle)
        root = np.sqrt(np.maximum(linear**2 + 8 * n * constant, 0))
        # Of two forms of the root of a quadratic the one that does not cancel.
        safe = np.where(linear > 0, linear + root, 1)
        share = np.where(linear > 0, 2 * constant / safe, (root - linear) / np.maximum(4 * n, 1))
        variance = n * (2 * share + middle * (1 - middle))
        kept = (b - c - n * middle) ** 2 <= z**2 * variance
        low, high = np.where(kept, middle, low), np.where(kept, high, middle)
    # The safe side of the bound; the very end where nothing was rejected.
    return high


def paired_interval(first: float, second: float, n: float, z: float = Z95) -> Interval:
    """(first - second) / n with `paired_bounds`; of 95 % unless ``z`` is another."""
    low, high = paired_bounds(first, second, n, z)
    value = (first - second) / n if n else 0.0
    return Interval(value, min(value, float(low)), max(value, float(high)))
