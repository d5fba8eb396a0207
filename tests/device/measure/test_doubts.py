"""Answers that give themselves away are told, and honest ones of few images are not."""

from __future__ import annotations

import numpy as np
import pytest
from numpy.typing import NDArray

from edgeresnet.device.measure.budgets import enforce, verdict_of
from edgeresnet.device.measure.doubts import answer_doubts, constant_line, one_class_line
from edgeresnet.errors import CheckError

CLASSES = tuple("abcdefghij")


def labels_of(*counts: int) -> NDArray[np.int64]:
    """So many images of each class, one class after the other."""
    return np.repeat(np.arange(len(counts)), counts)


def test_constant_logits_are_told_and_others_are_not() -> None:
    rng = np.random.default_rng(0)
    once = rng.standard_normal((1, 10)).astype(np.float32)
    told = constant_line(once.repeat(8, axis=0))
    assert told is not None
    assert told.startswith("all 8 images get the same logits")
    assert constant_line(np.zeros((8, 10), np.float32)) is not None
    assert constant_line(once) is None
    nearly = once + rng.standard_normal((8, 10)).astype(np.float32) * 1e-4
    assert constant_line(nearly) is None


@pytest.mark.parametrize(
    ("counts", "others", "doubtful"),
    [
        ((10,) * 10, 0, True),  # one class to 100 images of ten
        ((100,) * 10, 30, True),  # nearly
        ((100,) * 10, 100, False),  # ten per cent other answers
        ((1, 1), 0, False),  # two images say nothing
        ((4, 4), 0, False),
        ((1,) * 10, 0, True),  # ten images of ten classes do
        ((95, 5), 0, False),  # one defect in 20 may be missed five times
        ((950, 50), 0, True),  # and not fifty times
        ((950, 50), 30, False),  # which finds three in five of the defects
        ((50,), 0, False),  # all images are of that class
    ],
)
def test_one_class_is_told_when_the_labels_are_several(
    counts: tuple[int, ...], others: int, doubtful: bool
) -> None:
    labels = labels_of(*counts)
    answers = np.zeros_like(labels)
    answers[len(labels) - others :] = labels[len(labels) - others :]
    told = one_class_line(answers, labels, CLASSES)
    assert (told is not None) == doubtful
    if told is not None:
        assert f"{len(labels) - others} of {len(labels)} answers are class a" in told


def test_right_answers_leave_no_doubt_and_unlabelled_ones_only_a_constant() -> None:
    labels = labels_of(*(5,) * 10)
    right = np.eye(10, dtype=np.float32)[labels]
    assert answer_doubts(right, labels, CLASSES, by_name=True) == []
    one = np.eye(10, dtype=np.float32)[labels * 0] + right * 0.1
    first, second = answer_doubts(one, labels, CLASSES, by_name=True)
    assert "answers are class a" in first
    assert "not clearly above chance" in second
    assert answer_doubts(one, None, CLASSES, by_name=True) == []
    assert len(answer_doubts(one * 0, None, CLASSES, by_name=True)) == 1


def test_a_doubt_fails_only_the_strict() -> None:
    doubts = ["all 8 images get the same logits"]
    assert verdict_of([], strict=False, doubts=doubts)["verdict"] == "pass"
    strict = verdict_of([], strict=True, doubts=doubts)
    assert strict["verdict"] == "fail"
    assert "which --strict counts as a failure: all 8 images" in strict["verdict_text"]
    enforce([], strict=False, doubts=doubts)
    with pytest.raises(CheckError, match="in doubt: all 8 images get the same logits"):
        enforce([], strict=True, doubts=doubts)
