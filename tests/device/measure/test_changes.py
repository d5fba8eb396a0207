"""What changed between two models: exact tests against scipy and statsmodels, and in words."""

from __future__ import annotations

import gc
from unittest.mock import patch

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.stats import binomtest
from statsmodels.stats.multitest import multipletests

from edgeresnet.device.measure.changes import (
    change_of,
    changed_classes,
    holm,
    mcnemar,
    smallest_drop,
    worst_change,
)
from edgeresnet.device.measure.statistics import Z95, paired_interval, z_of

counts = st.integers(0, 400)


@given(lost=counts, gained=counts)
@settings(deadline=None, max_examples=50)
def test_mcnemar_is_the_exact_binomial_test(lost: int, gained: int) -> None:
    n = lost + gained
    expected = binomtest(lost, n, 0.5).pvalue if n else 1.0
    assert mcnemar(lost, gained) == pytest.approx(expected, rel=1e-9, abs=1e-300)


def test_mcnemar_of_a_million_disagreements_is_finite_and_small() -> None:
    assert mcnemar(500_000, 500_000) == pytest.approx(1.0)
    assert 0 <= mcnemar(400_000, 600_000) < 1e-100


@given(st.lists(st.floats(0, 1), min_size=1, max_size=30))
@settings(deadline=None, max_examples=50)
def test_holm_is_that_of_statsmodels(p: list[float]) -> None:
    # It collects garbage first, a second's work in a process of this size.
    with patch.object(gc, "collect"):
        expected = multipletests(p, method="holm")[1]
    np.testing.assert_allclose(holm(p), expected, rtol=1e-12, atol=1e-15)


@given(lost=st.integers(0, 60), gained=st.integers(0, 60), n=st.integers(120, 3000))
@settings(deadline=None, max_examples=50)
def test_the_smallest_drop_is_shown_and_one_image_less_is_not(
    lost: int, gained: int, n: int
) -> None:
    least = smallest_drop(lost, gained, n, Z95)
    assert least is not None
    net = round(least * n)

    def shown(net: int) -> bool:
        away = max(0.0, (lost + gained - net) / 2)
        return paired_interval(away, away + net, n).high < 0

    assert shown(net)
    assert net == 1 or not shown(net - 1)


def test_the_smallest_drop_is_smaller_with_more_images_and_less_disagreement() -> None:
    of_few, of_many = (smallest_drop(n // 50, n // 50, n, Z95) for n in (1000, 10_000))
    agreeing = smallest_drop(10, 10, 1000, Z95)
    assert of_few is not None
    assert of_many is not None
    assert agreeing is not None
    assert of_many < of_few / 2
    assert agreeing < of_few


def test_three_images_show_no_drop_whatever_happens_under_a_strict_look() -> None:
    assert smallest_drop(0, 0, 3, z_of(1e-6)) is None
    right = np.array([True, True, False])
    assert change_of(right, right, z_of(1e-6))["change_text"] == (
        "no drop shown, and 3 images would have shown none"
    )


def answers(lost: int, gained: int, n: int) -> tuple[np.ndarray, np.ndarray]:
    before, after = np.ones(n, bool), np.ones(n, bool)
    before[:gained] = False
    after[gained : gained + lost] = False
    return before, after


@pytest.mark.parametrize(
    ("lost", "gained", "text"),
    [
        (10, 8, "no drop shown; with 10,000 images one of 0.09 points would have been"),
        (120, 20, "points of top-1 are lost (120 images lost, 20 gained of 10,000)"),
        (20, 120, "points of top-1 are gained (120 images gained, 20 lost of 10,000)"),
    ],
)
def test_a_change_is_told_in_a_sentence(lost: int, gained: int, text: str) -> None:
    before, after = answers(lost, gained, 10_000)
    change = change_of(before, after, Z95)
    assert change["change_text"].endswith(text)
    assert (change["lost"], change["gained"]) == (lost, gained)
    shown = "no drop" not in text
    assert (change["mcnemar_p"] < 0.05) is shown


def test_an_early_look_needs_a_smaller_p() -> None:
    before, after = answers(30, 12, 2000)
    alone, early = (change_of(before, after, z)["mcnemar_p"] for z in (Z95, z_of(0.005)))
    assert early == pytest.approx(min(1.0, 10 * alone), rel=1e-6)


def test_only_classes_that_changed_by_more_than_luck_are_told() -> None:
    rng = np.random.default_rng(0)
    labels = np.repeat(np.arange(20), 200)
    before = rng.random(4000) < 0.9
    after = before.copy()
    # Luck elsewhere, and one class that really lost.
    flipped = rng.random(4000) < 0.03
    after[flipped] = ~after[flipped]
    after[labels == 7] &= rng.random(200) < 0.8
    names = {i: f"class {i}" for i in range(20)}
    (found,) = changed_classes(before, after, labels, names)
    assert found["class"] == "class 7"
    assert found["images"] == 200
    assert found["lost"] > 20
    assert found["p"] < 0.05


def test_the_verdict_tells_of_the_candidate_that_lost_most() -> None:
    rows = [
        {"name": "float", "change_text": None},
        {"name": "a", "change_text": "no drop shown", "top1_difference": {"value": 0.0}},
        {"name": "b", "change_text": "much is lost", "top1_difference": {"value": -0.1}},
    ]
    assert worst_change(rows) == "b: much is lost."
    assert worst_change(rows[:1]) == ""
