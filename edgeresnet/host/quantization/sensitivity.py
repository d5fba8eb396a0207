"""What quantizing each layer costs: when only that layer is quantized, and when all but it are.

*Only it*: the network computes in float; one layer has its weights on their grid, reads its input
from the grid that this has, and rounds its output where a residual add reads that. The signal to
quantization noise ratio is that of the layer's own output; all else is of the logits, without a
classifier of the embeddings, which answer with the nearest neighbour.

*All but it*: the network as it would be exported with that layer in float, which takes those
tensors off their grids that no integers are beside (`edgeresnet.host.models.float_layers`).
"""

from __future__ import annotations

from collections.abc import Callable, Iterable, Iterator
from contextlib import contextmanager
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn

from edgeresnet.device.data.dataset import balanced_subset, batches, is_labelled
from edgeresnet.device.machine.privacy import name_of
from edgeresnet.host.models.fake_quant import FakeQuant
from edgeresnet.host.models.headless import has_head
from edgeresnet.host.models.quant_resnet import QuantConv, QuantLinear, QuantResNet
from edgeresnet.host.models.torch_threads import within_quota
from edgeresnet.host.models.validation import EvaluationSet, evaluate
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.quantization.distances import Cost, cosine_distance, divergence, neighbours
from edgeresnet.host.training.splits import open_splits_for
from edgeresnet.host.training.step import training_device
from edgeresnet.progress import TaskContext, images_progress
from edgeresnet.results.sensitivity import LayerSensitivity, SensitivityResults
from edgeresnet.settings.quantization import USUAL_CALIBRATION_IMAGES, QuantizeOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.host.models.checkpoint import Checkpoint

# Every layer is tried on all of them, twice.
IMAGES = 256
BATCH = 32


@dataclass
class Noise:
    """Squares of a layer's float output, and of how far its quantized one is from that."""

    signal: float = 0.0
    noise: float = 0.0

    def add(self, wanted: Tensor, found: Tensor) -> None:
        """Take in one batch of outputs, of any shape."""
        self.signal += float(wanted.double().square().sum())
        self.noise += float((found.double() - wanted.double()).square().sum())

    @property
    def sqnr_db(self) -> float | None:
        """Signal to quantization noise in decibels; None where there is no noise, or no signal."""
        if not (self.signal and self.noise):
            return None
        return float(10 * np.log10(self.signal / self.noise))


@contextmanager
def mixed_as(model: QuantResNet, float_layers: Iterable[str]) -> Iterator[None]:
    """Compute these layers in float, and those that were before on leaving."""
    before = model.float_layers
    model.keep_in_float(float_layers)
    try:
        yield
    finally:
        model.keep_in_float(before)


@contextmanager
def only_quantized(model: QuantResNet, layer: str) -> Iterator[Noise]:
    """The float network with one layer quantized.

    Args:
        model: calibrated, folded, in eval mode; as it was on leaving.
        layer: its name.

    Yields:
        What quantizing the layer does to its output in the runs within.
    """
    read, handed = _grids_of(model, layer)
    module = cast("QuantConv | QuantLinear", model.get_submodule(layer))
    told = Noise()

    def quantized(_: nn.Module, inputs: tuple[Any, ...], output: Tensor) -> Tensor:
        module.weight_quant.idle = False
        try:
            # Not through the hooks, of which this is one.
            found = module.forward(read.on_grid(inputs[0]))
        finally:
            module.weight_quant.idle = True
        found = found if handed is None else handed.on_grid(found)
        told.add(output, found)
        return found

    with mixed_as(model, model.wiring.layers):
        handle = module.register_forward_hook(quantized)
        try:
            yield told
        finally:
            handle.remove()


def _grids_of(model: QuantResNet, layer: str) -> tuple[FakeQuant, FakeQuant | None]:
    """The grid of a layer's input, and that of its output where an add reads it."""
    grids = model.wiring.grids
    # The last one: behind the average, where the classifier reads.
    read = [grid.quantizer for grid in grids if layer in grid.readers][-1]
    adds = model.wiring.float_adds([layer])
    handed = [g.quantizer for g in grids if g.writer == layer and set(g.readers) <= set(adds)]
    quantizers = model.quantizers()
    return quantizers[read], quantizers[handed[0]] if handed else None


@dataclass(frozen=True, eq=False)
class Study:
    """A quantized network, and the images that its layers are tried on.

    Attributes:
        model: calibrated, folded, on `training_device`; left as it was.
        images: to answer.
        labels: (n,) of them; None: nobody says which answers are right.
        on_images: told how many were answered, after each network.
    """

    model: QuantResNet
    images: EvaluationSet
    labels: NDArray[np.int64] | None = None
    on_images: Callable[[int], object] = lambda images: None

    def logits(self) -> NDArray[np.float32]:
        """(n, classes) float32 of the network as it is; without a classifier (n, channels)."""
        logits = evaluate(self.model, self.images, training_device())
        self.on_images(len(logits))
        return logits

    def float_logits(self) -> NDArray[np.float32]:
        """(n, classes) float32 of the network without its quantizers."""
        with mixed_as(self.model, self.model.wiring.layers):
            return self.logits()

    def alone(self, layer: str) -> tuple[NDArray[np.float32], float | None]:
        """Logits where only this layer is quantized, and the ratio of `Noise.sqnr_db`."""
        with only_quantized(self.model, layer) as noise:
            logits = self.logits()
        return logits, noise.sqnr_db

    def all_but(self, layer: str) -> NDArray[np.float32]:
        """Logits where this layer is float too."""
        with mixed_as(self.model, {*self.model.float_layers, layer}):
            return self.logits()

    @property
    def headless(self) -> bool:
        """Whether what `logits` gives are embeddings."""
        return not has_head(self.model)

    def answers(self, logits: NDArray[np.float32]) -> NDArray[np.int64]:
        """(n,) the classes; of embeddings those of the nearest neighbours, without labels these."""
        if self.headless:
            return neighbours(logits, self.labels)
        found: NDArray[np.int64] = logits.argmax(1)
        return found

    def distance(self, reference: NDArray[np.float32], logits: NDArray[np.float32]) -> float:
        """See `Cost.distance`."""
        return (cosine_distance if self.headless else divergence)(reference, logits)

    def cost(self, reference: NDArray[np.float32], logits: NDArray[np.float32]) -> Cost:
        """Of a network with these logits, against those of `float_logits`."""
        answers, wanted = self.answers(logits), self.answers(reference)
        change = None
        if self.labels is not None:
            right, before = answers == self.labels, wanted == self.labels
            change = float(right.mean() - before.mean())
        same = float((answers == wanted).mean())
        return Cost(self.distance(reference, logits), change, same, self.headless)

    def layers(self, reference: NDArray[np.float32]) -> list[LayerSensitivity]:
        """Every layer, the most sensitive first.

        Args:
            reference: (n, classes) of `float_logits`.
        """
        rows: list[tuple[float, LayerSensitivity]] = []
        for layer in self.model.wiring.layers:
            logits, sqnr_db = self.alone(layer)
            only, rest = self.cost(reference, logits), self.cost(reference, self.all_but(layer))
            row: LayerSensitivity = {
                "name": layer,
                "sqnr_db": sqnr_db,
                "kl_only": only.kl,
                "cosine_only": only.cosine,
                "top1_change_only": only.top1_change,
                "agreement_only": only.agreement,
                "kl_rest": rest.kl,
                "cosine_rest": rest.cosine,
                "top1_change_rest": rest.top1_change,
                "agreement_rest": rest.agreement,
            }
            rows.append((only.distance, row))
        return [row for _, row in sorted(rows, key=lambda one: -one[0])]

    def ranked(self) -> dict[str, float]:
        """`Cost.distance` where only a layer is quantized; the most sensitive first."""
        reference = self.float_logits()
        found = {
            layer: self.distance(reference, self.alone(layer)[0])
            for layer in self.model.wiring.layers
        }
        return dict(sorted(found.items(), key=lambda one: -one[1]))


@within_quota()
def measure_sensitivity(
    checkpoint: Checkpoint, context: TaskContext, options: QuantizeOptions | None = None
) -> SensitivityResults:
    """What quantizing each layer of a network costs, on validation images.

    Args:
        checkpoint: quantized; or float, which is calibrated here as ``ptq`` does it.
        context: data (else what the checkpoint remembers), with labels or without; ``limit``
            images, else `IMAGES`; reporting.
        options: observer, calibration images, bits and seed, for a float checkpoint; None: the
            defaults.

    Raises:
        InputError: data and checkpoint do not fit.
    """
    options = options or QuantizeOptions()
    checkpoint, train_set, val_set = open_splits_for(checkpoint, context, unlabelled=True)
    if context.limit is None and len(val_set) > IMAGES:
        val_set = balanced_subset(val_set, IMAGES, seed=0)
    seen: int | None = None
    model = checkpoint.build()
    if not isinstance(model, QuantResNet):
        wanted = options.calibration_images or USUAL_CALIBRATION_IMAGES
        chosen = balanced_subset(train_set, wanted, options.seed)
        context.on_step(f"calibrating on {len(chosen)} images ({options.observer})")
        model = QuantResNet(cast(Any, model), weight_bits=options.weight_bits)
        seen = calibrate(model, _inputs(chosen, checkpoint), options.observer)
    model.fold()
    layers = len(model.wiring.layers)
    total = len(val_set) * (2 * layers + 2)
    context.on_step(f"quantizing each of {layers} layers alone, on {len(val_set)} images")
    with images_progress("sensitivity", total, enabled=context.progress) as on_images:
        labels = np.asarray(val_set.labels, np.int64) if is_labelled(val_set) else None
        images = EvaluationSet(val_set, checkpoint.input_spec)
        study = Study(model.to(training_device()).eval(), images, labels, on_images)
        reference = study.float_logits()
        whole = study.cost(reference, study.logits())
        rows = study.layers(reference)
    return {
        "images": len(val_set),
        "data": name_of(context.data or checkpoint.data or ""),
        "calibration_images": seen,
        "weight_bits": model.weight_bits,
        "top1_float": (
            None if labels is None else float((study.answers(reference) == labels).mean())
        ),
        "top1_change": whole.top1_change,
        "agreement": whole.agreement,
        "kl": whole.kl,
        "cosine": whole.cosine,
        "layers": rows,
    }


def _inputs(images: Dataset, checkpoint: Checkpoint) -> Iterator[Tensor]:
    for inputs, _ in batches(images, checkpoint.input_spec, BATCH):
        yield torch.from_numpy(inputs)
