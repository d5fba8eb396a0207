"""What changed between two models' answers, and whether luck explains it.

Numpy alone: a device has no scipy.
"""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.measure.sequential import ALPHA, Drop, WorstDrop
from edgeresnet.device.measure.statistics import alpha_of, paired_interval

if TYPE_CHECKING:
    from numpy.typing import NDArray


def mcnemar(lost: int, gained: int) -> float:
    """Probability of so uneven a disagreement, or a more uneven one, by luck alone.

    The exact test: each disagreement falls to either side with the same chance (McNemar, 1947).

    Args:
        lost: images that only the first model has right.
        gained: images that only the second has right.

    Returns:
        Two-sided, in [0, 1].
    """
    n, fewer = lost + gained, min(lost, gained)
    if n == 0:
        return 1.0
    whole = math.lgamma(n + 1) - n * math.log(2)
    logs = [whole - math.lgamma(k + 1) - math.lgamma(n - k + 1) for k in range(fewer + 1)]
    return min(1.0, 2 * math.fsum(map(math.exp, logs)))


def holm(p: Sequence[float]) -> list[float]:
    """Adjusted so that the smallest and all others hold together (Holm, 1979).

    Args:
        p: of each test, by itself.

    Returns:
        In the same order; below 0.05 what is shown with 95 % confidence for all.
    """
    order = sorted(range(len(p)), key=lambda place: p[place])
    adjusted, largest = [0.0] * len(p), 0.0
    for rank, place in enumerate(order):
        largest = max(largest, min(1.0, (len(p) - rank) * p[place]))
        adjusted[place] = largest
    return adjusted


def smallest_drop(lost: int, gained: int, n: int, z: float) -> float | None:
    """The least loss of top-1 that so many images would have shown.

    Taken is that the two models disagree as often as they did, or, where the loss is more than
    that, that nothing was gained.

    Args:
        lost: images that only the baseline has right.
        gained: images that only the candidate has right.
        n: images.
        z: half of the interval that has to leave zero out, in standard errors.

    Returns:
        In [0, 1]; None: not even all of them wrong would be enough.
    """
    disagreeing = lost + gained

    def shown(net: int) -> bool:
        away = max(0.0, (disagreeing - net) / 2)
        return paired_interval(away, away + net, n, z).high < 0

    low, high = 0, n
    if not shown(high):
        return None
    while high - low > 1:
        middle = (low + high) // 2
        low, high = (low, middle) if shown(middle) else (middle, high)
    return high / n


def changed_classes(
    baseline: NDArray[np.bool_],
    candidate: NDArray[np.bool_],
    labels: NDArray[np.int64],
    classes: Mapping[int, str],
    *,
    alpha: float = ALPHA,
) -> list[dict[str, Any]]:
    """Classes whose top-1 changed by more than luck, all of them together, the worst first.

    Args:
        baseline: (n,) whether each answer was right.
        candidate: (n,) likewise.
        labels: (n,) the class of each image.
        classes: names of those that images show.
        alpha: how often anything may be listed by luck.

    Returns:
        For each ``class``, ``images``, ``lost``, ``gained``, and ``p`` (Holm).
    """
    drops = WorstDrop.of(baseline, candidate, labels, classes).classes
    rows: list[dict[str, Any]] = [
        {"class": name, "images": int(d.n), "lost": int(d.lost), "gained": int(d.gained)}
        for name, d in drops.items()
    ]
    for row, p in zip(rows, holm([mcnemar(r["lost"], r["gained"]) for r in rows]), strict=True):
        row["p"] = p
    found = (row for row in rows if row["p"] < alpha)
    return sorted(found, key=lambda row: (row["gained"] - row["lost"]) / row["images"])


def change_of(
    baseline: NDArray[np.bool_], candidate: NDArray[np.bool_], z: float
) -> dict[str, Any]:
    """What is told of a difference in top-1 beside its interval.

    Args:
        baseline: (n,) whether each answer was right.
        candidate: (n,) likewise.
        z: of the interval; more than 1.96 where several looks have to hold together.

    Returns:
        ``mcnemar_p``, adjusted for the looks, ``smallest_drop`` and ``change_text``.
    """
    drop = Drop.of(baseline, candidate)
    lost, gained, n = int(drop.lost), int(drop.gained), int(drop.n)
    least = smallest_drop(lost, gained, n, z)
    return {
        "lost": lost,
        "gained": gained,
        "mcnemar_p": min(1.0, mcnemar(lost, gained) * ALPHA / alpha_of(z)),
        "smallest_drop": least,
        "change_text": _sentence(lost, gained, n, z, least),
    }


def _sentence(lost: int, gained: int, n: int, z: float, least: float | None) -> str:
    change = paired_interval(gained, lost, n, z)
    if change.high < 0:
        points = f"{-100 * change.high:.2g} to {-100 * change.low:.2g} points of top-1 are lost"
        return f"{points} ({lost} images lost, {gained} gained of {n:,})"
    if change.low > 0:
        points = f"{100 * change.low:.2g} to {100 * change.high:.2g} points of top-1 are gained"
        return f"{points} ({gained} images gained, {lost} lost of {n:,})"
    if least is None:
        return f"no drop shown, and {n:,} images would have shown none"
    return f"no drop shown; with {n:,} images one of {100 * least:.2g} points would have been"


def worst_change(rows: Sequence[Mapping[str, Any]]) -> str:
    """A sentence on the candidate of a comparison that lost most; empty where top-1 is unknown."""
    known = [row for row in rows if row.get("change_text")]
    if not known:
        return ""
    worst = min(known, key=lambda row: float(row["top1_difference"]["value"]))
    return f"{worst['name']}: {worst['change_text']}."
