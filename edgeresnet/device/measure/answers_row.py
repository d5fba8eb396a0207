"""What is told of one model's answers in a comparison."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

from edgeresnet.device.measure.accuracy import (
    Predictions,
    accuracy,
    agreement,
    paired_difference,
    places_in,
)
from edgeresnet.device.measure.changes import change_of, changed_classes
from edgeresnet.device.measure.confusion import calibration_error, divergence
from edgeresnet.device.measure.neighbours import EMBEDDINGS, cosines
from edgeresnet.device.measure.sequential import labels_present
from edgeresnet.device.measure.statistics import alpha_of

if TYPE_CHECKING:
    from edgeresnet.device.session import Opened

OF_TOP1 = ("top1", "top5", "top1_interval", "top1_difference", "calibration_error")
OF_CHANGE = (
    "lost", "gained", "mcnemar_p", "smallest_drop", "change_text", "changed_classes",
)  # fmt: skip


def answers_row(
    model: Opened, own: Predictions, baseline: Predictions, reference: Opened, z: float
) -> dict[str, Any]:
    """A row's figures of what the model answers.

    Args:
        model: opened.
        own: its answers.
        baseline: the answers of ``reference`` to the same images, in the same order.
        reference: the baseline; may be the model itself.
        z: half of paired intervals, in standard errors.

    Returns:
        The keys of ``rows`` in the JSON contract; of top-1 None where nobody says what is right.
    """
    same = agreement(baseline, own, z=z)
    return {
        "target": model.target,
        "device": model.device,
        "precision": model.precision,
        "answers": model.answers,
        **_top1(own, baseline, model, z),
        **_change(own, baseline, z, itself=model is reference),
        "agreement": same.value,
        "agreement_interval": [same.low, same.high],
        "divergence": _divergence(own, baseline, model, reference),
        **({"cosine": cosine} if (cosine := cosines(own, baseline)) is not None else {}),
    }


def _top1(own: Predictions, baseline: Predictions, model: Opened, z: float) -> dict[str, Any]:
    if not own.labelled:
        return {"n": len(own.labels), **dict.fromkeys(OF_TOP1)}
    difference = paired_difference(baseline.correct(), own.correct(), z=z)
    sure = None
    if model.answers != EMBEDDINGS:
        sure = calibration_error(own.logits, own.labels, answers=model.answers)
    return {
        **accuracy(own).to_dict(),
        "top1_difference": difference.to_dict(),
        "calibration_error": sure,
    }


def _change(own: Predictions, baseline: Predictions, z: float, *, itself: bool) -> dict[str, Any]:
    if itself or not own.labelled:
        return dict.fromkeys(OF_CHANGE)
    right, others = own.correct(), baseline.correct()
    classes = labels_present(baseline.labels, baseline.classes)
    changed = changed_classes(others, right, baseline.labels, classes, alpha=alpha_of(z))
    return {**change_of(others, right, z), "changed_classes": changed}


def _divergence(
    own: Predictions, baseline: Predictions, model: Opened, reference: Opened
) -> float | None:
    """None where the two do not have the same classes, or no probabilities."""
    if EMBEDDINGS in (model.answers, reference.answers):
        return None
    places, expected = places_in(baseline, own), baseline.logits
    if own.logits.shape != expected.shape or (places is not None and (places < 0).any()):
        return None
    if places is not None:
        expected = expected[:, places]
    return divergence(expected, own.logits, answers=(reference.answers, model.answers))
