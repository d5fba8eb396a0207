"""A narrow network some of whose layers stay float."""

from __future__ import annotations

from collections.abc import Iterable
from dataclasses import replace
from typing import Any

import torch

from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths
from edgeresnet.host.quantization.calibrate import calibrate
from tests.small_checkpoints import make_checkpoint

NARROW = Widths(
    16, (16, 16, 32, 32), (((16,), (16,)), ((16,), (16,)), ((32,), (32,)), ((32,), (32,)))
)
# The stem; two in a row, whose tensor between is on no grid; a skip; one among integers; the end.
SOME = (
    "conv1", "layer2.0.conv1", "layer2.0.conv2", "layer3.0.downsample.0", "layer4.0.conv1", "fc",
)  # fmt: skip


def calibrated(
    float_layers: Iterable[str] = SOME,
    stem: str = "imagenet",
    size: int = 32,
    widths: Widths = NARROW,
) -> tuple[Checkpoint, QuantResNet]:
    """Float and quantized, on noise."""
    source = replace(make_checkpoint(stem=stem, size=size, widths=widths), data=None)
    network: Any = source.build()
    # Right on every processor, so that no export narrows them.
    model = QuantResNet(network, weight_bits=7, float_layers=float_layers)
    calibrate(model, [torch.randn(8, 3, size, size)], "ema")
    model.fold()
    return source, model.eval()


def mixed_checkpoint(float_layers: Iterable[str] = SOME) -> Checkpoint:
    """As `edgeresnet quantize` leaves it."""
    source, model = calibrated(float_layers)
    return replace(
        source,
        precision="int8",
        quantization={"weight_bits": 7},
        state_dict=model.state_dict(),
        float_layers=model.float_layers,
    )


def plant_outlier(checkpoint: Checkpoint, factor: float = 64.0) -> Checkpoint:
    """The same function with a channel between layer2.0's convolutions that is so much larger."""
    weights = {name: tensor.clone() for name, tensor in checkpoint.state_dict.items()}
    for part in ("weight", "bias"):
        weights[f"layer2.0.bn1.{part}"][3] *= factor
    weights["layer2.0.conv2.weight"][:, 3] /= factor
    return replace(checkpoint, state_dict=weights)
