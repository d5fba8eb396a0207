"""Cross-layer equalization: channels inside a block are scaled so that none is far from the rest.

A positive factor passes a ReLU: what one convolution's channel is divided by, the next one's
weights for it are multiplied by, and the network answers as before. Inside a block that is exact;
the residual stream, which many read, is left alone.

Source: Nagel et al., "Data-Free Quantization Through Weight Equalization and Bias Correction",
ICCV 2019, section 4.1. There both sides are ranges of weights; here a weight's output channel has a
step of its own, so that what suffers from an uneven channel is the tensor between: its range is
observed, and evened out against that of the weights that read it, as Xiao et al., "SmoothQuant",
ICML 2023, equation 4 with alpha 0.5, do.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator, Mapping

import torch
from torch import Tensor, nn
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import LEVELS
from edgeresnet.host.parallel.processes import processes

# Channels that are (nearly) never active would else get any factor.
LARGEST_FACTOR = 1024.0


class ChannelMaximum:
    """Observes the largest value of every channel."""

    def __init__(self) -> None:
        self.maximum = torch.zeros(())

    def update(self, x: Tensor) -> None:
        """Take in one batch (N, C, H, W)."""
        self.maximum = torch.maximum(self.maximum.to(x.device), x.detach().amax((0, 2, 3)))

    def together(self) -> ChannelMaximum:
        """Of all processes."""
        whole = ChannelMaximum()
        whole.maximum = processes().largest(self.maximum)
        return whole

    def scale(self, high: int) -> float:
        """Step size that puts the largest of all channels on the largest integer."""
        return float(self.maximum.max()) / high


def _blocks(network: nn.Module) -> Iterator[tuple[str, nn.Module, int]]:
    """Name, block and number of its convolutions; of pruned networks those that are left."""
    for level in LEVELS:
        for i, block in enumerate(getattr(network, level)):
            if isinstance(block, BasicBlock | Bottleneck):
                yield f"{level}.{i}", block, 3 if isinstance(block, Bottleneck) else 2


def inner_quantizers(model: QuantResNet) -> list[str]:
    """Names of the quantizers between two convolutions of a block."""
    names = [n for n, q in model.quantizers().items() if q.kind == "unsigned"]
    return [n for n in names if n.startswith("layer") and ".conv" in n]


def equalized(network: ResNet, ranges: Mapping[str, Tensor]) -> tuple[ResNet, float]:
    """A network that answers the same, of even channels inside its blocks.

    Args:
        network: with its batch normalization; it is not changed.
        ranges: largest value of each channel behind the ReLU, by the name of `inner_quantizers`.

    Returns:
        The network, and the largest factor by which a channel was changed.
    """
    even, largest = copy.deepcopy(network), 1.0
    with torch.no_grad():
        for name, block, depth in _blocks(even):
            for i in range(1, depth):
                bn, reader = getattr(block, f"bn{i}"), getattr(block, f"conv{i + 1}")
                seen = ranges[f"{name}.conv{i}_quant"].to(reader.weight.device)
                factor = _factors(seen, reader.weight)
                bn.weight /= factor
                bn.bias /= factor
                reader.weight *= factor[None, :, None, None]
                largest = max(largest, float(factor.max()), float(1 / factor.min()))
    return even, largest


def _factors(seen: Tensor, weight: Tensor) -> Tensor:
    """What each channel between two convolutions is divided by; 1 in the geometric mean.

    Args:
        seen: (channels,) largest values.
        weight: (out, channels, height, width) of what reads them.
    """
    magnitude = weight.abs().amax((2, 3))
    # Each row has its own step: what counts is a weight's share of its row's largest.
    rows = magnitude.amax(1, keepdim=True)
    read = torch.where(rows > 0, magnitude / rows, rows).amax(0)
    alive = (seen > 0) & (read > 0)
    if not alive.any():
        return torch.ones_like(seen)
    logarithm = torch.where(alive, (seen / read).log() / 2, torch.zeros_like(seen))
    logarithm = torch.where(alive, logarithm - logarithm[alive].mean(), logarithm)
    return logarithm.exp().clamp(1 / LARGEST_FACTOR, LARGEST_FACTOR)
