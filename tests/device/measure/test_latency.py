"""The interval of the 99th percentile."""

from __future__ import annotations

import numpy as np
import pytest

from edgeresnet.device.measure.latency import Latency


def latency(samples: np.ndarray) -> Latency:
    return Latency(samples, 1, 0.0, 0, 0.0)


@pytest.mark.parametrize("n", [100, 257, 1000])
def test_p99_interval_equals_that_of_drawing_samples_when_there_are_enough_runs(n: int) -> None:
    samples = np.random.default_rng(3).lognormal(0, 0.3, n)
    drawn = np.random.default_rng(4).choice(samples, (4000, n))
    expected = np.percentile(np.percentile(drawn, 99, axis=1), (2.5, 97.5))
    found = latency(samples).p99_interval_ms()
    assert found is not None
    spread = expected[1] - expected[0]
    assert found == pytest.approx(expected, abs=0.1 * spread)
    assert found[0] <= np.percentile(samples, 99) <= found[1]
    assert latency(samples).to_dict()["p99_interval_ms"] == found


def test_p99_has_no_interval_when_there_are_too_few_runs() -> None:
    assert latency(np.ones(99)).p99_interval_ms() is None
