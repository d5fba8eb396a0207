"""How many independent runs a series is worth."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import t

from edgeresnet.device.measure.dependence import (
    CORRELATIONS,
    INDEPENDENT_ODDS,
    correlation_time,
    effective_runs,
    ranks,
    rounds_worth,
)
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


def test_rounds_worth_is_hardly_wider_than_students_when_rounds_are_independent() -> None:
    generator = np.random.default_rng(4)
    found = [rounds_worth(generator.standard_normal(20)) for _ in range(400)]
    wider = np.array([one.errors for one in found]) / t.ppf(0.975, 19)
    # Of rounds that are known to be independent 1.
    assert np.median(wider) < 1.15
    assert np.mean(wider) < 1.29
    assert np.median([one.effective for one in found]) > 15


def test_rounds_worth_is_wider_and_fewer_the_more_rounds_resemble_each_other() -> None:
    generator = np.random.default_rng(5)
    found = [
        [rounds_worth(correlated(generator, 20, rho)) for _ in range(100)]
        for rho in (0.0, 0.4, 0.8)
    ]
    errors = [np.median([one.errors for one in some]) for some in found]
    effective = [np.median([one.effective for one in some]) for some in found]
    assert errors == sorted(errors)
    assert effective == sorted(effective, reverse=True)


def test_rounds_worth_holds_the_posterior_when_it_is_summed_point_by_point() -> None:
    """The same model by its covariance, on a grid of its own, with scipy's distribution."""
    x = correlated(np.random.default_rng(6), 20, 0.5)
    steps = np.abs(np.subtract.outer(np.arange(20), np.arange(20)))
    weights, chances = [], []
    error = rounds_worth(x).errors * x.std(ddof=1) / np.sqrt(20)
    for rho in CORRELATIONS:
        inverse = np.linalg.inv(rho**steps)
        scale = inverse.sum()
        mean = inverse.sum(axis=0) @ x / scale
        rest = (x - mean) @ inverse @ (x - mean)
        own = t(19, mean, np.sqrt(rest / 19 / scale))
        chances.append(own.cdf(x.mean() + error) - own.cdf(x.mean() - error))
        likelihood = np.sqrt(np.linalg.det(inverse)) * rest ** (-19 / 2) / np.sqrt(scale)
        weights.append(likelihood * (INDEPENDENT_ODDS if rho <= 0 else 1))
    assert np.average(chances, weights=weights) == pytest.approx(0.95, abs=1e-3)


def test_rounds_worth_is_students_when_rounds_are_equal() -> None:
    assert rounds_worth(np.full(20, np.log(3))).errors == pytest.approx(t.ppf(0.975, 19), rel=1e-3)
