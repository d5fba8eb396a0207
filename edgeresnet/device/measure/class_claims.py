"""Are the names of the classes those of the outputs? What is told of top-1? By labelled images."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.measure.changes import mcnemar

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.measure.accuracy import Predictions

# How unlikely it must be by luck that one of the pairs of names fits better exchanged.
UNLIKELY = 1e-3


def name_faults(predictions: Predictions, classes: Sequence[str]) -> list[str]:
    """Pairs of class names that would fit the answers better if they were exchanged.

    For each pair the images that are right as named are held against those that were right with
    the two names exchanged (McNemar's exact test, corrected for the number of pairs).

    Args:
        predictions: of labelled images.
        classes: names of the outputs.
    """
    answers, labels = predictions.answers(), predictions.labels
    n = len(classes)
    counts = np.bincount(labels * n + answers, minlength=n * n).reshape(n, n)
    exchanged = counts + counts.T
    named = np.add.outer(np.diag(counts), np.diag(counts))
    pairs = n * (n - 1) // 2
    faults = []
    for one, other in zip(*np.nonzero(np.triu(exchanged > named, 1)), strict=True):
        told, swapped = int(named[one, other]), int(exchanged[one, other])
        if mcnemar(told, swapped) * pairs < UNLIKELY:
            faults.append(
                f"{swapped} images of {classes[one]} and {classes[other]} are taken for each other "
                f"and {told} are right, so the two names stand in each other's place"
            )
    return faults


def close_decisions(logits: NDArray[np.float32], bound: float) -> int:
    """Images whose class rounding could change: the second logit is within twice the bound."""
    if logits.shape[1] < 2:
        return 0
    ordered = np.sort(logits.astype(np.float64), axis=1)
    return int((ordered[:, -1] - ordered[:, -2] <= 2 * bound).sum())


def top1_fault(predictions: Predictions, told: float, bound: float) -> str | None:
    """What is wrong with a share of right answers that was told of these very images.

    Args:
        predictions: of this runtime.
        told: top-1 of the network that was exported, in [0, 1].
        bound: how far rounding may move a logit.
    """
    n = len(predictions.labels)
    right = int(predictions.correct().sum())
    close = close_decisions(predictions.logits, bound)
    if abs(right - told * n) <= close + 0.5:
        return None
    return (
        f"top-1 is {right / n:.4f} on {n} images, and {told:.4f} is told; rounding decides "
        f"{close} of them"
    )
