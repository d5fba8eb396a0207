"""The images that are told of are those whose answer changed, the worst first."""

from __future__ import annotations

import numpy as np

from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.measure.accuracy import Predictions
from edgeresnet.device.measure.changed_images import MOST, changed_images

CLASSES = tuple("0123456789")
DIGITS = open_dataset("digits", "val", limit=80)


def answering(answers: np.ndarray, indices: np.ndarray) -> Predictions:
    logits = np.eye(10, dtype=np.float32)[answers]
    return Predictions(logits, DIGITS.labels[indices], 0, 0, CLASSES)


def test_lost_images_come_before_those_that_change_from_wrong_to_wrong() -> None:
    indices = np.array([5, 3, 11, 2])
    labels = DIGITS.labels[indices]
    before = labels.copy()
    before[2] = (labels[2] + 1) % 10  # wrong from the start
    first, second = before.copy(), before.copy()
    first[2] = second[2] = (labels[2] + 2) % 10
    first[3] = (labels[3] + 1) % 10
    models = {"a": answering(before, indices), "b": answering(first, indices),
              "c": answering(second, indices)}  # fmt: skip
    found = changed_images(models, DIGITS, indices)
    assert [one["index"] for one in found] == [2, 11]
    assert found[0]["image"] == "digits/val/2"
    assert found[0]["label"] == CLASSES[labels[3]]
    assert found[0]["answers"] == {
        "a": str(labels[3]), "b": str((labels[3] + 1) % 10), "c": str(labels[3])
    }  # fmt: skip
    assert changed_images({"a": models["a"]}, DIGITS, indices) == []
    assert changed_images({"a": models["a"], "d": models["a"]}, DIGITS, indices) == []


def test_no_more_are_told_of_than_anybody_looks_at() -> None:
    indices = np.arange(len(DIGITS))
    right = answering(DIGITS.labels, indices)
    wrong = answering((DIGITS.labels + 1) % 10, indices)
    assert len(DIGITS) > MOST
    assert len(changed_images({"a": right, "b": wrong}, DIGITS, indices)) == MOST


def test_without_labels_the_answers_alone_are_told() -> None:
    indices = np.arange(4)
    images = DIGITS.relabelled((), np.full(len(DIGITS), -1))
    base = answering(np.array([1, 2, 3, 4]), indices)
    other = answering(np.array([1, 2, 3, 5]), indices)
    models = {
        name: Predictions(own.logits, np.full(4, -1), 0, 0, (), labelled=False)
        for name, own in {"a": base, "b": other}.items()
    }
    (found,) = changed_images(models, images, indices)
    assert (found["label"], found["answers"]) == (None, {"a": "4", "b": "5"})
