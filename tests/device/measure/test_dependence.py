"""How many independent runs a series is worth."""

from __future__ import annotations

import numpy as np
import pytest

from edgeresnet.device.measure.dependence import correlation_time, effective_runs, ranks
from tests.device.measure.series_of import correlated


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_correlation_time_is_that_of_the_process_when_it_is_long(rho: float) -> None:
    found = correlation_time(correlated(np.random.default_rng(0), 20_000, rho))
    assert found == pytest.approx((1 + rho) / (1 - rho), rel=0.2)


def test_correlation_time_is_one_when_runs_alternate_or_are_equal() -> None:
    assert correlation_time(np.tile([1.0, 2.0], 50)) == 1.0
    assert correlation_time(np.ones(100)) == 1.0
    assert correlation_time(np.ones(1)) == 1.0
    # Their mean is rounded, and so would be what is left of them.
    assert correlation_time(np.full(20, np.log(3))) == 1.0
    # A clock of few ticks: equal times in a row are no order.
    ticks = np.random.default_rng(0).integers(1, 3, 1000).astype(float)
    assert effective_runs(ticks, 50) > 700


def test_effective_runs_are_few_when_delays_come_in_bursts() -> None:
    samples = np.random.default_rng(1).lognormal(0, 0.01, 2000)
    alone, bursts = samples.copy(), samples.copy()
    alone[::50] *= 3
    bursts[400:440] *= 3
    # The same 40 delays; the other runs are independent in both.
    assert effective_runs(alone, 98.5) > 1000
    assert effective_runs(bursts, 98.5) < 100


def test_ranks_are_places_in_the_order_of_size() -> None:
    assert ranks(np.array([3.0, 1e9, 2.0])).tolist() == [1, 2, 0]
    assert ranks(np.array([5.0, 2.0, 5.0, 2.0, 5.0])).tolist() == [3, 0.5, 3, 0.5, 3]
