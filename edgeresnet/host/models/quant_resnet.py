"""A ResNet whose every convolution, residual add and classifier is ready for integer kernels.

Names are torchvision's (``layer1.0.conv1.weight``), with the quantizers beside them
(``layer1.0.conv1_quant.scale``), so a layer is called the same from checkpoint to profile.

Where the quantizers stand, in one block::

    x ─ conv1 ─ relu ─ Q ─ conv2 ─ Q ─┐
    └─────────── downsample ─ Q ──────┴ add ─ relu ─ Q

Both tensors that meet in the add are on a grid: without the one behind ``conv2`` a runtime
computes that convolution's output, and the add, in float.
"""

from __future__ import annotations

import copy
from collections.abc import Iterable
from typing import cast

import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torch.nn.utils.fusion import fuse_conv_bn_weights
from torchvision.models import ResNet
from torchvision.models.resnet import BasicBlock, Bottleneck

from edgeresnet.host.models.fake_quant import (
    FEWEST_BITS_AT_THE_ENDS,
    WEIGHTS,
    FakeQuant,
    Kind,
)
from edgeresnet.host.models.float_layers import BlockShape, Wiring
from edgeresnet.host.models.resnet import LEVELS

# Unscaling divides by gamma / sigma; a channel that training has switched off has 0 there.
SMALLEST_FACTOR = 1e-6


class QuantConv(nn.Module):
    """A convolution with its batch normalization inside and its weights on the int8 grid.

    Folded (``bn`` None): weight and bias hold the product of both. Live: the folded weight is
    quantized, the output is unscaled and normalized with the batch's own statistics.

    Source of the live form: Krishnamoorthi, "Quantizing deep convolutional networks for
    efficient inference", 2018, section 3.2.2.
    """

    def __init__(
        self, conv: nn.Conv2d, bn: nn.BatchNorm2d, weights: Kind, *, live: bool = False
    ) -> None:
        super().__init__()
        self.stride, self.padding = conv.stride, conv.padding
        self.frozen = False
        self.bn: nn.BatchNorm2d | None = bn
        self.weight = nn.Parameter(conv.weight.detach().clone())
        self.bias: nn.Parameter | None = None
        self.weight_quant = FakeQuant(weights, conv.out_channels)
        if not live:
            self.fold()

    def fold(self) -> None:
        """Put the batch normalization's running statistics into weight and bias, for good."""
        bn = self.bn
        if bn is None:
            return
        assert bn.running_mean is not None
        assert bn.running_var is not None
        self.weight, self.bias = fuse_conv_bn_weights(
            self.weight, None, bn.running_mean, bn.running_var, bn.eps, bn.weight, bn.bias
        )
        self.bn = None

    def folded_weight(self) -> Tensor:
        """(out, in, height, width) float32, with the normalization's factor in it."""
        if self.bn is None:
            return self.weight
        return self.weight * _factor(self.bn)[:, None, None, None]

    def forward(self, x: Tensor) -> Tensor:
        """(N, in, H, W) to (N, out, H', W')."""
        bn = self.bn
        if bn is None:
            weight = self.weight_quant(self.weight)
            return F.conv2d(x, weight, self.bias, self.stride, self.padding)
        factor = _factor(bn)
        if self.training and not self.frozen:
            # On the weights: the output, which is what is to be unscaled, is mostly larger.
            unscaled = self.weight_quant.of_product(self.weight, factor, unscaled=True)
            normalized: Tensor = bn(F.conv2d(x, unscaled, None, self.stride, self.padding))
            return normalized
        if self.training:
            weight = self.weight_quant.of_product(self.weight, factor)
        else:
            # In the order in which `fold` does it, so that the logits stay the same.
            weight = self.weight_quant(self.folded_weight())
        assert bn.running_mean is not None
        bias = bn.bias - bn.running_mean * factor
        return F.conv2d(x, weight, bias, self.stride, self.padding)


def _factor(bn: nn.BatchNorm2d) -> Tensor:
    assert bn.running_var is not None
    factor = bn.weight * torch.rsqrt(bn.running_var + bn.eps)
    tiny = torch.full_like(factor, SMALLEST_FACTOR)
    return torch.where(factor.abs() < SMALLEST_FACTOR, tiny, factor)


class QuantLinear(nn.Module):
    """The classifier, with its weights on the int8 grid for each class."""

    def __init__(self, linear: nn.Linear, weights: Kind) -> None:
        super().__init__()
        self.weight = nn.Parameter(linear.weight.detach().clone())
        self.bias = nn.Parameter(linear.bias.detach().clone())
        self.weight_quant = FakeQuant(weights, linear.out_features)

    def forward(self, x: Tensor) -> Tensor:
        """(N, in) to (N, classes)."""
        return F.linear(x, self.weight_quant(self.weight), self.bias)


class QuantBlock(nn.Module):
    """A basic or bottleneck block with both branches of its add on a grid."""

    def __init__(
        self, block: BasicBlock | Bottleneck, weights: Kind, *, live: bool = False
    ) -> None:
        super().__init__()
        self.depth = 3 if isinstance(block, Bottleneck) else 2
        for i in range(1, self.depth + 1):
            conv, bn = getattr(block, f"conv{i}"), getattr(block, f"bn{i}")
            self.add_module(f"conv{i}", QuantConv(conv, bn, weights, live=live))
            last = i == self.depth
            self.add_module(f"conv{i}_quant", FakeQuant("signed" if last else "unsigned"))
        self.downsample: nn.Sequential | None = None
        if block.downsample is not None:
            conv, bn = block.downsample[0], block.downsample[1]
            self.downsample = nn.Sequential(QuantConv(conv, bn, weights, live=live))
            self.downsample_quant = FakeQuant("signed")
        self.output_quant = FakeQuant("unsigned")

    def forward(self, x: Tensor) -> Tensor:
        """(N, stream, H, W) to (N, stream', H', W'), both on an unsigned grid."""
        branch = x
        for i in range(1, self.depth + 1):
            branch = getattr(self, f"conv{i}")(branch)
            quantizer = getattr(self, f"conv{i}_quant")
            branch = quantizer.after_relu(branch) if i < self.depth else quantizer(branch)
        if self.downsample is not None:
            x = self.downsample_quant(self.downsample(x))
        return self.output_quant.after_relu(branch + x)


class QuantResNet(nn.Module):
    """A torchvision ResNet on the canonical int8 grid, first and last layer included.

    Args:
        float_model: the trained network; it is not changed and shares no memory.
        live_bn: keep batch normalization running during QAT; `fold` ends that.
        weight_bits: 4 to 8. Up to 7 are right on every processor; for 8 its 8-bit products must
            not saturate. The first convolution and the classifier have 7 or more.
        float_layers: see `keep_in_float`.
    """

    def __init__(
        self,
        float_model: ResNet,
        *,
        live_bn: bool = False,
        weight_bits: int = 8,
        float_layers: Iterable[str] = (),
    ) -> None:
        super().__init__()
        self.weight_bits = weight_bits
        weights = WEIGHTS[weight_bits]
        ends = WEIGHTS[max(weight_bits, FEWEST_BITS_AT_THE_ENDS)]
        own = copy.deepcopy(float_model)
        self.input_quant = FakeQuant("signed")
        # It stays as it was calibrated: to learn it takes the gradient of the images, and with it
        # the first convolution's costly backward pass to three channels.
        self.input_quant.scale.requires_grad_(False)
        self.conv1 = QuantConv(own.conv1, own.bn1, ends, live=live_bn)
        self.conv1_quant = FakeQuant("unsigned")
        self.maxpool = own.maxpool
        for name in LEVELS:
            # Pruning leaves an identity in the place of a block that it removes.
            blocks = (
                block
                if isinstance(block, nn.Identity)
                else QuantBlock(block, weights, live=live_bn)
                for block in getattr(own, name)
            )
            self.add_module(name, nn.Sequential(*blocks))
        self.pool_quant = FakeQuant("unsigned")
        # Without a classifier an identity stands in its place, as in the float network.
        self.fc: nn.Module = (
            own.fc if isinstance(own.fc, nn.Identity) else QuantLinear(own.fc, ends)
        )
        self.float_layers: tuple[str, ...] = ()
        self.wide_layers: tuple[str, ...] = ()
        self.keep_in_float(float_layers)

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) float32 to logits (N, classes), else the embedding (N, channels)."""
        x = self.stem(x)
        for name in LEVELS:
            x = getattr(self, name)(x)
        return self.head(x)

    def stem(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to what the first level takes, (N, stem, H', W')."""
        x = self.conv1_quant.after_relu(self.conv1(self.input_quant(x)))
        return cast(Tensor, self.maxpool(x))

    def head(self, x: Tensor) -> Tensor:
        """What the last level gives, (N, stream, H', W'), to logits (N, classes)."""
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return cast(Tensor, self.fc(self.pool_quant(x)))

    def convolutions(self) -> list[QuantConv]:
        """Every convolution, in the order of definition."""
        return [m for m in self.modules() if isinstance(m, QuantConv)]

    def quantizers(self) -> dict[str, FakeQuant]:
        """Every quantizer by its name, weights' and activations'."""
        return {n: m for n, m in self.named_modules() if isinstance(m, FakeQuant)}

    @property
    def wiring(self) -> Wiring:
        """Its layers and the tensors between them, by name."""
        return Wiring(
            tuple(
                BlockShape(name, block.depth, block.downsample is not None)
                for name, block in self.named_modules()
                if isinstance(block, QuantBlock)
            ),
            isinstance(self.fc, QuantLinear),
        )

    @property
    def computed_in_float(self) -> frozenset[str]:
        """The layers that stay float, and the adds that are float with them."""
        return frozenset([*self.float_layers, *self.wiring.float_adds(self.float_layers)])

    @property
    def computed_wide(self) -> frozenset[str]:
        """The layers of `in_sixteen_bits`, and the adds that have 16 bits with them."""
        return frozenset([*self.wide_layers, *self.wiring.float_adds(self.wide_layers)])

    def keep_in_float(self, layers: Iterable[str]) -> None:
        """Compute these layers, and no others, in float.

        Args:
            layers: convolutions (``layer2.0.conv1``) and ``fc``. `Wiring.off` says which
                quantizers are off with them; all of them keep their step sizes.

        Raises:
            InputError: one of them is no layer of this network.
        """
        wiring = self.wiring
        self.float_layers, self.wide_layers = wiring.in_order(layers), ()
        off = wiring.off(self.float_layers)
        for name, quantizer in self.quantizers().items():
            quantizer.idle, quantizer.wide = name in off, False

    def in_sixteen_bits(self) -> None:
        """Compute the layers that stay float in integers, between activations of 16 bits.

        For a target without float layers among integer ones: the tensors that would be on no grid
        are on one of 16 bits, and the layers' weights on theirs of 8.
        """
        layers = self.float_layers
        off = self.wiring.off(layers)
        self.keep_in_float(())
        self.wide_layers = layers
        for name, quantizer in self.quantizers().items():
            quantizer.wide = name in off and quantizer.axis < 0

    def freeze_bn(self) -> None:
        """From here on normalize with the running statistics, in training too."""
        for conv in self.convolutions():
            conv.frozen = True

    def fold(self) -> None:
        """Put every batch normalization into its convolution; the logits stay the same."""
        for conv in self.convolutions():
            conv.fold()
        for quantizer in self.quantizers().values():
            quantizer.settle()
