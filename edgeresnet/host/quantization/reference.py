"""What a quantized network is held against: the float one's answers on the validation images."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any, cast

import numpy as np
from torchvision.models import ResNet

from edgeresnet.device.data.dataset import Dataset, is_labelled
from edgeresnet.device.measure.accuracy import chance_line, share_of
from edgeresnet.device.measure.doubts import collapse_doubts
from edgeresnet.device.measure.sequential import ALPHA, Drop, WorstDrop, labels_present
from edgeresnet.errors import CheckError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.validation import EvaluationSet, evaluate
from edgeresnet.host.training.step import training_device

# Share of the images above which one class among the answers is worth a line.
ONE_CLASS = 0.9


@dataclass(frozen=True, eq=False)
class Reference:
    """The float network and what it answers on the validation images.

    Attributes:
        model: the network.
        images: for validation.
        answers: (n,) its classes.
        labelled: whether somebody says which answers are right; else there is only agreement.
        classes: their names.
        collapsed: says that all images get one answer, a line each; empty: they do not.
    """

    model: ResNet
    images: EvaluationSet
    answers: np.ndarray[Any, np.dtype[np.int64]]
    labelled: bool
    classes: tuple[str, ...] = ()
    collapsed: tuple[str, ...] = ()

    @property
    def top1(self) -> float | None:
        """None without labels."""
        if not self.labelled:
            return None
        return float((self.answers == self.images.labels).mean())

    def figures(self, model: QuantResNet) -> dict[str, Any]:
        """Top-1 of a quantized network, what it lost, and how often it answers as the float one.

        Raises:
            CheckError: its logits are not finite.
        """
        device = training_device()
        logits = evaluate(model.to(device), self.images, device)
        model.cpu()
        if not np.isfinite(logits).all():
            raise CheckError(
                "the quantized network gives NaN or infinite logits",
                "check the checkpoint's weights, or calibrate with --observer percentile.",
            )
        answers = logits.argmax(1)
        same = share_of(answers == self.answers)
        labels = self.images.labels if self.labelled else None
        told = collapse_doubts(logits, labels, self.classes)
        return {
            "images": len(answers),
            **self._accuracy(answers),
            "agreement": same.value,
            "agreement_interval": [same.low, same.high],
            "doubts": [f"the quantized network: {line}" for line in told],
        }

    def _accuracy(self, answers: np.ndarray[Any, np.dtype[np.int64]]) -> dict[str, Any]:
        if not self.labelled:
            keys = ("top1_int8", "drop", "drop_interval", "lost", "gained", "class_changes")
            return dict.fromkeys(keys)
        labels = self.images.labels
        right, others = self.answers == labels, answers == labels
        changes = Drop.of(right, others)
        drop = changes.interval(ALPHA)
        classes = WorstDrop.of(right, others, labels, labels_present(labels, self.classes)).classes
        return {
            "top1_int8": float(others.mean()),
            "drop": drop.value,
            "drop_interval": [drop.low, drop.high],
            "lost": changes.lost,
            "gained": changes.gained,
            "class_changes": {name: [d.n, d.lost, d.gained] for name, d in classes.items()},
        }

    def doubts(self, *, by_name: bool) -> list[str]:
        """Says that the float network does not do what it was trained for; empty if it may.

        Args:
            by_name: whether names say which class is which output.
        """
        if self.labelled:
            labels, count = self.images.labels, len(self.classes)
            doubt = chance_line(self.answers, labels, count, by_name=by_name)
        else:
            doubt = self._one_class()
        return [*self.collapsed, *([doubt] if doubt else [])]

    def _one_class(self) -> str | None:
        """All that can be told without labels: whoever answers always the same always agrees."""
        classes = self.classes
        counts, n = np.bincount(self.answers, minlength=len(classes)), len(self.answers)
        most = int(counts.argmax())
        if counts[most] <= ONE_CLASS * n:
            return None
        return (
            f"the float network gives class {classes[most]} to {counts[most]} of {n} images: "
            "agreement says little there; look at the preprocessing (mean and std, channel order, "
            "size and crop), then at whether these images are of the kind that it was trained on"
        )


def reference_of(checkpoint: Checkpoint, val_set: Dataset) -> Reference:
    """The float network of a checkpoint, asked.

    Raises:
        CheckError: its logits are not finite.
    """
    device = training_device()
    model = cast(ResNet, checkpoint.build())
    images = EvaluationSet(val_set, checkpoint.input_spec)
    logits = evaluate(model.to(device), images, device)
    model.cpu()
    if not np.isfinite(logits).all():
        raise CheckError(
            "the float network gives NaN or infinite logits", "train it again, or check its file."
        )
    labelled, classes = is_labelled(val_set), tuple(checkpoint.classes)
    collapsed = collapse_doubts(logits, images.labels if labelled else None, classes)
    return Reference(model, images, logits.argmax(1), labelled, classes, tuple(collapsed))
