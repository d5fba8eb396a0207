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
from edgeresnet.device.measure.accuracy import chance_line, share_of
from edgeresnet.device.measure.decisions import plan_of
from edgeresnet.device.measure.neighbours import class_similarities, cosines_of, nearest
from edgeresnet.device.measure.sequential import Drop, WorstDrop, labels_present
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.validation import EvaluationSet
from edgeresnet.host.quantization.reference import raw_answers

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
    def _embeddings(self) -> NDArray[np.float32]:
        found = raw_answers(self.model, self._images)
        if not np.isfinite(found).all():
            raise CheckError(
                "the float network gives NaN or infinite embeddings",
                "train it again, or check its file.",
            )
        return found

    @property
    def answers(self) -> Answers:
        """(n,) the class of each image's neighbour, without labels the neighbour's place."""
        return self._answered(self._embeddings)

    @property
    def top1(self) -> float | None:
        """The share of images whose neighbour is of their class; None without labels."""
        return float((self.answers == self._images.labels).mean()) if self.labelled else None

    def _answered(self, embeddings: NDArray[np.float32]) -> Answers:
        if not self.labelled:
            return nearest(embeddings)
        similar = class_similarities(embeddings, self._images.labels, len(self.classes))
        answers: Answers = similar.argmax(1)
        return answers

    def figures(self, model: QuantResNet) -> dict[str, Any]:
        """As `edgeresnet.host.quantization.reference.Reference.figures`, of neighbours.

        ``cosine`` tells how like the float network's embeddings are: ``mean`` and ``smallest``.

        Raises:
            CheckError: its embeddings are not finite.
        """
        embeddings = raw_answers(model, self._images)
        if not np.isfinite(embeddings).all():
            raise CheckError(
                "the quantized network gives NaN or infinite embeddings",
                "check the checkpoint's weights, or calibrate with --observer percentile.",
            )
        answers, own, look = self._answered(embeddings), self.answers, self.plan[0]
        same = share_of(answers == own, z=look.z)
        return {
            "images": len(answers),
            "looks": [look.images],
            **self._accuracy(answers, own),
            "agreement": same.value,
            "agreement_interval": [same.low, same.high],
            "cosine": cosines_of(self._embeddings, embeddings),
            "doubts": [],
        }

    def _accuracy(self, answers: Answers, own: Answers) -> dict[str, Any]:
        if not self.labelled:
            keys = ("top1_float", "top1_int8", "drop", "drop_interval", "lost", "gained",
                    "class_changes")  # fmt: skip
            return dict.fromkeys(keys)
        labels = self._images.labels
        right, others = own == labels, answers == labels
        changes = Drop.of(right, others)
        drop = changes.interval(self.plan[0].alpha)
        classes = WorstDrop.of(right, others, labels, self._shown).classes
        return {
            "top1_float": float(right.mean()),
            "top1_int8": float(others.mean()),
            "drop": drop.value,
            "drop_interval": [drop.low, drop.high],
            "lost": changes.lost,
            "gained": changes.gained,
            "class_changes": {name: [d.n, d.lost, d.gained] for name, d in classes.items()},
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
