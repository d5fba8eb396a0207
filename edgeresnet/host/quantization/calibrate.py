"""Calibration: one pass over real images gives every quantizer its first step size."""

from __future__ import annotations

from collections.abc import Iterable

import torch
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.quant_resnet import QuantConv, QuantLinear, QuantResNet
from edgeresnet.host.quantization.observers import make_observer, weight_scales
from edgeresnet.settings.quantization import ObserverName


def calibrate(model: QuantResNet, images: Iterable[Tensor], observer: ObserverName) -> int:
    """Set the step size of every quantizer of ``model``, in place.

    Memory does not grow with the number of images.

    Args:
        model: freshly made, or calibrated before.
        images: batches (N, 3, H, W) float32, normalized, on the model's device.
        observer: what makes a step size of the observed values.

    Returns:
        How many images were seen.

    Raises:
        InputError: there was no image.
    """
    activations = [q for q in model.quantizers().values() if q.kind in ("signed", "unsigned")]
    for quantizer in activations:
        quantizer.observer = make_observer(observer)
    set_weight_scales(model, observer)
    seen = _observe(model, images)
    if seen == 0:
        raise InputError("calibration saw no image", "give --data at least one image.")
    with torch.no_grad():
        for quantizer in activations:
            assert quantizer.observer is not None
            quantizer.scale.fill_(quantizer.observer.scale(quantizer.range[1]))
            quantizer.observer = None
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


def _observe(model: QuantResNet, images: Iterable[Tensor]) -> int:
    """Run the float network, so that no quantizer's error reaches another's range."""
    was_training = model.training
    quantizers = model.quantizers().values()
    model.eval()
    for quantizer in quantizers:
        quantizer.enabled = False
    seen = 0
    try:
        with torch.inference_mode():
            for batch in images:
                model(batch)
                seen += len(batch)
    finally:
        for quantizer in quantizers:
            quantizer.enabled = True
        model.train(was_training)
    return seen
