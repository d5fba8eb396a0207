"""COCO's average precision of two detectors, paired by images."""

from __future__ import annotations

import contextlib
import io
from collections.abc import Mapping, Sequence
from dataclasses import dataclass

import numpy as np
import torch
from numpy.typing import NDArray
from pycocotools.coco import COCO
from pycocotools.cocoeval import COCOeval

from tests.detection.scenes import Scene

Detections = Sequence[Mapping[str, torch.Tensor]]
RECALLS = np.linspace(0, 1, 101)


@dataclass(frozen=True, eq=False)
class Matches:
    """Detections of one class, from the surest on, and which of them are right.

    Attributes:
        image: (n,) the place of each one's image.
        right: (thresholds, n) whether it finds an object that no surer one has found.
        objects: (images,) how many objects there are.
    """

    image: NDArray[np.int64]
    right: NDArray[np.bool_]
    objects: NDArray[np.int64]

    def precision(self, counts: NDArray[np.int64]) -> float:
        """AP, the mean of all thresholds, where image ``i`` is there ``counts[i]`` times.

        NaN where it has no object.
        """
        objects = int((counts * self.objects).sum())
        if objects == 0:
            return float("nan")
        weights = counts[self.image]
        found = np.cumsum(self.right * weights, 1)
        seen = np.cumsum(weights)
        recall = found / objects
        precision = found / np.maximum(seen, 1)
        # The best that is reached from this recall on.
        precision = np.maximum.accumulate(precision[:, ::-1], 1)[:, ::-1]
        values = []
        for own_recall, own in zip(recall, precision, strict=True):
            places = np.searchsorted(own_recall, RECALLS - 1e-12)
            values.append(np.append(own, 0.0)[places].mean())
        return float(np.mean(values))


def evaluated(scenes: Sequence[Scene], detections: Detections) -> COCOeval:
    """pycocotools' own evaluation, done up to its summary."""
    with contextlib.redirect_stdout(io.StringIO()):
        truth = _coco(scenes)
        evaluation = COCOeval(truth, truth.loadRes(_rows(detections)), "bbox")
        evaluation.evaluate()
        evaluation.accumulate()
        evaluation.summarize()
    return evaluation


def matches(evaluation: COCOeval) -> list[Matches]:
    """What `evaluated` matched, of each class; of all areas, as in COCO's AP."""
    params = evaluation.params
    images, areas = len(params.imgIds), len(params.areaRng)
    found = []
    for place in range(len(params.catIds)):
        start = place * areas * images
        of_images = evaluation.evalImgs[start : start + images]
        scores, owner, right = [], [], []
        objects = np.zeros(images, np.int64)
        for at, one in enumerate(of_images):
            if one is None:
                continue
            objects[at] = int((1 - one["gtIgnore"]).sum())
            scores.append(one["dtScores"])
            owner.append(np.full(len(one["dtScores"]), at))
            right.append(one["dtMatches"] > 0)
        if not scores:
            continue
        order = np.argsort(-np.concatenate(scores), kind="mergesort")
        found.append(
            Matches(np.concatenate(owner)[order], np.concatenate(right, 1)[:, order], objects)
        )
    return found


def mean_precision(of_classes: Sequence[Matches], counts: NDArray[np.int64]) -> float:
    """mAP: the mean of the classes that have objects."""
    return float(np.nanmean([one.precision(counts) for one in of_classes]))


def paired_difference(
    one: Sequence[Matches], other: Sequence[Matches], *, rounds: int = 1000, seed: int = 0
) -> tuple[float, float, float]:
    """mAP of ``other`` less that of ``one``, and its 95 % interval by bootstrap over images.

    Source: Efron and Tibshirani, "An Introduction to the Bootstrap", 1993, section 13.3.
    """
    images = len(one[0].objects)
    draw = np.random.default_rng(seed)
    every = np.ones(images, np.int64)
    differences = []
    for _ in range(rounds):
        counts = np.bincount(draw.integers(0, images, images), minlength=images)
        differences.append(mean_precision(other, counts) - mean_precision(one, counts))
    low, high = np.percentile(differences, [2.5, 97.5])
    return mean_precision(other, every) - mean_precision(one, every), float(low), float(high)


def _coco(scenes: Sequence[Scene]) -> COCO:
    truth = COCO()
    boxes = [
        (image, box, int(label))
        for image, scene in enumerate(scenes)
        for box, label in zip(scene.boxes, scene.labels, strict=True)
    ]
    truth.dataset = {
        "images": [{"id": image} for image in range(len(scenes))],
        "categories": [{"id": label} for label in sorted({label for _, _, label in boxes})],
        # From 1 on: pycocotools takes a match with 0 for none.
        "annotations": [
            {
                "id": number, "image_id": image, "category_id": label, "iscrowd": 0,
                "bbox": _sides(box), "area": float(np.prod(box[2:] - box[:2])),
            }
            for number, (image, box, label) in enumerate(boxes, 1)
        ],
    }  # fmt: skip
    truth.createIndex()
    return truth


def _rows(detections: Detections) -> NDArray[np.float64]:
    """(n, 7): image, left, top, width, height, score, class."""
    rows = [
        [image, *_sides(box.numpy()), float(score), int(label)]
        for image, one in enumerate(detections)
        for box, score, label in zip(one["boxes"], one["scores"], one["labels"], strict=True)
    ]
    return np.array(rows, np.float64).reshape(-1, 7)


def _sides(box: NDArray[np.float32]) -> list[float]:
    left, top, right, bottom = (float(value) for value in box)
    return [left, top, right - left, bottom - top]
