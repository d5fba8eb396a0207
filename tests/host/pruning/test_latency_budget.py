"""The search for a plan whose measured latency fits, on machines made of a formula."""

from __future__ import annotations

import numpy as np
import pytest

from edgeresnet.errors import InputError
from edgeresnet.host.pruning.latency_budget import MOST, fit_latency


def search(
    load: dict[str, float],
    *,
    exponent: float,
    noise: float = 0.0,
    stairs: int = 0,
    smallest: float = 0.02,
) -> tuple[float, float, int]:
    """Share found, its true load, and the number of measurements.

    The machine's latency is a fixed part plus the rest to a power of the cost, optionally in
    stairs, measured with noise.
    """
    generator = np.random.default_rng(0)

    def true(share: float) -> float:
        if stairs:
            share = np.ceil(share * stairs) / stairs
        return load["dense"] * (load["fixed"] + (1 - load["fixed"]) * share**exponent)

    def measured(share: float, plan: float) -> float:
        assert plan == share
        return true(share) * float(np.exp(noise * generator.standard_normal()))

    plan, share, trials = fit_latency(lambda share: share, measured, load["dense"], smallest)
    assert plan == share
    return share, true(share), len(trials)


@pytest.mark.parametrize("dense", [1.3, 2.0, 4.0])
@pytest.mark.parametrize("exponent", [0.6, 0.8, 1.0])
def test_fit_latency_uses_the_budget(dense: float, exponent: float) -> None:
    _, load, count = search({"dense": dense, "fixed": 0.05}, exponent=exponent)
    assert 0.85 <= load <= MOST
    assert count <= 10


@pytest.mark.parametrize("stairs", [12, 40])
def test_fit_latency_keeps_the_budget_when_latency_falls_in_stairs(stairs: int) -> None:
    _, load, _ = search({"dense": 2.0, "fixed": 0.0}, exponent=1.0, stairs=stairs)
    assert load <= MOST


def test_fit_latency_stands_noise() -> None:
    _, load, _ = search({"dense": 2.0, "fixed": 0.1}, exponent=0.8, noise=0.01)
    assert 0.85 <= load <= 1.0


def test_fit_latency_says_how_far_off_it_is_when_nothing_is_fast_enough() -> None:
    with pytest.raises(InputError, match="still takes 2"):
        search({"dense": 4.0, "fixed": 0.5}, exponent=1.0, smallest=0.05)
