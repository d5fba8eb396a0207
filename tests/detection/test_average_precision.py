"""Average precision by weighted images is pycocotools' own where each image counts once."""

from __future__ import annotations

import numpy as np
import pytest
import torch

from tests.detection.average_precision import (
    evaluated,
    matches,
    mean_precision,
    paired_difference,
)
from tests.detection.scenes import Scene


def scenes_and_boxes(noise: float, count: int = 12) -> tuple[list[Scene], list[dict]]:
    """Random boxes of three classes, and what finds most of them, some twice and some wrongly."""
    draw = np.random.default_rng(1)
    scenes, found = [], []
    for _ in range(count):
        corners = draw.uniform(0, 80, (3, 2))
        boxes = np.concatenate([corners, corners + draw.uniform(20, 40, (3, 2))], 1)
        labels = draw.integers(1, 4, 3)
        scenes.append(Scene(np.zeros((128, 128, 3), np.uint8), boxes.astype(np.float32), labels))
        near = np.concatenate([boxes + draw.normal(0, noise, boxes.shape), boxes[:1]])
        found.append({
            "boxes": torch.from_numpy(near.astype(np.float32)),
            "scores": torch.from_numpy(draw.uniform(0.1, 1, 4).astype(np.float32)),
            "labels": torch.from_numpy(np.concatenate([labels[:2], draw.integers(1, 4, 2)])),
        })  # fmt: skip
    return scenes, found


@pytest.mark.parametrize("noise", [0.5, 3.0])
def test_mean_precision_is_that_of_pycocotools_when_each_image_counts_once(noise: float) -> None:
    scenes, found = scenes_and_boxes(noise)
    evaluation = evaluated(scenes, found)
    own = mean_precision(matches(evaluation), np.ones(len(scenes), np.int64))
    assert own == pytest.approx(evaluation.stats[0], abs=1e-9)
    assert 0.1 < own < 1


def test_mean_precision_is_that_of_the_images_when_some_count_twice() -> None:
    scenes, found = scenes_and_boxes(2.0)
    counts = np.array([2, 0, 1, 3, 0, 1, 1, 0, 2, 1, 0, 1])
    own = mean_precision(matches(evaluated(scenes, found)), counts)
    chosen = np.repeat(np.arange(12), counts)
    again = evaluated([scenes[i] for i in chosen], [found[i] for i in chosen])
    # Copies have equal scores, which a sort by score may put in any order between them.
    assert own == pytest.approx(again.stats[0], abs=0.02)


def test_paired_difference_is_nothing_when_both_are_the_same() -> None:
    scenes, found = scenes_and_boxes(2.0)
    both = matches(evaluated(scenes, found))
    assert paired_difference(both, both, rounds=20) == (0.0, 0.0, 0.0)


def test_paired_difference_is_below_zero_when_boxes_are_worse() -> None:
    good, bad = (matches(evaluated(*scenes_and_boxes(noise))) for noise in (0.5, 6.0))
    difference, low, high = paired_difference(good, bad, rounds=50)
    assert low <= difference <= high < 0
