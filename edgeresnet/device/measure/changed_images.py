"""Which images are answered otherwise than by the baseline."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.measure.accuracy import Predictions, same_answers

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.data.dataset import Dataset

# To be looked at; more of them nobody does.
MOST = 48


def changed_images(
    predictions: Mapping[str, Predictions], dataset: Dataset, indices: NDArray[np.int64]
) -> list[dict[str, Any]]:
    """Images that not all candidates answer as the baseline does, at most `MOST`.

    Those first that most candidates got wrong and the baseline right, then those on which most of
    them differ.

    Args:
        predictions: by the model's name, the baseline first.
        dataset: says what the images are called.
        indices: (n,) of the images that were answered, in the order of the answers.

    Returns:
        For each ``image`` (its name), ``index`` (in the data), ``label`` (None where there is none)
        and ``answers``, by the model's name.
    """
    (_, baseline), *others = predictions.items()
    if not others:
        return []
    differs = np.array([~same_answers(baseline, own) for _, own in others])
    lost = np.zeros(len(indices), np.int64)
    if baseline.labelled:
        lost = np.sum([baseline.correct() & ~own.correct() for _, own in others], axis=0)
    found = np.flatnonzero(differs.any(0))
    found = found[np.lexsort((-differs.sum(0)[found], -lost[found]))][:MOST]
    return [
        {
            "image": dataset.file_name(int(indices[place])),
            "index": int(indices[place]),
            "label": _label(baseline, int(place)),
            "answers": {name: _answer(own, int(place)) for name, own in predictions.items()},
        }
        for place in found
    ]


def _label(predictions: Predictions, place: int) -> str | None:
    return predictions.classes[predictions.labels[place]] if predictions.labelled else None


def _answer(predictions: Predictions, place: int) -> str:
    """The class that was answered, or its number where nobody knows the names."""
    output = int(predictions.logits[place].argmax())
    classes: Sequence[str] = predictions.classes
    return classes[output] if classes else str(output)
