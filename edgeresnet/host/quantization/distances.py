"""How far a quantized network's answers are from the float one's, logits or embeddings."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np
import torch
from torch.nn import functional as F

from edgeresnet.device.measure.neighbours import class_similarities, nearest
from edgeresnet.host.training.distillation import distillation_loss

if TYPE_CHECKING:
    from numpy.typing import NDArray
    from torch import Tensor


@dataclass(frozen=True)
class Cost:
    """What quantizing costs, against the network in float.

    Attributes:
        distance: divergence in nats; of embeddings one minus the mean cosine.
        top1_change: None without labels.
        agreement: share of images that are answered as in float.
        headless: there are embeddings, and no logits.
    """

    distance: float
    top1_change: float | None
    agreement: float
    headless: bool

    @property
    def kl(self) -> float | None:
        """The divergence; None of embeddings."""
        return None if self.headless else self.distance

    @property
    def cosine(self) -> float | None:
        """The mean cosine of embeddings; None of logits."""
        return 1 - self.distance if self.headless else None


def distance(answers: Tensor, wanted: Tensor, *, headless: bool) -> Tensor:
    """Of one batch, a 0-D mean over its images.

    Args:
        answers: (n, classes) logits, without a classifier (n, channels) embeddings.
        wanted: likewise, the float network's.
        headless: they are embeddings.

    Returns:
        KL divergence of the classes' probabilities, in nats; of embeddings one minus their cosine.
    """
    if headless:
        return (1 - F.cosine_similarity(answers.double(), wanted.double())).mean()
    return distillation_loss(answers, wanted, 1.0)


def divergence(reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
    """Mean Kullback-Leibler divergence of the classes' probabilities, in nats.

    Args:
        reference: (n, classes) logits.
        logits: (n, classes) of the same images.
    """
    p, q = (_log_softmax(one.astype(np.float64)) for one in (reference, logits))
    return max(0.0, float((np.exp(p) * (p - q)).sum(1).mean()))


def _log_softmax(logits: NDArray[np.float64]) -> NDArray[np.float64]:
    shifted = logits - logits.max(1, keepdims=True)
    logs: NDArray[np.float64] = shifted - np.log(np.exp(shifted).sum(1, keepdims=True))
    return logs


def cosine_distance(reference: NDArray[np.float32], embeddings: NDArray[np.float32]) -> float:
    """Mean of one minus the cosine of two embeddings (n, channels) of each image."""
    one, other = (torch.from_numpy(values) for values in (embeddings, reference))
    return max(0.0, float(distance(one, other, headless=True)))


def neighbours(
    embeddings: NDArray[np.float32], labels: NDArray[np.int64] | None
) -> NDArray[np.int64]:
    """(n,) what embeddings answer: the class of each image's nearest neighbour among the others.

    Args:
        embeddings: (n, channels), of two images or more.
        labels: (n,) the images' classes; None: there are none, and the neighbour's place answers.
    """
    if labels is None:
        return nearest(embeddings)
    found: NDArray[np.int64] = class_similarities(embeddings, labels, int(labels.max()) + 1).argmax(
        1
    )
    return found
