"""A comparison's figures of accuracy, held against those of models that were asked again."""

from __future__ import annotations

import math
from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.measure.class_claims import close_decisions

if TYPE_CHECKING:
    from edgeresnet.device.measure.accuracy import Predictions

# Share of the logits' range by which the same kernels may answer otherwise in another batch.
SAME_KERNELS = 1e-4
# Figures of probabilities, which follow every last bit of the logits.
OF_LOGITS = ("calibration_error", "divergence")
EXACT = ("top1_interval", "top1_difference", "mcnemar_p", "smallest_drop", "agreement_interval")
COUNTED = {"top1": "top-1", "top5": "top-5", "agreement": "agreement"}


def undecided(predictions: Predictions, bound: float | None) -> int:
    """Images whose class another machine may see otherwise.

    Args:
        predictions: of this machine.
        bound: how far rounding may move a logit; None: the record is of the same machine and
            versions.
    """
    spread = float(np.ptp(predictions.logits)) or 1.0
    return close_decisions(predictions.logits, SAME_KERNELS * spread if bound is None else bound)


def row_faults(told: Mapping[str, Any], own: Mapping[str, Any], *, allowed: int) -> list[str]:
    """Where a row's accuracy is not what the same images give again.

    Args:
        told: the row of the record.
        own: the row of this measurement.
        allowed: images that may be answered otherwise, by either model of the pair.
    """
    if told["n"] != own["n"]:
        return [f"{told['n']} images are told, and {own['n']} decide the same budgets"]
    faults, n = [], own["n"]
    for key, name in COUNTED.items():
        if (told[key] is None) != (own[key] is None):
            faults.append(f"{name} is {told[key]}, and {own[key]} here")
        elif own[key] is not None and abs(told[key] - own[key]) * n > allowed + 0.5:
            faults.append(f"{name} is {told[key]:.4f}, and {own[key]:.4f} here")
    for key in ("lost", "gained"):
        one, other = told.get(key), own.get(key)
        if one is not None and other is not None and abs(one - other) > allowed:
            faults.append(f"{one} images {key}, and {other} here")
    if not faults and all(told.get(key) == own.get(key) for key in ("top1", "lost", "agreement")):
        faults = _finer(told, own)
    return faults


def _finer(told: Mapping[str, Any], own: Mapping[str, Any]) -> list[str]:
    """Figures that are the same where the same images are right."""
    faults = [
        f"{key} is {told[key]}, and {own[key]} here"
        for key in EXACT
        if key in told and not _alike(told[key], own[key], 1e-6)
    ]
    faults += [
        f"{key} is {told[key]:.4g}, and {own[key]:.4g} here"
        for key in OF_LOGITS
        if told.get(key) is not None
        and own.get(key) is not None
        and abs(told[key] - own[key]) > max(1e-3, 0.1 * abs(own[key]))
    ]
    classes = [[c["class"] for c in row.get("changed_classes") or ()] for row in (told, own)]
    if "changed_classes" in told and classes[0] != classes[1]:
        faults.append(f"changed_classes are {classes[0]}, and {classes[1]} here")
    return faults


def images_faults(
    told: Sequence[Mapping[str, Any]], own: Sequence[Mapping[str, Any]], *, allowed: int
) -> list[str]:
    """Where the images whose answer changed are others.

    Args:
        told: ``changed_images`` of the record.
        own: of this measurement.
        allowed: how many may be.
    """
    before, now = ({one["index"]: one for one in some} for some in (told, own))
    others = [
        index
        for index in sorted(before.keys() | now.keys())
        if index not in before
        or index not in now
        or any(before[index][key] != now[index][key] for key in ("label", "answers"))
    ]
    if len(others) <= 2 * allowed:
        return []
    return [f"image {others[0]} (of {len(others)}) is answered otherwise than it is told"]


def matrix_faults(
    told: Sequence[Sequence[float]], own: Sequence[Sequence[float]], n: int, *, allowed: int
) -> list[str]:
    """Where the agreements of each two models are others.

    Args:
        told: ``agreements`` of the record.
        own: of this measurement.
        n: images.
        allowed: how many may be answered otherwise.
    """
    if [len(row) for row in told] != [len(row) for row in own]:
        return [f"agreements of {len(told)} models are told, and there are {len(own)}"]
    one, other = np.array(told, float), np.array(own, float)
    worst = float(np.abs(one - other).max(initial=0.0))
    if worst * n > allowed + 0.5:
        return [f"two models' agreement is {worst:.4f} away from what it is here"]
    return []


def _alike(told: Any, own: Any, tolerance: float) -> bool:
    if isinstance(told, Mapping) and isinstance(own, Mapping):
        return all(_alike(told.get(key), own[key], tolerance) for key in own)
    if isinstance(told, (list, tuple)) and isinstance(own, (list, tuple)):
        return len(told) == len(own) and all(
            _alike(a, b, tolerance) for a, b in zip(told, own, strict=True)
        )
    if isinstance(told, (int, float)) and isinstance(own, (int, float)):
        return math.isclose(told, own, rel_tol=tolerance, abs_tol=tolerance)
    return bool(told == own)
