"""Which class is which output of a network whose file names none."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

import numpy as np
from scipy.optimize import linear_sum_assignment
from scipy.special import log_softmax

from edgeresnet.device.data.class_names import natural_key

if TYPE_CHECKING:
    from numpy.typing import NDArray

FROM_IMAGES = "found from the images"
# Of each class; with fewer an order is not told from chance.
ENOUGH = 5


def known_orders(classes: Sequence[str]) -> dict[str, NDArray[np.int64]]:
    """The orders in which a training may have put its class folders, the usual one first.

    Returns:
        By its name: (classes,) int64, the output of each class of the data.
    """
    usual = {
        "sorted as text": sorted(classes),
        "sorted by number": sorted(classes, key=natural_key),
        "as the data lists them": list(classes),
    }
    orders: dict[str, NDArray[np.int64]] = {}
    for name, ordered in usual.items():
        place = {own: index for index, own in enumerate(ordered)}
        order = np.array([place[own] for own in classes], np.int64)
        if not any(np.array_equal(order, other) for other in orders.values()):
            orders[name] = order
    return orders


def enough(labels: NDArray[np.int64], classes: int) -> bool:
    """Whether there are images enough of every class to find the order from them."""
    return int(np.bincount(labels, minlength=classes).min()) >= ENOUGH


def assigned(logits: NDArray[np.float32], labels: NDArray[np.int64]) -> NDArray[np.int64]:
    """The order under which the answers are likeliest: each class gets one output.

    The sum of log-probabilities over all images is a sum over pairs of class and output, so that
    the best order is a linear assignment (Kuhn, 1955).

    Args:
        logits: (n, classes) float32.
        labels: (n,) int64, of the data's classes.

    Returns:
        (classes,) int64, the output of each class.
    """
    likely = log_softmax(logits.astype(np.float64), axis=1)
    classes = logits.shape[1]
    gain = np.zeros((classes, classes))
    np.add.at(gain, labels, likely)
    _, outputs = linear_sum_assignment(gain, maximize=True)
    result: NDArray[np.int64] = outputs.astype(np.int64)
    return result


def right_when_assigned(
    logits: NDArray[np.float32], labels: NDArray[np.int64]
) -> NDArray[np.bool_]:
    """Whether each answer is right under the order that the *other* half of the images gives.

    An order that is found from the very images that it is judged by would flatter itself.
    """
    right = np.zeros(len(labels), np.bool_)
    halves = np.arange(len(labels)) % 2 == 0
    for own in (halves, ~halves):
        order = assigned(logits[~own], labels[~own])
        right[own] = logits[own].argmax(1) == order[labels[own]]
    return right
