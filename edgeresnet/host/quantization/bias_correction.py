"""Biases that give every channel the mean that it has in the float network.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
ICCV 2019, section 4.2; the means are measured on calibration images (their appendix D), one layer
after the other, so that each makes up for those before it too.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any

import torch
from torch import Tensor, nn

from edgeresnet.host.quantization.block_walk import Unit


def correct_biases(
    unit: Unit, plain: Unit, inputs: list[Tensor], plain_inputs: list[Tensor]
) -> None:
    """Change the biases of a unit's layers in place; see `edgeresnet.host.quantization.block_walk`.

    Afterwards the mean of each channel in front of the activation is the float network's, on the
    same images.
    """
    wanted = channel_means(plain.run, plain.layers, plain_inputs)
    for layer, mean in zip(unit.layers, wanted, strict=True):
        (found,) = channel_means(unit.run, [layer], inputs)
        assert layer.bias is not None
        with torch.no_grad():
            layer.bias.add_((mean - found).to(layer.bias.dtype))


def channel_means(
    run: Callable[[Tensor], Tensor], layers: Sequence[nn.Module], batches: Sequence[Tensor]
) -> list[Tensor]:
    """Mean of each output channel of each layer over all images and places; (channels,) float64.

    Args:
        run: what the layers are in.
        layers: convolutions or classifiers.
        batches: what ``run`` is given.
    """
    sums: list[Any] = [0.0] * len(layers)
    counts = [0] * len(layers)

    def hook(place: int) -> Callable[[nn.Module, Any, Tensor], None]:
        def add(_: nn.Module, __: Any, output: Tensor) -> None:
            others = [d for d in range(output.ndim) if d != 1]
            sums[place] = sums[place] + output.double().sum(others)
            counts[place] += output.numel() // output.shape[1]

        return add

    handles = [layer.register_forward_hook(hook(i)) for i, layer in enumerate(layers)]
    try:
        with torch.no_grad():
            for batch in batches:
                run(batch)
    finally:
        for handle in handles:
            handle.remove()
    return [total / count for total, count in zip(sums, counts, strict=True)]
