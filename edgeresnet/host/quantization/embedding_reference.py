"""What a quantized network without a classifier is held against: the float one's embeddings.

An image answers with its nearest neighbour by cosine among the other images, as
`edgeresnet.device.measure.neighbours` has it. With labels that is the neighbour's class, which is
right or not, so that there is a top-1. Without labels it is the neighbour itself: the quantized
network agrees where it finds the same image.
"""

from __future__ import annotations

from functools import cached_property
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from torchvision.models import ResNet

from edgeresnet.device.data.dataset import Dataset, is_labelled
from edgeresnet.device.measure.accuracy import chance_line
from edgeresnet.device.measure.decisions import plan_of
from edgeresnet.device.measure.neighbours import cosines_of
from edgeresnet.device.measure.sequential import labels_present
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.validation import EvaluationSet
from edgeresnet.host.quantization.distances import neighbours
from edgeresnet.host.quantization.reference import Reference, compared, raw_answers, reference_of

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Answers = NDArray[np.int64]


class EmbeddingReference:
    """The float network and its embeddings of all validation images; see `Reference`.

    All images are compared with all others, so there is one look, at all of them.

    Args:
        checkpoint: float, without a classifier.
        val_set: two images or more.

    Attributes:
        model: the network.
        labelled: whether somebody says which neighbours are right; else there is only agreement.
        classes: their names, the data's.
        plan: the one look.

    Raises:
        InputError: there is one image only.
    """

    def __init__(self, checkpoint: Checkpoint, val_set: Dataset) -> None:
        if len(val_set) < 2:
            raise InputError(
                "a network without a classifier is judged by neighbours among the validation "
                f"images, and data {val_set.name} has {len(val_set)}",
                "give data with more images.",
            )
        self.model = cast(ResNet, checkpoint.build())
        self.labelled = is_labelled(val_set)
        self.classes = tuple(val_set.classes) if self.labelled else ()
        self.plan = plan_of(len(val_set), {}, all_images=True)
        self._images = EvaluationSet(val_set, checkpoint.input_spec, shared=True)
        self._shown = labels_present(val_set.labels, self.classes) if self.labelled else {}

    @cached_property
    def embeddings(self) -> NDArray[np.float32]:
        """(n, channels) float32, the float network's."""
        return raw_answers(self.model, self._images, "float")

    @property
    def answers(self) -> Answers:
        """(n,) the class of each image's neighbour, without labels the neighbour's place."""
        return self._answered(self.embeddings)

    @property
    def top1(self) -> float | None:
        """The share of images whose neighbour is of their class; None without labels."""
        return float((self.answers == self._images.labels).mean()) if self.labelled else None

    def _answered(self, embeddings: NDArray[np.float32]) -> Answers:
        return neighbours(embeddings, self._images.labels if self.labelled else None)

    def figures(self, model: QuantResNet) -> dict[str, Any]:
        """As `edgeresnet.host.quantization.reference.Reference.figures`, of neighbours.

        ``cosine`` tells how like the float network's embeddings are: ``mean`` and ``smallest``.

        Raises:
            CheckError: its embeddings are not finite.
        """
        embeddings = raw_answers(model, self._images, "quantized")
        labels = self._images.labels if self.labelled else None
        answers = self._answered(embeddings)
        return {
            **compared(answers, self.answers, labels, self._shown, self.plan[0]),
            "cosine": cosines_of(self.embeddings, embeddings),
            "doubts": [],
        }

    def doubts(self, *, by_name: bool) -> list[str]:
        """Says that the float network's neighbours are of any class; empty if they may be right.

        Args:
            by_name: of no effect: no output is a class.
        """
        if not self.labelled:
            return []
        labels, count = self._images.labels, len(self.classes)
        if chance_line(self.answers, labels, count, by_name=True) is None:
            return []
        return [
            f"nearest neighbours are of an image's class hardly more often than by chance (top-1 "
            f"{self.top1:.4f}): look at the preprocessing, then at whether these images are of the "
            "kind that the network was trained on"
        ]


def any_reference(
    checkpoint: Checkpoint, val_set: Dataset, **how: Any
) -> Reference | EmbeddingReference:
    """What a quantized network is held against, by its answers or its embeddings.

    Args:
        checkpoint: float.
        val_set: images to ask both on.
        how: of `edgeresnet.host.quantization.reference.reference_of`; embeddings are of all images.
    """
    if not checkpoint.classes:
        return EmbeddingReference(checkpoint, val_set)
    return reference_of(checkpoint, val_set, **how)
