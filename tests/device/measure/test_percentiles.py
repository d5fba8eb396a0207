"""Percentiles and their intervals, held against scipy and against simulated series."""

from __future__ import annotations

from statistics import NormalDist

import numpy as np
import pytest
from hypothesis import given
from hypothesis import strategies as st
from scipy.stats import binom

from edgeresnet.device.measure.latency import Latency
from edgeresnet.device.measure.percentiles import (
    EXACT,
    TAIL,
    _ranks,
    least_independent,
    percentile,
    runs_needed,
)
from tests.device.measure.series_of import latencies

SERIES = 150
HELD = 0.93


@given(n=st.integers(2, 3000), share=st.sampled_from([0.5, 0.9, 0.95, 0.99]))
def test_ranks_equal_those_of_the_binomial_distribution(n: int, share: float) -> None:
    low, high = binom.ppf(TAIL, n, share), binom.ppf(1 - TAIL, n, share) + 1
    if binom.cdf(low, n, share) == TAIL:
        low += 1
    found = _ranks(n, share)
    assert found == (None if low < 1 or high > n else (low, high))


def test_ranks_of_many_runs_are_near_those_of_the_binomial_distribution() -> None:
    n = EXACT + 1
    found = _ranks(n, 0.99)
    assert found is not None
    assert found == pytest.approx(
        (binom.ppf(TAIL, n, 0.99), binom.ppf(1 - TAIL, n, 0.99) + 1), abs=2
    )


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
@pytest.mark.parametrize(("q", "n"), [(50, 60), (50, 500), (90, 500), (95, 1000), (99, 2000)])
def test_intervals_hold_the_percentile_when_runs_depend_on_each_other(
    q: int, n: int, rho: float
) -> None:
    generator = np.random.default_rng([q, n, int(10 * rho)])
    truth = 5.0 * np.exp(0.1 * NormalDist().inv_cdf(q / 100))
    found = [percentile(latencies(generator, n, rho, 0.1), q).interval_ms for _ in range(SERIES)]
    told = [one for one in found if one is not None]
    # Where the runs are worth too few, most series have none: nothing is left to count.
    if len(told) < 50:
        assert n / (1 + rho) * (1 - rho) < 1.2 * least_independent(q)
        return
    held = np.mean([low <= truth <= high for low, high in told])
    # Three standard errors of so many series.
    assert held >= HELD - 3 * np.sqrt(HELD * (1 - HELD) / len(told))


def test_a_percentile_has_no_interval_when_no_run_lies_surely_beyond_it() -> None:
    samples = np.random.default_rng(0).permutation(np.linspace(1, 2, 2000))
    assert percentile(samples[:300], 99).interval_ms is None
    assert percentile(samples[:300], 95).interval_ms is not None
    assert [least_independent(q) for q in (50, 90, 95, 99)] == [6, 36, 72, 368]


def test_the_figures_say_which_percentiles_have_no_interval_and_what_would_give_one() -> None:
    samples = latencies(np.random.default_rng(0), 200)
    row = Latency(samples, 1, 5, None).to_dict()
    assert row["p50_interval_ms"][0] <= row["p50_ms"] <= row["p50_interval_ms"][1]
    assert row["p99_interval_ms"] is None
    assert row["interval_note"].startswith("no 95 % interval of p99: 200 runs are worth ")
    assert "p99 takes 368; about " in row["interval_note"]
    assert row["samples_ms"] == pytest.approx(samples.tolist(), abs=1e-5)
    many = Latency(latencies(np.random.default_rng(0), 4000), 1, 5, None).to_dict()
    assert many["interval_note"] is None


def test_runs_needed_decide_when_so_many_are_drawn_from_the_same_distribution() -> None:
    generator = np.random.default_rng(5)
    samples = generator.lognormal(0, 0.1, 300)
    limit = float(np.percentile(samples, 99.7))
    needed = runs_needed(samples, 99, limit)
    assert needed is not None
    assert needed > 368
    interval = percentile(generator.choice(samples, 2 * needed), 99).interval_ms
    assert interval is not None
    assert interval[1] <= limit
    # Half of the runs that would do do not: their interval holds the limit, or they have none.
    few = percentile(generator.choice(samples, needed // 2), 99).interval_ms
    assert few is None or few[0] <= limit <= few[1]


def test_no_number_of_runs_decides_when_the_limit_is_the_percentile() -> None:
    samples = np.random.default_rng(0).permutation(np.arange(1.0, 101.0))
    assert runs_needed(samples, 99, 99.0) is None
    assert runs_needed(samples, 99, 500.0) == pytest.approx(368, rel=0.5)
