"""Observers: against brute force, scipy and numpy; streaming, and the same in any order."""

from __future__ import annotations

import itertools
import math
from typing import Any, get_args

import numpy as np
import pytest
import torch
from scipy.stats import entropy
from torch import Tensor
from torch.utils._python_dispatch import TorchDispatchMode

from edgeresnet.host.quantization import observers as module
from edgeresnet.host.quantization.histogram import SAMPLE_ELEMENTS, Histogram, largest_magnitude
from edgeresnet.host.quantization.kl_threshold import BINS, STRIDE, divergence, kl_threshold
from edgeresnet.host.quantization.observers import make_observer, weight_scales
from edgeresnet.settings.quantization import ObserverName

HIGH = 127
NAMES = get_args(ObserverName)


def normal(seed: int = 0, n: int = 20_000) -> Tensor:
    return torch.randn(n, generator=torch.Generator().manual_seed(seed))


def observed(name: ObserverName, values: Tensor, parts: int = 8) -> float:
    observer = make_observer(name)
    for part in values.tensor_split(parts):
        observer.update(part)
    return observer.scale(HIGH)


def error(values: Tensor, step: float) -> float:
    x = values.double()
    return float(((x / step).round().clamp(-HIGH - 1, HIGH) * step - x).square().mean())


@pytest.mark.parametrize("factor", [1, 10, 1000])
@pytest.mark.parametrize("tail", ["normal", "laplace", "relu"])
def test_mse_observer_finds_what_brute_force_finds_when_there_is_an_outlier(
    tail: str, factor: int
) -> None:
    values = normal()
    if tail == "laplace":
        values = values * values.abs()
    if tail == "relu":
        values = values.relu()
    # One value that is so seldom that clipping it is right, whatever its size.
    weights = torch.ones(len(values), dtype=torch.float64)
    largest = float(values.abs().max())
    observer = module.MseObserver()
    observer.update(values)
    observer.histogram.counts *= 10**7
    observer.update(torch.tensor([largest * factor]))
    found = observer.scale(HIGH)

    def total(step: float) -> float:
        clip = max(0.0, largest * factor - HIGH * step)
        return error(values, step) * len(weights) * 10**7 + clip**2

    tried = [total(float(clip) / HIGH) for clip in np.geomspace(0.2, largest * factor, 120)]
    assert total(found) <= min(tried) * 1.03
    if factor == 1000:
        assert found < 0.02 * largest * factor / HIGH


def test_mse_observer_is_told_by_constants_and_by_nothing() -> None:
    assert observed("mse", torch.full((64,), 3.0)) == pytest.approx(3.0 / HIGH, rel=0.01)
    for name in NAMES:
        assert observed(name, torch.zeros(64)) == pytest.approx(1e-6 / HIGH)


def kl_by_scipy(counts: np.ndarray, n: int, levels: int, beyond: float) -> float:
    """Migacz's pseudo-code, written out with loops."""
    p = counts[:n].copy()
    p[-1] += counts[n:].sum() + beyond
    q = np.zeros(n)
    for level in range(levels):
        where = [i for i in range(n) if i * levels // n == level and counts[i] > 0]
        for i in where:
            q[i] = counts[where].sum() / len(where)
    q[(p > 0) & (q == 0)] = 1e-4
    return float(entropy(p, q))


@pytest.mark.parametrize("n", [128, 136, 512, 1000, 2048])
def test_divergence_equals_scipys(n: int) -> None:
    counts, _ = np.histogram(normal().abs().numpy(), BINS)
    counts = counts.astype(float)
    found, wanted = divergence(counts, n, 128, 3.0), kl_by_scipy(counts, n, 128, 3.0)
    assert found == pytest.approx(wanted, rel=1e-9)


@pytest.mark.parametrize("shape", ["signed", "unsigned"])
@pytest.mark.parametrize("power", [1, 2])
def test_entropy_threshold_equals_brute_force_on_the_values_themselves(
    shape: str, power: int
) -> None:
    values = normal(n=200_000)
    values = values * values.abs() ** (power - 1)
    values = values.relu() if shape == "unsigned" else values
    magnitudes = values.abs().numpy()
    counts, edges = np.histogram(magnitudes[magnitudes > 0], BINS, (0, magnitudes.max()))
    divergences = {n: kl_by_fast(counts, n) for n in range(128, BINS + 1, STRIDE)}
    histogram = Histogram()
    histogram.update(values)
    found = int(np.searchsorted(edges, kl_threshold(histogram, 128)))
    # The threshold itself goes by where the last few values of the tail happen to lie.
    nearest = min(divergences, key=lambda n: abs(n - found))
    least, most = min(divergences.values()), max(divergences.values())
    assert divergences[nearest] - least <= 0.02 * (most - least)


def kl_by_fast(counts: np.ndarray, n: int) -> float:
    p = counts[:n].astype(float)
    level = np.arange(n) * 128 // n
    filled = p > 0
    sums, shares = np.bincount(level, p), np.maximum(np.bincount(level, filled), 1)
    q = np.where(filled, (sums / shares)[level], 0)
    p[-1] += counts[n:].sum()
    q[(p > 0) & (q == 0)] = 1e-4
    return float(entropy(p, q))


def test_entropy_threshold_is_the_same_when_one_value_is_a_thousand_times_the_largest() -> None:
    values = normal()
    alone = observed("entropy", values)
    outlier = torch.cat([values, values.abs().max()[None] * 1000])
    assert observed("entropy", outlier) == pytest.approx(alone, rel=0.1)
    assert observed("minmax", outlier) == pytest.approx(float(outlier.max()) / HIGH)


@pytest.mark.parametrize("name", [n for n in NAMES if n != "ema"])
def test_an_observer_says_the_same_whatever_the_order_and_the_batches(name: ObserverName) -> None:
    values = normal(n=40_000)
    shuffled = values[torch.randperm(len(values), generator=torch.Generator().manual_seed(1))]
    assert observed(name, values, 1) == observed(name, shuffled, 7) == observed(name, -values, 3)


@pytest.mark.parametrize("name", NAMES)
def test_an_observer_keeps_no_values(name: ObserverName) -> None:
    def kept(observer: object) -> int:
        return sum(
            value.numel() if isinstance(value, Tensor) else kept(value)
            for value in vars(observer).values()
            if isinstance(value, Tensor | Histogram)
        )

    observer = make_observer(name)
    observer.update(normal(n=100))
    few = kept(observer)
    for _ in range(4):
        observer.update(normal(n=100_000))
    assert kept(observer) == few < 40_000


def test_percentile_counts_zeros_too() -> None:
    values = torch.cat([torch.zeros(9_900), torch.linspace(1, 2, 100)])
    assert observed("percentile", values) == pytest.approx(1.99 / HIGH, rel=0.01)


def test_weight_scales_find_what_brute_force_finds_when_a_weight_is_an_outlier() -> None:
    rows = normal(n=6 * 1152).reshape(6, 1152)
    for row, factor in zip(rows, (1, 2, 4, 8, 20, 100), strict=True):
        row[0] = row.abs().max() * factor
    scales = weight_scales(rows, "mse", 7)
    for row, scale in zip(rows, scales.tolist(), strict=True):
        steps = np.geomspace(0.1, 1, 300) * float(row.abs().max()) / 7

        def cost(step: float, row: Tensor = row) -> float:
            return float(((row / step).round().clamp(-7, 7) * step - row).square().sum())

        assert cost(scale) <= 1.02 * min(map(cost, steps))


def test_every_observer_of_the_settings_is_made() -> None:
    assert tuple(module.OBSERVERS) == NAMES
    assert len(set(itertools.chain(map(type, map(make_observer, NAMES))))) == len(NAMES)


class LargestMade(TorchDispatchMode):
    """Elements of the largest tensor that was made while this is entered; views are none."""

    def __init__(self, given: Tensor) -> None:
        super().__init__()
        self.given, self.elements = given.untyped_storage().data_ptr(), 0

    def __torch_dispatch__(self, func: Any, types: Any, args: Any = (), kwargs: Any = None) -> Any:
        made = func(*args, **(kwargs or {}))
        for tensor in made if isinstance(made, tuple) else (made,):
            if isinstance(tensor, Tensor) and tensor.untyped_storage().data_ptr() != self.given:
                self.elements = max(self.elements, tensor.numel())
        return made


@pytest.mark.parametrize("name", NAMES)
def test_an_observer_makes_no_copy_of_a_large_tensor(name: ObserverName) -> None:
    values = normal(n=4 * SAMPLE_ELEMENTS).reshape(8, -1, 4, 4)
    observer = make_observer(name)
    with LargestMade(values) as made:
        observer.update(values)
    assert 0 < made.elements <= SAMPLE_ELEMENTS


@pytest.mark.parametrize(
    "values", [[0.5, -2.0, 1.0], [0.5, 2.0, -1.0], [-0.0], [1.0, -math.inf], [1.0, math.nan]]
)
def test_largest_magnitude_is_that_of_all_absolute_values(values: list[float]) -> None:
    x = torch.tensor(values)
    assert largest_magnitude(x) == pytest.approx(x.abs().amax().item(), rel=0, nan_ok=True)
    assert max(0.0, largest_magnitude(x)) == max(0.0, x.abs().amax().item())
