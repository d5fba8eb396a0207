"""What several models answer to the same images: to as many as their budgets of accuracy take."""

from __future__ import annotations

from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass, replace
from functools import cached_property
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.measure.accuracy import Predictions, joined, same_answers
from edgeresnet.device.measure.decisions import judge, plan_of, walk
from edgeresnet.device.measure.neighbours import predict_model
from edgeresnet.device.measure.sequential import (
    Drop,
    Evidence,
    Look,
    Share,
    WorstDrop,
    labels_present,
    order,
)
from edgeresnet.results.measured import Budget

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.session import Opened


@dataclass(frozen=True, eq=False)
class Answered:
    """What the models answered, and what that says of the budgets.

    Attributes:
        predictions: of each model, on the same images in the same order.
        indices: (n,) which images these are.
        look: the last that was taken; intervals of paired figures are made for it.
        of: images that there are.
        budgets: of accuracy, decided.
    """

    predictions: list[Predictions]
    indices: NDArray[np.int64]
    look: Look
    of: int
    budgets: list[Budget]


def answered(
    models: Sequence[Opened],
    names: Sequence[str],
    bound: Sequence[Dataset],
    limits: Mapping[str, float],
    *,
    seed: int = 0,
    all_images: bool = False,
    on_images: Callable[[int], object] | None = None,
) -> Answered:
    """Let all models answer images, in random order until every budget of accuracy is decided.

    Where one look at all images is taken (see `decisions.plan_of`) they come as they lie.

    Args:
        models: the baseline first.
        names: of the models; unique.
        bound: for each model the images with labels in the order of its outputs.
        limits: of the budgets of accuracy, by name.
        seed: of the random order.
        all_images: answer all images, whatever the budgets say on the way.
        on_images: called with the number of images that one model has done.
    """
    n = len(bound[0])
    plan = plan_of(n, limits, all_images=all_images)
    indices = order(n, seed) if len(plan) > 1 else np.arange(n)
    work = _Answering(models, names, bound, limits, plan, indices, on_images)
    look, budgets = walk(plan, work.see, work.judged)
    return Answered(work.predictions, indices[: look.images], look, n, budgets)


class _Answering:
    """Models on their way through images."""

    def __init__(
        self,
        models: Sequence[Opened],
        names: Sequence[str],
        bound: Sequence[Dataset],
        limits: Mapping[str, float],
        plan: Sequence[Look],
        indices: NDArray[np.int64],
        on_images: Callable[[int], object] | None,
    ) -> None:
        self._models, self._names, self._bound = models, names, bound
        self._limits, self._plan, self._indices = limits, plan, indices
        self._on_images = on_images
        self.predictions: list[Predictions] = []

    def see(self, images: int) -> None:
        """Let every model answer until ``images`` are answered."""
        seen = len(self.predictions[0].labels) if self.predictions else 0
        further = [int(i) for i in self._indices[seen:images]]
        parts = [
            _predict(model, data.subset(further), self._on_images)
            for model, data in zip(self._models, self._bound, strict=True)
        ]
        before = self.predictions
        self.predictions = (
            [joined([a, b]) for a, b in zip(before, parts, strict=True)] if before else parts
        )

    def judged(self, look: Look) -> list[Budget]:
        """The budgets of accuracy as they stand; a lone baseline is its own candidate."""
        baseline, *others = self.predictions
        names = self._names[1:] or self._names
        candidates = dict(zip(names, others or [baseline], strict=True))
        return [
            judge(
                name,
                limit,
                {own: self._evidence(name, baseline, p) for own, p in candidates.items()},
                look,
                self._plan,
            )
            for name, limit in self._limits.items()
        ]

    def _evidence(self, name: str, baseline: Predictions, own: Predictions) -> Evidence:
        if name == "max_disagreement":
            same = same_answers(baseline, own)
            return Share(int((~same).sum()), len(same))
        right, others = baseline.correct(), own.correct()
        if name == "max_drop":
            return Drop.of(right, others)
        return WorstDrop.of(right, others, baseline.labels, self._classes)

    @cached_property
    def _classes(self) -> dict[int, str]:
        return labels_present(self._bound[0].labels, self._bound[0].classes)


def _predict(
    model: Opened, dataset: Dataset, on_images: Callable[[int], object] | None
) -> Predictions:
    found = predict_model(model, dataset, on_images)
    # Of images without labels only the models know the classes.
    return found if is_labelled(dataset) else replace(found, classes=tuple(model.classes or ()))
