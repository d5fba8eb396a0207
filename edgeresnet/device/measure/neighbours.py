"""What embeddings answer: each image by its nearest neighbour among the others.

A network without a classifier has no top-1 of its own. Whether its embeddings serve, as for
retrieval, is asked by leaving one out: an image is right where the image whose embedding has the
largest cosine with its own is of its class. (Wu et al., "Unsupervised Feature Learning via
Non-Parametric Instance Discrimination", 2018, section 4, ask so with 200 neighbours.)
"""

from __future__ import annotations

from collections.abc import Callable, Iterator, Sequence
from dataclasses import replace
from typing import TYPE_CHECKING, Any, Literal

import numpy as np

from edgeresnet.device.bundle.features import AllOutputs
from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.measure.accuracy import Predictions, answers_of_images, predict
from edgeresnet.device.targets.outputs import POOL, flattened
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.device.session import Opened
    from edgeresnet.device.targets.protocol import Session

EMBEDDINGS: Literal["embeddings"] = "embeddings"
# Of similarities that are computed at once.
BLOCK = 1024


class OneOutput(AllOutputs):
    """A session that answers with one of its outputs, as (N, k).

    Args:
        session: see `AllOutputs`.
        name: of the output.
    """

    def __init__(self, session: Session, name: str) -> None:
        super().__init__(session)
        self._name = name

    def run(self, batch: NDArray[np.float32] | NDArray[np.uint8]) -> NDArray[np.float32]:
        """The output of one batch."""
        return flattened(self._gives.outputs(batch)[self._name])


def by_embeddings(models: Sequence[Opened]) -> list[Opened]:
    """The models, answering by their embeddings where one of them gives no logits.

    Raises:
        InputError: one of them gives no embedding then.
    """
    if all(model.gives_logits for model in models):
        return list(models)
    for model in models:
        if not any(one.name == POOL for one in model.gives):
            what = ", ".join(one.name for one in model.gives) or "logits"
            raise InputError(
                f"{model.name} gives {what} and no embedding, by which a model without logits is "
                "judged",
                "export it with --features pool; profile times it as it is.",
            )
    return [
        replace(model, session=OneOutput(model.session, POOL), answers=EMBEDDINGS, outputs=None)
        for model in models
    ]


def predict_model(
    model: Opened, dataset: Dataset, on_images: Callable[[int], object] | None = None
) -> Predictions:
    """What an opened model answers to images.

    Args:
        model: as `by_embeddings` gives it.
        dataset: with labels where the model answers by embeddings; all of it is compared at once.
        on_images: called with the number of images done.

    Returns:
        Of embeddings ``logits`` are, for each class, the largest cosine with another image of it.

    Raises:
        InputError: the images have no labels and the model no logits.
    """
    pixels = model.embed_preprocess
    if model.answers != EMBEDDINGS:
        return predict(
            model.session, dataset, model.input_spec, embed_preprocess=pixels, on_images=on_images
        )
    if not is_labelled(dataset):
        raise InputError(
            f"{dataset.name} has no labels, and {model.name} has embeddings, which are judged by "
            "whether neighbours are of one class",
            "give labelled images, or a bundle with logits.",
        )
    answered = answers_of_images(
        model.session, dataset, model.input_spec, embed_preprocess=pixels, on_images=on_images
    )
    return by_neighbours(replace(answered, classes=tuple(dataset.classes)))


def by_neighbours(answered: Predictions) -> Predictions:
    """Embeddings (n, channels) of labelled images as answers.

    Args:
        answered: has them in the place of logits, and the images' classes.

    Returns:
        ``logits`` are, for each class, the largest cosine with another image of it.
    """
    similar = class_similarities(answered.logits, answered.labels, len(answered.classes))
    return replace(answered, logits=similar, embeddings=answered.logits)


def class_similarities(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64], classes: int
) -> NDArray[np.float32]:
    """For each image and class the largest cosine with another image of that class, (n, classes).

    Args:
        embeddings: (n, channels).
        labels: (n,).
        classes: how many; one without another image has -1, as low as a cosine can be.
    """
    unit = _unit(embeddings)
    members = [np.flatnonzero(labels == one) for one in range(classes)]
    found = np.full((len(unit), classes), -1, np.float32)
    for rows, similar in _similarities(unit, itself=-1):
        for one, others in enumerate(members):
            if len(others):
                found[rows, one] = similar[:, others].max(1)
    return found


def cosines(one: Predictions, other: Predictions) -> dict[str, Any] | None:
    """Mean and smallest cosine of two models' embeddings of the same images; None of logits."""
    if one.embeddings is None or other.embeddings is None:
        return None
    if one.embeddings.shape != other.embeddings.shape:
        # Of networks of other widths.
        return None
    return cosines_of(one.embeddings, other.embeddings)


def cosines_of(one: NDArray[np.float32], other: NDArray[np.float32]) -> dict[str, Any]:
    """``mean`` and ``smallest`` cosine of embeddings (n, channels) of the same images."""
    values = (_unit(one) * _unit(other)).sum(1)
    return {"mean": float(values.mean()), "smallest": float(values.min())}


def nearest(embeddings: NDArray[np.float32]) -> NDArray[np.int64]:
    """(n,) for each image the place of the other one with the largest cosine.

    Args:
        embeddings: (n, channels), of two images or more.
    """
    unit = _unit(embeddings)
    found = [similar.argmax(1) for _, similar in _similarities(unit, itself=-np.inf)]
    return np.concatenate(found)


def _similarities(
    unit: NDArray[np.float32], itself: float
) -> Iterator[tuple[NDArray[np.int64], NDArray[np.float32]]]:
    """Rows of some images, and their cosines with all, where an image has ``itself`` with it."""
    for start in range(0, len(unit), BLOCK):
        rows = np.arange(start, min(start + BLOCK, len(unit)))
        similar = unit[rows] @ unit.T
        similar[np.arange(len(rows)), rows] = itself
        yield rows, similar


def _unit(embeddings: NDArray[np.float32]) -> NDArray[np.float32]:
    """Rows of length 1; one of zeros stays so, and is like nothing."""
    length = np.linalg.norm(embeddings, axis=1, keepdims=True)
    unit: NDArray[np.float32] = (embeddings / np.where(length > 0, length, 1)).astype(np.float32)
    return unit
