"""Answers that give themselves away: the same to every image, or to all one class."""

from __future__ import annotations

import math
from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.measure.accuracy import chance_line

if TYPE_CHECKING:
    from numpy.typing import NDArray

# By what share of their size logits must differ between images; float32 has 7 digits.
SAME = 1e-6
# Nearly all: of the answers in one class, and of other answers beside other labels.
NEARLY_ALL, FEW = 0.95, 0.2
# How unlikely so many answers of one class must be for a model that answers as the labels are.
UNLIKELY = 1e-3


def answer_doubts(
    logits: NDArray[np.float32],
    labels: NDArray[np.int64] | None,
    classes: Sequence[str],
    *,
    by_name: bool,
) -> list[str]:
    """What there is to say against a model's answers, a line each; none where they may be right.

    Args:
        logits: (n, classes), finite.
        labels: (n,); None: the images have none.
        classes: their names.
        by_name: whether names say which class is which output.
    """
    doubts = collapse_doubts(logits, labels, classes)
    if labels is None:
        return doubts
    chance = chance_line(logits.argmax(1), labels, logits.shape[1], by_name=by_name)
    return [*doubts, *([chance] if chance else [])]


def collapse_doubts(
    logits: NDArray[np.float32], labels: NDArray[np.int64] | None, classes: Sequence[str]
) -> list[str]:
    """Says that all images get one answer; as `answer_doubts`, without what guessing would give."""
    if line := constant_line(logits):
        return [line]
    one = None if labels is None else one_class_line(logits.argmax(1), labels, classes)
    return [one] if one else []


def constant_line(logits: NDArray[np.float32]) -> str | None:
    """Says that every image gets the same logits, (n, classes); None: they differ, or n is 1."""
    largest = float(np.abs(logits).max())
    if len(logits) < 2 or float(np.ptp(logits, axis=0).max()) > SAME * largest:
        return None
    return (
        f"all {len(logits)} images get the same logits: the answers do not depend on the image; "
        "look at the weights (all zero, or not loaded), then at the calibration"
    )


def one_class_line(
    answers: NDArray[np.int64], labels: NDArray[np.int64], classes: Sequence[str]
) -> str | None:
    """Says that (nearly) all answers are one class where the labels are several; None: they vary.

    Few images are no reason: that many answers of one class must be unlikely, by the bound of
    Chernoff (1952), for a model whose answers are distributed as the labels are.

    Args:
        answers: (n,) the top-1 class of each image.
        labels: (n,).
        classes: names by which the class is told.
    """
    n, counts = len(answers), np.bincount(answers)
    most = int(counts.argmax())
    given, shown = counts[most] / n, float((labels == most).mean())
    if given < NEARLY_ALL or 1 - given > FEW * (1 - shown):
        return None
    if shown > 0 and n * _divergence(given, shown) < -math.log(UNLIKELY):
        return None
    name = classes[most] if most < len(classes) else str(most)
    return (
        f"{counts[most]} of {n} answers are class {name}, which {int((labels == most).sum())} of "
        "the images show: look at the training (did it learn more than the commonest class?), "
        "then at the preprocessing (mean and std, channel order, size and crop)"
    )


def _divergence(share: float, other: float) -> float:
    """Of two yes-or-no distributions, in nats (Kullback and Leibler, 1951)."""
    terms = ((share, other), (1 - share, 1 - other))
    return sum(p * math.log(p / q) for p, q in terms if p > 0)
