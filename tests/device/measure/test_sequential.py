"""Looks at images, and the intervals by which they decide, against independent implementations."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.optimize import brentq, minimize_scalar
from scipy.stats import norm

from edgeresnet.device.measure.sequential import (
    ALPHA,
    Drop,
    Evidence,
    Share,
    WorstDrop,
    labels_present,
    looks,
    order,
)
from edgeresnet.device.measure.statistics import paired_bounds, paired_interval, wilson, z_of


def score(b: int, c: int, n: int, difference: float) -> float:
    """Tango's statistic, its nuisance share found by maximizing the likelihood itself."""

    def against(share: float) -> float:
        shares = share + difference, share, 1 - 2 * share - difference
        counts = b, c, n - b - c
        if min(shares) < 0:
            return np.inf
        return -sum(k * np.log(p) for k, p in zip(counts, shares, strict=True) if k and p > 0) + (
            np.inf if any(k and p <= 0 for k, p in zip(counts, shares, strict=True)) else 0
        )

    low, high = max(0.0, -difference), (1 - difference) / 2
    found = minimize_scalar(against, bounds=(low, high), method="bounded", options={"xatol": 1e-13})
    # The search leaves the ends out.
    share = min((low, high, float(found.x)), key=against)
    variance = n * (2 * share + difference * (1 - difference))
    return float((b - c - n * difference) / np.sqrt(variance))


@pytest.mark.parametrize(
    ("b", "c", "n", "alpha"),
    [(3, 1, 100, 0.05), (1, 0, 44, 0.05), (0, 7, 50, 0.01), (12, 9, 400, 0.0016),
     (25, 0, 2000, 0.04), (40, 60, 150, 0.05), (0, 0, 359, 0.05)],
)  # fmt: skip
def test_paired_interval_is_where_the_score_test_begins_to_reject(
    b: int, c: int, n: int, alpha: float
) -> None:
    z, value = norm.ppf(1 - alpha / 2), (b - c) / n
    found = paired_interval(b, c, n, z_of(alpha))
    high = brentq(lambda d: score(b, c, n, d) + z, value + 1e-9, 1 - 1e-9)
    low = brentq(lambda d: score(b, c, n, d) - z, -1 + 1e-9, value - 1e-9)
    assert (found.low, found.high) == pytest.approx((low, high), abs=2e-6)
    turned = paired_interval(c, b, n, z_of(alpha))
    assert (-turned.high, -turned.low) == pytest.approx((found.low, found.high), abs=1e-9)


def test_paired_interval_reaches_the_ends_when_all_or_no_images_are_there() -> None:
    assert paired_interval(44, 0, 44).high == 1.0
    nothing = paired_interval(0, 0, 0)
    assert (nothing.value, nothing.low, nothing.high) == (0.0, -1.0, 1.0)
    # Without disagreement the closed form is known.
    z2 = z_of(0.05) ** 2
    assert paired_interval(0, 0, 1000).high == pytest.approx(z2 / (1000 + z2), abs=1e-9)


def test_looks_spend_all_of_the_error_and_most_of_it_last() -> None:
    found = looks(10_000)
    assert [look.images for look in found] == [400, 894, 2000, 4472, 10_000]
    assert sum(look.alpha for look in found) == pytest.approx(ALPHA)
    spent = np.cumsum([look.alpha for look in found])
    assert spent == pytest.approx([ALPHA * (look.images / 10_000) ** 2 for look in found])
    for n in (1, 359, 893):
        assert [(look.images, look.alpha) for look in looks(n)] == [(n, ALPHA)]
    assert [look.images for look in looks(10_000, whole=True)] == [10_000]


def test_z_is_there_when_next_to_nothing_is_spent() -> None:
    for alpha in (0.05, 1e-6, 1e-17, 1e-200):
        assert z_of(alpha) == pytest.approx(norm.isf(alpha / 2), rel=1e-6)
    assert looks(10**11)[0].z > 8


def test_order_is_of_the_seed_alone() -> None:
    # As numpy documents PCG64: a change would draw other images on another machine.
    assert order(8, 0).tolist() == np.random.Generator(np.random.PCG64(0)).permutation(8).tolist()
    assert sorted(order(100, 1)) == list(range(100))
    assert order(100, 1).tolist() != order(100, 2).tolist()


def test_evidence_keeps_its_rates_on_more_images() -> None:
    drop = Drop(4, 2, 100)
    more: Evidence = drop.on(10_000)
    assert more.interval(0.05).value == pytest.approx(drop.interval(0.05).value)
    assert more.interval(0.05).high < drop.interval(0.05).high
    share = Share(3, 50).on(500).interval(0.05)
    assert (share.low, share.high) == pytest.approx(wilson(30, 500))


def test_worst_drop_is_corrected_where_one_class_is_enough_to_miss() -> None:
    classes = {f"c{i}": Drop(2 if i == 3 else 1, 1, 200) for i in range(10)}
    worst = WorstDrop(classes)
    found = worst.interval(0.05)
    assert (worst.worst, worst.n) == ("c3", 2000)
    assert found.value == pytest.approx(1 / 200)
    # Kept only if all classes are: the largest end of their own. Missed if one is: by Bonferroni.
    assert found.high == pytest.approx(classes["c3"].interval(0.05).high)
    assert found.low == pytest.approx(max(d.interval(0.005).low for d in classes.values()))
    assert worst.on(20_000).interval(0.05).high < found.high


def test_worst_drop_knows_nothing_of_a_class_that_was_not_seen() -> None:
    labels = np.array([0, 0, 2, 2])
    names = labels_present(labels, ["a", "b", "c"])
    assert names == {0: "a", 2: "c"}
    right = np.ones(2, bool)
    found = WorstDrop.of(right, right, labels[:2], names).interval(0.05)
    assert (found.value, found.low < 0, found.high) == (0.0, True, 1.0)


def test_worst_drop_covers_the_worst_class_when_drawn_often() -> None:
    generator, runs, true = np.random.default_rng(0), 1000, 0.015
    # One class loses 0.02 and gains 0.005 of 1,000 images; nine others lose half of it.
    lost = np.stack([generator.binomial(1000, p, runs) for p in [0.02] + [0.01] * 9])
    gained = generator.binomial(1000, 0.005, (10, runs))
    _, high = paired_bounds(lost, gained, 1000, z_of(0.05))
    low, _ = paired_bounds(lost, gained, 1000, z_of(0.05 / 10))
    assert ((low.max(0) > true) | (high.max(0) < true)).mean() <= 0.05
