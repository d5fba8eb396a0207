"""The search leaves a place that no single step betters."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from math import log2
from typing import Any, cast

import numpy as np
import pytest

from edgeresnet.host.adoption.comparison import compare_shapes, shape_words
from edgeresnet.host.adoption.evidence import Evidence
from edgeresnet.host.adoption.search import Search
from edgeresnet.host.adoption.space import Candidate
from edgeresnet.host.adoption.spaces import checkpoint_space
from edgeresnet.host.adoption.trials import Trials
from edgeresnet.settings.inputs import NO_CHANGES, InputSpec
from edgeresnet.settings.network import NOTHING_TOLD
from tests.small_checkpoints import SLIM, make_checkpoint

IMAGES, CLASSES = 2000, 10
# Made at a small size: of the weights nothing is asked.
NETWORK = replace(make_checkpoint("resnet18", "imagenet", 32, SLIM), input_spec=InputSpec(224))
SPACE = checkpoint_space({"raw": NETWORK}, NO_CHANGES, NOTHING_TOLD, told_size=False)
USUAL = SPACE.first()
TRUTH = SPACE.named(replace(USUAL, stem="imagenet-nopool", size=48, crop="shorter side"))
# Things are as large in it behind the stem, but for their edges.
FALSE = SPACE.named(replace(USUAL, stem="imagenet", size=96, crop="middle 0.875"))


class ScriptedTrials:
    """Answers right with the probability that a script gives each candidate."""

    def __init__(self, top1: Callable[[Candidate], float]) -> None:
        rng = np.random.default_rng(0)
        self.labels = rng.integers(0, CLASSES, IMAGES)
        self._luck, self._top1 = rng.random(IMAGES), top1

    def __len__(self) -> int:
        return IMAGES

    def logits(self, candidate: Candidate, n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
        right = self._luck[:n] < self._top1(candidate)
        answers = np.where(right, self.labels[:n], (self.labels[:n] + 1) % CLASSES)
        return 3 * np.eye(CLASSES, dtype=np.float32)[answers]


def apart(one: Candidate, other: Candidate) -> float:
    """How many fields differ; a size that is near counts less."""
    fields = sum(value != getattr(other, name) for name, value in vars(one).items())
    return fields - (one.size != other.size) + min(1, abs(log2(one.size / other.size)))


@pytest.mark.parametrize("normalization", ["ImageNet", "Caffe"])
def test_search_finds_stem_size_and_crop_when_others_make_up_for_each_other(
    normalization: str,
) -> None:
    truth, false = (replace(c, normalization=normalization) for c in (TRUTH, FALSE))
    assert apart(truth, false) == 3

    def top1(candidate: Candidate) -> float:
        return max(0.92 - 0.35 * apart(candidate, truth), 0.85 - 0.2 * apart(candidate, false), 0.1)

    trials = cast(Trials, ScriptedTrials(top1))
    evidence = Evidence(trials, {"by name": np.arange(CLASSES)}, from_images=False)
    assert Search(evidence, SPACE, lambda line: None).best() == truth


def test_networks_that_answer_alike_are_told_as_not_distinguished() -> None:
    def top1(candidate: Candidate) -> float:
        return max(0.9 - 0.3 * min(apart(candidate, TRUTH), apart(candidate, FALSE)), 0.1)

    evidence = Evidence(
        cast(Trials, ScriptedTrials(top1)), {"by name": np.arange(CLASSES)}, from_images=False
    )
    search = Search(evidence, SPACE, lambda line: None)
    best = search.best()
    assert best in (TRUTH, FALSE)
    (other,) = {TRUTH, FALSE} - {best}
    rows = compare_shapes(evidence, search.rivals(best), best)
    assert [(row.option, row.taken, row.separated) for row in rows] == [
        (shape_words(best), True, False),
        (shape_words(other), False, False),
    ]


def test_every_shape_that_images_do_not_speak_against_is_told() -> None:
    fields = ("stem", "size", "crop")
    alike = [FALSE]
    for shape in SPACE.shapes(FALSE):
        several = all(sum(getattr(shape, f) != getattr(c, f) for f in fields) > 1 for c in alike)
        alike += [shape] if several and len(alike) < 6 else []
    assert len(alike) == 6

    class OwnLuck(ScriptedTrials):
        """Each of them is as good as any, of every hundred images, and wrong elsewhere."""

        def logits(self, candidate: Candidate, n: int) -> np.ndarray[Any, np.dtype[np.float32]]:
            place = alike.index(candidate) if candidate in alike else 0
            even = np.tile(np.linspace(0, 1, 100, endpoint=False), (IMAGES // 100, 1))
            self._luck = np.random.default_rng(place).permuted(even, axis=1).ravel()
            return super().logits(candidate, n)

    def top1(candidate: Candidate) -> float:
        return 0.9 if candidate in alike else 0.5

    evidence = Evidence(
        cast(Trials, OwnLuck(top1)), {"by name": np.arange(CLASSES)}, from_images=False
    )
    rivals = Search(evidence, SPACE, lambda line: None).rivals(FALSE)
    assert set(rivals) == set(alike[1:])


def test_shapes_are_every_combination_at_which_things_are_about_as_large() -> None:
    shapes = SPACE.shapes(FALSE)
    assert shapes[0] == FALSE
    assert TRUTH in shapes
    assert len(set(shapes)) == len(shapes)
    assert {(shape.stem, shape.size) for shape in shapes} >= {
        ("imagenet-nopool", 48), ("imagenet-nopool", 56), ("imagenet-stride1-nopool", 24),
    }  # fmt: skip
    assert ("imagenet", 48) not in {(shape.stem, shape.size) for shape in shapes}
    assert len(shapes) < 60
    assert all(
        replace(shape, stem=FALSE.stem, size=FALSE.size, crop=FALSE.crop) == FALSE
        for shape in shapes
    )
