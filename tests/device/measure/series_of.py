"""Series of latencies whose truth is known."""

from __future__ import annotations

import numpy as np
from numpy.typing import NDArray
from scipy.signal import lfilter


def correlated(generator: np.random.Generator, n: int, rho: float) -> NDArray[np.float64]:
    """(n,) standard normal values of which each resembles the last (an AR(1) process)."""
    noise = generator.standard_normal(n + 200)
    values = lfilter([np.sqrt(1 - rho**2)], [1.0, -rho], noise)
    return np.asarray(values[200:])


def latencies(
    generator: np.random.Generator, n: int, rho: float = 0.3, spread: float = 0.03, ms: float = 5.0
) -> NDArray[np.float64]:
    """(n,) log-normal times whose median is ``ms``."""
    return np.asarray(ms * np.exp(spread * correlated(generator, n, rho)))
