"""What a quantized network is held against: the float one's answers on the validation images."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from functools import cache, partial
from itertools import pairwise
from types import MappingProxyType
from typing import TYPE_CHECKING, Any, Literal, cast

import numpy as np
from torch import nn
from torchvision.models import ResNet

from edgeresnet.device.data.dataset import Dataset, is_labelled
from edgeresnet.device.measure.accuracy import chance_line, share_of
from edgeresnet.device.measure.budgets import quantization_budgets
from edgeresnet.device.measure.decisions import plan_of, walk
from edgeresnet.device.measure.doubts import collapse_doubts
from edgeresnet.device.measure.sequential import Drop, Look, WorstDrop, labels_present, order
from edgeresnet.errors import CheckError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.headless import has_head
from edgeresnet.host.models.pixels import fits_in_memory
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.validation import EvaluationSet, evaluate
from edgeresnet.host.training.step import training_device
from edgeresnet.results.measured import Budget

if TYPE_CHECKING:
    from numpy.typing import NDArray

    Answers = NDArray[np.int64]

NO_LIMITS: Mapping[str, float] = MappingProxyType({})
# Figures that there are none of without labels.
OF_LABELS = (
    "top1_float", "top1_int8", "drop", "drop_interval", "lost", "gained", "class_changes",
)  # fmt: skip
NOT_FINITE = {
    "float": "train it again, or check its file.",
    "quantized": "check the checkpoint's weights, or calibrate with --observer percentile.",
}
# Share of the images above which one class among the answers is worth a line.
ONE_CLASS = 0.9


class Reference:
    """The float network and what it answers on the validation images, as many as are needed.

    Budgets of accuracy are looked at after numbers of images that are declared beforehand
    (`edgeresnet.device.measure.sequential`); with several looks the images come in a random order.

    Args:
        checkpoint: float.
        val_set: images for validation.
        limits: of the budgets, by name; none: one look, at all images.
        seed: of the random order.
        all_images: one look, at all images, whatever the limits.

    Attributes:
        model: the network.
        labelled: whether somebody says which answers are right; else there is only agreement.
        classes: their names.
        plan: the looks.
    """

    def __init__(
        self,
        checkpoint: Checkpoint,
        val_set: Dataset,
        *,
        limits: Mapping[str, float],
        seed: int,
        all_images: bool,
    ) -> None:
        self.model = cast(ResNet, checkpoint.build())
        self.labelled, self.classes = is_labelled(val_set), tuple(checkpoint.classes)
        self._limits, n = limits, len(val_set)
        self.plan = plan_of(n, limits, all_images=all_images)
        self._order = order(n, seed) if len(self.plan) > 1 else np.arange(n)
        spec, counts = checkpoint.input_spec, [0, *(look.images for look in self.plan)]
        keep = fits_in_memory(val_set, spec)

        def part(start: int, stop: int) -> EvaluationSet:
            indices = [int(i) for i in self._order[start:stop]]
            return EvaluationSet(val_set.subset(indices), spec, keep=keep, shared=True)

        # The images of each look that the one before has not seen; read when they are needed.
        self._parts = [cache(partial(part, *ends)) for ends in pairwise(counts)]
        self._shown = labels_present(val_set.labels, self.classes) if self.labelled else {}
        self._answers: list[Answers] = []
        self._collapsed: list[str] = []

    @property
    def answers(self) -> Answers:
        """(n,) the float network's classes of all images, in the order of the data."""
        together = self._seen(len(self.plan))
        found = np.empty_like(together)
        found[self._order] = together
        return found

    @property
    def top1(self) -> float | None:
        """Of the images that were needed so far; None without labels."""
        if not self.labelled:
            return None
        count = max(1, len(self._answers))
        return float((self._seen(count) == self._labels(count)).mean())

    def _seen(self, looks: int) -> Answers:
        """The float network's answers to the images of the first looks."""
        while len(self._answers) < looks:
            part = self._parts[len(self._answers)]()
            self._answers.append(self._asked(part))
        return np.concatenate(self._answers[:looks])

    def _asked(self, part: EvaluationSet) -> Answers:
        logits = raw_answers(self.model, part, "float")
        if not self._answers:
            labels = part.labels if self.labelled else None
            self._collapsed = collapse_doubts(logits, labels, self.classes)
        answers: Answers = logits.argmax(1)
        return answers

    def _labels(self, looks: int) -> Answers:
        return np.concatenate([part().labels for part in self._parts[:looks]])

    def figures(self, model: QuantResNet) -> dict[str, Any]:
        """Top-1 of a quantized network, what it lost, and how often it answers as the float one.

        All of as many images as decide the limits: ``images``, of the last of ``looks``.

        Raises:
            CheckError: its logits are not finite.
        """
        logits: list[NDArray[np.float32]] = []

        def see(images: int) -> None:
            logits.append(raw_answers(model, self._parts[len(logits)](), "quantized"))

        def judged(look: Look) -> list[Budget]:
            shown = {"method": "", **self._compared(logits)}
            return quantization_budgets(shown, self._limits, last=False)

        walk(self.plan, see, judged)
        labels = self._labels(len(logits)) if self.labelled else None
        told = collapse_doubts(np.concatenate(logits), labels, self.classes)
        doubts = [f"the quantized network: {line}" for line in told]
        return {**self._compared(logits), "doubts": doubts}

    def _compared(self, logits: Sequence[NDArray[np.float32]]) -> dict[str, Any]:
        """The figures of the images of so many looks."""
        looks = len(logits)
        labels = self._labels(looks) if self.labelled else None
        return {
            **compared(
                np.concatenate(logits).argmax(1), self._seen(looks), labels, self._shown,
                self.plan[looks - 1],
            ),
            "looks": [look.images for look in self.plan],
        }  # fmt: skip

    def doubts(self, *, by_name: bool) -> list[str]:
        """Says that the float network does not do what it was trained for; empty if it may.

        By the images of the first look.

        Args:
            by_name: whether names say which class is which output.
        """
        answers = self._seen(1)
        if self.labelled:
            doubt = chance_line(answers, self._labels(1), len(self.classes), by_name=by_name)
        else:
            doubt = self._one_class(answers)
        return [*self._collapsed, *([doubt] if doubt else [])]

    def _one_class(self, answers: Answers) -> str | None:
        """All that can be told without labels: whoever answers always the same always agrees."""
        classes = self.classes
        counts, n = np.bincount(answers, minlength=len(classes)), len(answers)
        most = int(counts.argmax())
        if counts[most] <= ONE_CLASS * n:
            return None
        return (
            f"the float network gives class {classes[most]} to {counts[most]} of {n} images: "
            "agreement says little there; look at the preprocessing (mean and std, channel order, "
            "size and crop), then at whether these images are of the kind that it was trained on"
        )


def compared(
    answers: Answers,
    own: Answers,
    labels: Answers | None,
    shown: Mapping[int, str],
    look: Look,
) -> dict[str, Any]:
    """What a quantized network lost, and how often it answers as the float one.

    Args:
        answers: (n,) of the quantized network.
        own: (n,) of the float one, to the same images.
        labels: (n,); None where nobody says which answers are right, and nothing is told of top-1.
        shown: the names of the classes that the images show.
        look: at which so many images were seen.
    """
    same = share_of(answers == own, z=look.z)
    told: dict[str, Any] = dict.fromkeys(OF_LABELS)
    if labels is not None:
        # Of the same images, of which the next method may need fewer or more.
        right, others = own == labels, answers == labels
        changes = Drop.of(right, others)
        drop = changes.interval(look.alpha)
        classes = WorstDrop.of(right, others, labels, shown).classes
        told = {
            "top1_float": float(right.mean()),
            "top1_int8": float(others.mean()),
            "drop": drop.value,
            "drop_interval": [drop.low, drop.high],
            "lost": changes.lost,
            "gained": changes.gained,
            "class_changes": {name: [d.n, d.lost, d.gained] for name, d in classes.items()},
        }
    return {
        "images": len(answers),
        "looks": [look.images],
        **told,
        "agreement": same.value,
        "agreement_interval": [same.low, same.high],
    }


def raw_answers(
    model: nn.Module, images: EvaluationSet, whose: Literal["float", "quantized"]
) -> NDArray[np.float32]:
    """(n, classes), without a classifier embeddings; the model is on the CPU again afterwards.

    Raises:
        CheckError: they are not finite.
    """
    device = training_device()
    answers = evaluate(model.to(device), images, device)
    model.cpu()
    if not np.isfinite(answers).all():
        what = "logits" if has_head(model) else "embeddings"
        raise CheckError(f"the {whose} network gives NaN or infinite {what}", NOT_FINITE[whose])
    return answers


def reference_of(
    checkpoint: Checkpoint,
    val_set: Dataset,
    *,
    limits: Mapping[str, float] = NO_LIMITS,
    seed: int = 0,
    all_images: bool = False,
) -> Reference:
    """The float network of a checkpoint, to be asked about validation images; see `Reference`."""
    return Reference(checkpoint, val_set, limits=limits, seed=seed, all_images=all_images)
