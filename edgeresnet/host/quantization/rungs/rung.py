"""What a rung of the ladder is: a way to quantize, on what the rungs before it have found."""

from __future__ import annotations

from collections.abc import Callable, Iterator
from dataclasses import dataclass, replace
from functools import cached_property
from typing import Any

import torch
from torch import Tensor
from torchvision.models import ResNet

from edgeresnet.device.data.dataset import Dataset, batches
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.parallel.processes import own_places, processes
from edgeresnet.host.quantization.calibrate import calibrate, images_until_settled
from edgeresnet.host.quantization.calibration_images import CalibrationImages
from edgeresnet.host.quantization.distances import distance
from edgeresnet.host.quantization.embedding_reference import EmbeddingReference
from edgeresnet.host.quantization.reference import Reference
from edgeresnet.host.training.step import training_device
from edgeresnet.progress import TaskContext
from edgeresnet.settings.quantization import ObserverName, QuantizeOptions

CALIBRATION_BATCH = 32


@dataclass(frozen=True, eq=False)
class Basis:
    """What a rung begins with, and leaves to those after it.

    Attributes:
        network: float, answers as the one that is quantized; never changed.
        observer: what makes step sizes.
        corrected: whether biases are corrected after calibration.
    """

    network: ResNet
    observer: ObserverName
    corrected: bool = False


@dataclass(frozen=True, eq=False)
class Work:
    """One quantization under way.

    Attributes:
        checkpoint: float.
        reference: the float network and its answers on the validation images, which judge a rung
            and which no rung sees.
        train_set: what a training learns from.
        val_set: the validation images.
        options: all settings.
        context: how the work reports and goes on.
        images: what calibrates.
    """

    checkpoint: Checkpoint
    reference: Reference | EmbeddingReference
    train_set: Dataset
    val_set: Dataset
    options: QuantizeOptions
    context: TaskContext
    images: CalibrationImages

    @property
    def headless(self) -> bool:
        """Whether the network has no classifier, and answers with embeddings."""
        return not self.checkpoint.classes

    @property
    def start(self) -> Basis:
        """What the first rung begins with, and one that is asked for by name."""
        return Basis(self.reference.model, self.options.observer)

    @property
    def looked_at(self) -> Dataset:
        """The training images that a rung without training looks at."""
        return self.images.chosen if self.options.method == "ptq" else self.images.all

    def batches_of(self, dataset: Dataset, *, shared: bool = False) -> Iterator[Tensor]:
        """(n, 3, H, W) float32, normalized, on the training's device.

        Args:
            dataset: is read in order.
            shared: of several processes each reads its own batches, by turns.
        """
        device, group = training_device(), processes()
        if shared and group.count > 1:
            dataset = dataset.subset(own_places(len(dataset), CALIBRATION_BATCH, of=group))
        for inputs, _ in batches(dataset, self.checkpoint.input_spec, CALIBRATION_BATCH):
            yield torch.from_numpy(inputs).to(device)

    def fresh(self, network: ResNet, *, live: bool = False) -> QuantResNet:
        """A float network made ready for quantization, on the training's device."""
        options = self.options
        model = QuantResNet(
            network,
            live_bn=live,
            weight_bits=options.weight_bits,
            float_layers=options.float_layers or (),
        )
        return model.to(training_device())

    def calibrated(
        self, basis: Basis, images: Dataset | None = None, *, live: bool = False
    ) -> QuantResNet:
        """The network with step sizes; on the training's device.

        Args:
            basis: its network and observer.
            images: None: all that calibrate.
            live: leave batch normalization in it.
        """
        model = self.fresh(basis.network, live=live)
        batches = self.batches_of(images or self.images.chosen, shared=True)
        calibrate(model, batches, basis.observer, shared=True)
        return model

    def with_settled_images(self) -> Work:
        """The same with as many calibration images as it takes until step sizes settle."""
        model = self.fresh(self.start.network)
        parts = map(self.batches_of, self.images.parts())
        count = processes().by_first(
            lambda: images_until_settled(model, parts, self.options.observer)
        )
        return replace(self, images=replace(self.images, count=count))

    @cached_property
    def _float_answers(self) -> list[Tensor]:
        model = self.reference.model.to(training_device()).eval()
        with torch.inference_mode():
            answers = [model(images) for images in self.batches_of(self.images.held_out)]
        self.reference.model.cpu()
        return answers

    def distance(self, model: QuantResNet) -> float:
        """How far a network's answers are from the float one's, on images held out of calibration.

        Returns:
            KL divergence of the classes' probabilities, the mean of all images, in nats; of
            embeddings one minus the cosine.
        """
        model = model.to(training_device()).eval()
        total = count = 0.0
        with torch.inference_mode():
            held_out = self.batches_of(self.images.held_out)
            for wanted, images in zip(self._float_answers, held_out, strict=True):
                found = distance(model(images), wanted, headless=self.headless)
                total += float(found) * len(images)
                count += len(images)
        model.cpu()
        # The next decision hangs on it.
        return processes().by_first(lambda: total / count)


@dataclass(frozen=True, eq=False)
class Reached:
    """What a rung came to.

    Attributes:
        model: folded, on the CPU.
        basis: of the rungs after it, where this one is the nearest to the float network so far.
        details: what it has to tell of itself, for its row.
    """

    model: QuantResNet
    basis: Basis
    details: dict[str, Any]


Rung = Callable[[Work, Basis], Reached]


def finished(model: QuantResNet, basis: Basis, **details: Any) -> Reached:
    """A rung's result: normalization folded in, and on the CPU."""
    model.fold()
    return Reached(model.cpu().eval(), basis, details)
