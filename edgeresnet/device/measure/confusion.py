"""Which classes are taken for which, and how much an answer's probability is worth."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.measure.accuracy import Predictions

BINS = 15
PART = 1024
# Divided by, and the logarithm of, in place of nothing.
TINY = np.finfo(np.float64).tiny


def probabilities(logits: NDArray[np.floating], *, answers: str = "logits") -> NDArray[np.float64]:
    """(n, classes) of each image, which add up to 1.

    Args:
        logits: (n, classes).
        answers: ``probabilities`` where the model gives these in the logits' place.
    """
    values = logits.astype(np.float64)
    already = answers == "probabilities"
    parts = values if already else np.exp(values - values.max(1, keepdims=True))
    shares: NDArray[np.float64] = parts / np.maximum(parts.sum(1, keepdims=True), TINY)
    return shares


def calibration_error(
    logits: NDArray[np.floating], labels: NDArray[np.int64], *, answers: str = "logits"
) -> float:
    """By how much the probability of an answer differs from how often it is right.

    The expected calibration error with 15 bins of equal width (Guo et al., "On Calibration of
    Modern Neural Networks", 2017): the mean difference, weighted by the images of a bin.

    Args:
        logits: (n, classes).
        labels: (n,).
        answers: as `probabilities` has it.

    Returns:
        In [0, 1].
    """
    difference = np.zeros(BINS)
    for part in _parts(len(labels)):
        shares = probabilities(logits[part], answers=answers)
        sure, right = shares.max(1), shares.argmax(1) == labels[part]
        # Bins are open below and closed above, so that 1 has no bin of its own.
        bins = np.clip(np.ceil(sure * BINS).astype(np.int64) - 1, 0, BINS - 1)
        difference += np.bincount(bins, weights=right - sure, minlength=BINS)
    return float(np.abs(difference).sum() / len(labels))


def divergence(
    baseline: NDArray[np.floating],
    candidate: NDArray[np.floating],
    *,
    answers: tuple[str, str] = ("logits", "logits"),
) -> float:
    """Mean Kullback-Leibler divergence of a candidate's probabilities from the baseline's, in nats.

    Args:
        baseline: (n, classes) logits.
        candidate: (n, classes), in the same order of images and classes.
        answers: of both, as `probabilities` has it.
    """
    total = 0.0
    for part in _parts(len(baseline)):
        expected = probabilities(baseline[part], answers=answers[0])
        found = probabilities(candidate[part], answers=answers[1])
        ratio = np.log(np.maximum(expected, TINY)) - np.log(np.maximum(found, TINY))
        total += float((expected * ratio).sum())
    # Rounding must not make two equal models better than equal.
    return max(0.0, total / len(baseline))


def _parts(n: int) -> Iterator[slice]:
    """All images, so few at once that a device's memory holds their probabilities."""
    return (slice(start, start + PART) for start in range(0, n, PART))


def confusion_matrix(
    answers: NDArray[np.int64], labels: NDArray[np.int64], classes: int
) -> NDArray[np.int64]:
    """(classes, classes) images of each class, by row, and what they were taken for, by column."""
    counts = np.bincount(labels * classes + answers, minlength=classes * classes)
    matrix: NDArray[np.int64] = counts.reshape(classes, classes)
    return matrix


def averages(matrix: NDArray[np.int64]) -> dict[str, float]:
    """Figures in which each class counts the same, however many images it has.

    Args:
        matrix: of `confusion_matrix`.

    Returns:
        ``balanced_accuracy``, the mean share right of the classes that images show, and
        ``macro_f1``, the mean F1 of those that images show or answers name.
    """
    right, own, answered = matrix.diagonal(), matrix.sum(1), matrix.sum(0)
    shown, named = own > 0, own + answered > 0
    return {
        "balanced_accuracy": float((right[shown] / own[shown]).mean()),
        "macro_f1": float((2 * right[named] / (own + answered)[named]).mean()),
    }


def confusion(matrix: NDArray[np.int64], classes: Sequence[str]) -> dict[str, dict[str, int]]:
    """For each class that images show what they were taken for, and how many of them.

    Args:
        matrix: of `confusion_matrix`.
        classes: their names.
    """
    return {
        name: {classes[int(place)]: int(row[place]) for place in np.flatnonzero(row)}
        for name, row in zip(classes, matrix, strict=True)
        if row.any()
    }


def in_classes(predictions: Predictions, classes: Sequence[str], answers: str) -> dict[str, Any]:
    """What `evaluate` tells beside top-1: the averages of classes, what is mistaken, and how sure.

    Args:
        predictions: on labelled images.
        classes: names of the outputs.
        answers: what the model gives: logits or probabilities; ``embeddings`` have no shares of
            classes that could be calibrated.

    Returns:
        ``balanced_accuracy``, ``macro_f1``, ``calibration_error`` and ``confusion``.
    """
    matrix = confusion_matrix(predictions.answers(), predictions.labels, len(classes))
    sure = None
    if answers != "embeddings":
        sure = calibration_error(predictions.logits, predictions.labels, answers=answers)
    return {
        **averages(matrix),
        "calibration_error": sure,
        "confusion": confusion(matrix, classes),
    }
