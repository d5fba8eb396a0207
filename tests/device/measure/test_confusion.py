"""What is mistaken for what, and how sure answers are: against scikit-learn and scipy."""

from __future__ import annotations

import numpy as np
import pytest
from hypothesis import given, settings
from hypothesis import strategies as st
from scipy.special import softmax
from scipy.stats import entropy
from sklearn.metrics import balanced_accuracy_score, confusion_matrix, f1_score

from edgeresnet.device.measure import confusion as ours
from edgeresnet.device.measure.accuracy import Predictions, accuracy

Drawn = tuple[np.ndarray, np.ndarray]


@st.composite
def drawn(draw: st.DrawFn) -> Drawn:
    """Logits and labels; not each class need be shown or answered."""
    rng = np.random.default_rng(draw(st.integers(0, 2**32)))
    n, classes = draw(st.integers(1, 60)), draw(st.integers(2, 8))
    logits = rng.normal(0, draw(st.sampled_from([0.1, 1.0, 30.0])), (n, classes))
    return logits.astype(np.float32), rng.integers(0, draw(st.integers(1, classes)), n)


@given(drawn())
@settings(deadline=None, max_examples=50)
def test_matrix_and_averages_are_those_of_scikit_learn(case: Drawn) -> None:
    logits, labels = case
    classes = logits.shape[1]
    answers = Predictions(logits, labels, 0, 0).answers()
    matrix = ours.confusion_matrix(answers, labels, classes)
    expected = confusion_matrix(labels, answers, labels=range(classes))
    np.testing.assert_array_equal(matrix, expected)
    found = ours.averages(matrix)
    recall = expected.diagonal() / np.maximum(expected.sum(1), 1)
    assert found["balanced_accuracy"] == pytest.approx(recall[expected.sum(1) > 0].mean())
    # Of classes that no image shows, and of one class alone, scikit-learn warns.
    if set(answers) <= set(labels) and len(set(labels)) > 1:
        assert found["balanced_accuracy"] == pytest.approx(balanced_accuracy_score(labels, answers))
    assert found["macro_f1"] == pytest.approx(f1_score(labels, answers, average="macro"))


@given(drawn())
@settings(deadline=None, max_examples=50)
def test_calibration_error_is_that_of_its_definition(case: Drawn) -> None:
    logits, labels = case
    shares = softmax(logits.astype(np.float64), axis=1)
    np.testing.assert_allclose(ours.probabilities(logits), shares, rtol=1e-9, atol=1e-12)
    sure, right = shares.max(1), shares.argmax(1) == labels
    expected = 0.0
    for lower in range(15):
        inside = (sure > lower / 15) & (sure <= (lower + 1) / 15)
        if inside.any():
            difference = abs(right[inside].mean() - sure[inside].mean())
            expected += inside.mean() * difference
    found = ours.calibration_error(logits, labels)
    assert found == pytest.approx(expected, abs=1e-9)


def test_a_model_that_is_as_often_right_as_it_says_has_no_calibration_error() -> None:
    rng = np.random.default_rng(1)
    shares = rng.dirichlet([1.0] * 5, 200_000)
    labels = (shares.cumsum(1) > rng.random((200_000, 1))).argmax(1)
    assert ours.calibration_error(shares, labels, answers="probabilities") < 0.005
    overconfident = (4 * np.log(shares)).astype(np.float32)
    assert ours.calibration_error(overconfident, labels) > 0.1


@given(drawn())
@settings(deadline=None, max_examples=50)
def test_divergence_is_that_of_scipy(case: Drawn) -> None:
    logits, _ = case
    other = logits[:, ::-1]
    expected = entropy(softmax(logits.astype(float), 1), softmax(other.astype(float), 1), axis=1)
    found = ours.divergence(logits, other)
    assert found == pytest.approx(float(np.mean(expected)), rel=1e-6, abs=1e-9)
    assert ours.divergence(logits, logits) == 0


def test_probabilities_are_taken_as_they_are() -> None:
    given_shares = np.array([[0.7, 0.2, 0.1]], np.float32)
    found = ours.probabilities(given_shares, answers="probabilities")
    np.testing.assert_allclose(found, given_shares, rtol=1e-6)


def test_a_tie_with_the_label_is_told_as_the_mistake_that_top1_counts_it_as() -> None:
    logits = np.array([[1, 1, 0], [0, 2, 0]], np.float32)
    predictions = Predictions(logits, np.array([0, 1]), 0, 0)
    assert predictions.answers().tolist() == [1, 1]
    told = ours.in_classes(predictions, ("a", "b", "c"), "logits")
    assert told["confusion"] == {"a": {"b": 1}, "b": {"b": 1}}
    assert told["balanced_accuracy"] == accuracy(predictions).top1 == 0.5
