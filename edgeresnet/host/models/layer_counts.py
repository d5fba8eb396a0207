"""What each layer of a ResNet costs: multiply-accumulates and parameters."""

from __future__ import annotations

import functools
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn

from edgeresnet.host.models.resnet import norm_name


@dataclass(frozen=True)
class LayerInfo:
    """What one layer costs for one image."""

    name: str
    op: str
    out_channels: int
    macs: int
    parameters: int


def count_layers(model: nn.Module, image_size: int) -> list[LayerInfo]:
    """Multiply-accumulates and parameters of every convolution and classifier, exactly.

    Args:
        model: a ResNet or its quantized form; runs once, in eval mode, on one zero image.
        image_size: height and width in pixels.

    Returns:
        One entry a layer, in the order of execution. What its normalization has counts with it:
        two parameters a channel apart, or the one bias that folding leaves.
    """
    layers: list[LayerInfo] = []
    modules = dict(model.named_modules())

    def count(name: str, module: nn.Module, inputs: Any, output: Tensor) -> None:
        weight, bias = cast(Tensor, module.weight), getattr(module, "bias", None)
        parameters = weight.numel() + (0 if bias is None else bias.numel())
        parameters += sum(p.numel() for norm in norms_of(name) for p in norm.parameters())
        pixels = output[0, 0].numel() if output.ndim == 4 else 1
        op = "Conv" if weight.ndim == 4 else "Gemm"
        layers.append(LayerInfo(name, op, weight.shape[0], weight.numel() * pixels, parameters))

    def norms_of(name: str) -> list[nn.Module]:
        """The normalization behind a convolution, or inside one in training."""
        near = (modules.get(norm_name(name)), modules.get(f"{name}.bn"))
        return [module for module in near if isinstance(module, nn.BatchNorm2d)]

    handles = [
        module.register_forward_hook(functools.partial(count, name))
        for name, module in model.named_modules()
        if getattr(getattr(module, "weight", None), "ndim", 0) in (2, 4)
    ]
    was_training = model.training
    device = next(model.parameters()).device
    try:
        with torch.inference_mode():
            model.eval()(torch.zeros(1, 3, image_size, image_size, device=device))
    finally:
        model.train(was_training)
        for handle in handles:
            handle.remove()
    return layers
