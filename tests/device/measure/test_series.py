"""What a series of runs is called: planted ones, each by its name."""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeresnet.device.measure.series import LEAST_RUNS, judge_series
from tests.device.measure.series_of import latencies

Generator = np.random.Generator
Shape = Callable[[Generator, int], NDArray[np.float64]]
SERIES = 40


def step(generator: Generator, n: int) -> NDArray[np.float64]:
    return np.where(np.arange(n) < 0.55 * n, 1.0, 1.15)


def slope(generator: Generator, n: int) -> NDArray[np.float64]:
    return np.linspace(1, 1.2, n)


def two_kinds(generator: Generator, n: int) -> NDArray[np.float64]:
    return np.where(generator.random(n) < 0.3, 1.3, 1.0)


def two_kinds_in_turns(generator: Generator, n: int) -> NDArray[np.float64]:
    return np.where(np.arange(n) // 7 % 2 == 0, 1.3, 1.0)


def spikes(generator: Generator, n: int) -> NDArray[np.float64]:
    factor = np.ones(n)
    factor[generator.choice(n, n // 40, replace=False)] = 5
    return factor


def steady(generator: Generator, n: int) -> NDArray[np.float64]:
    return np.ones(n)


@pytest.mark.parametrize("n", [200, 1000])
@pytest.mark.parametrize(
    ("shape", "word"),
    [(steady, "steady"), (step, "drift"), (slope, "drift"), (two_kinds, "bimodal"),
     (two_kinds_in_turns, "bimodal"), (spikes, "spikes")],
)  # fmt: skip
def test_judge_series_names_what_was_planted(shape: Shape, word: str, n: int) -> None:
    generator = np.random.default_rng(n)
    names = [
        judge_series(latencies(generator, n) * shape(generator, n)).word for _ in range(SERIES)
    ]
    assert names.count(word) >= 0.95 * SERIES  # type: ignore[arg-type]


@pytest.mark.parametrize("rho", [0.0, 0.5, 0.8])
def test_judge_series_seldom_cries_when_steady_runs_depend_on_each_other(rho: float) -> None:
    generator = np.random.default_rng(int(10 * rho))
    names = [judge_series(latencies(generator, 500, rho, 0.1)).word for _ in range(100)]
    assert names.count("steady") >= 95


def test_judge_series_says_where_it_becomes_steady_when_the_first_runs_are_slow() -> None:
    samples = latencies(np.random.default_rng(0), 600)
    samples[:60] *= 2
    found = judge_series(samples)
    assert found.word == "drift"
    assert found.steady_from_run == pytest.approx(60, abs=3)
    assert found.cause is not None
    assert "take 2.0" in found.cause
    late = judge_series(samples[::-1])
    assert (late.word, late.steady_from_run) == ("drift", None)


def test_judge_series_is_no_judge_when_runs_are_few() -> None:
    found = judge_series(np.linspace(1, 2, LEAST_RUNS - 1))
    assert (found.word, found.steady_from_run) == ("unjudged", None)


def test_outliers_are_counted_and_nothing_is_removed() -> None:
    samples = latencies(np.random.default_rng(0), 500)
    samples[[100, 200, 300]] = 50.0
    kept = samples.copy()
    found = judge_series(samples)
    assert (found.word, found.outliers, found.largest_ms) == ("spikes", 3, 50.0)
    assert found.cause is not None
    assert "3 of 500 runs lie far above the others, the slowest at 10.0 times" in found.cause
    assert (samples == kept).all()


def test_a_change_that_is_sure_and_small_is_no_matter() -> None:
    samples = latencies(np.random.default_rng(0), 1000, spread=0.001)
    assert judge_series(samples * step(np.random.default_rng(0), 1000)).word == "drift"
    samples[500:] *= 1.03
    assert judge_series(samples).word == "steady"
