"""Calibration: one pass over real images gives every quantizer its first step size."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Mapping
from contextlib import contextmanager

import torch
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.fake_quant import FakeQuant, Observer
from edgeresnet.host.models.quant_resnet import QuantConv, QuantLinear, QuantResNet
from edgeresnet.host.parallel.processes import processes
from edgeresnet.host.quantization.observers import make_observer, weight_scales
from edgeresnet.settings.quantization import ObserverName

# Twice the images that move no step size by a larger share than this would not either.
SETTLED = 0.05


def calibrate(
    model: QuantResNet,
    images: Iterable[Tensor],
    observer: ObserverName,
    *,
    shared: bool = False,
) -> int:
    """Set the step size of every quantizer of ``model``, in place.

    Memory does not grow with the number of images.

    Args:
        model: freshly made, or calibrated before.
        images: batches (N, 3, H, W) float32, normalized, on the model's device.
        observer: what makes a step size of the observed values.
        shared: of several processes, which all call this, each has its own batches, by turns.

    Returns:
        How many images were seen, by all processes together.

    Raises:
        InputError: there was no image.
    """
    watching = {q: make_observer(observer) for q in _activations(model)}
    set_weight_scales(model, observer)
    with observing(model, watching):
        seen = run_all(model, images)
    if shared:
        seen = int(processes().total(torch.tensor(seen)))
        watching = {quantizer: watched.together() for quantizer, watched in watching.items()}
    if seen == 0:
        raise InputError("calibration saw no image", "give --data at least one image.")
    with torch.no_grad():
        for quantizer, watched in watching.items():
            quantizer.scale.fill_(watched.scale(quantizer.range[1]))
    return seen


def images_until_settled(
    model: QuantResNet, parts: Iterable[Iterable[Tensor]], observer: ObserverName
) -> int:
    """How many images it takes until no step size of ``model`` moves any more.

    Args:
        model: left as it is.
        parts: batches as `calibrate` has them; each part as many images as all before together.
        observer: of `calibrate`.

    Returns:
        All images of the part by which no step size moved by more than `SETTLED`, and of those
        before it; of all parts, where that did not happen.
    """
    watching = {q: make_observer(observer) for q in _activations(model)}
    seen, before = 0, None
    for part in parts:
        with observing(model, watching):
            seen += run_all(model, part)
        scales = torch.tensor([w.scale(q.range[1]) for q, w in watching.items()])
        if before is not None and ((scales - before).abs() <= SETTLED * before).all():
            break
        before = scales
    return seen


@contextmanager
def observing(model: QuantResNet, watching: Mapping[FakeQuant, Observer]) -> Iterator[None]:
    """The float network runs, so that no quantizer's error reaches another's range."""
    was_training = model.training
    enabled = {quantizer: quantizer.enabled for quantizer in model.quantizers().values()}
    model.eval()
    try:
        for quantizer in enabled:
            quantizer.enabled = False
            quantizer.observer = watching.get(quantizer)
        yield
    finally:
        for quantizer, was in enabled.items():
            quantizer.enabled, quantizer.observer = was, None
        model.train(was_training)


def _activations(model: QuantResNet) -> list[FakeQuant]:
    return [q for q in model.quantizers().values() if q.kind in ("signed", "unsigned")]


def run_all(model: QuantResNet, images: Iterable[Tensor]) -> int:
    """Show a network images, whatever it answers; returns how many there were."""
    seen = 0
    with torch.inference_mode():
        for batch in images:
            model(batch)
            seen += len(batch)
    return seen


def set_weight_scales(model: QuantResNet, observer: ObserverName) -> None:
    """Set the step size of every output channel of every weight of ``model``, in place."""
    with torch.no_grad():
        for module in model.modules():
            if isinstance(module, QuantConv):
                weight = module.folded_weight()
            elif isinstance(module, QuantLinear):
                weight = module.weight
            else:
                continue
            quantizer = module.weight_quant
            quantizer.scale.copy_(weight_scales(weight, observer, quantizer.range[1]))
