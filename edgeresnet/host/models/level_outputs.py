"""What detectors and embeddings take from a ResNet: its levels' tensors, and the pooled one."""

from __future__ import annotations

from typing import TYPE_CHECKING, cast

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeresnet.device.data.preprocess import normalize
from edgeresnet.device.targets.outputs import LOGITS, POOL, Output
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.host.models.headless import has_head
from edgeresnet.host.models.resnet import LEVELS

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

    from edgeresnet.host.models.quant_resnet import QuantResNet
    from edgeresnet.settings.inputs import InputSpec

# As detectors call them: C2 has a stride of 4 behind the usual stem, each further one twice that.
LEVEL_NAMES = dict(zip(("C2", "C3", "C4", "C5"), LEVELS, strict=True))
BATCH = 32


def every_output(model: QuantResNet, x: Tensor) -> dict[str, Tensor]:
    """All that the network can give, in its order.

    A level's tensor is the one that the next level reads: behind the level's last ReLU and the
    quantizer of that. The pooled one is what the classifier reads.

    Args:
        model: in eval mode; its quantizers on or off.
        x: (N, 3, H, W) float32.

    Returns:
        ``C2`` to ``C5`` (N, channels, H', W'), ``pool`` (N, channels), and of a network with a
        classifier ``logits`` (N, classes).
    """
    found: dict[str, Tensor] = {}
    x = model.stem(x)
    for name, level in LEVEL_NAMES.items():
        x = found[name] = getattr(model, level)(x)
    found[POOL] = cast(Tensor, model.pool_quant(F.adaptive_avg_pool2d(x, 1).flatten(1)))
    if has_head(model):
        found[LOGITS] = cast(Tensor, model.fc(found[POOL]))
    return found


def outputs_of(
    model: QuantResNet, image_size: int, features: Sequence[str], *, logits: bool
) -> tuple[Output, ...]:
    """Names, shapes and strides of what a bundle is to give; none of one that gives logits alone.

    Args:
        model: folded, in eval mode.
        image_size: height and width of the input.
        features: names, in the network's order.
        logits: whether the logits are given too; they come first.
    """
    if not features:
        return ()
    with torch.inference_mode():
        found = every_output(model, torch.zeros(1, 3, image_size, image_size))
    shapes = {name: tuple(value.shape[1:]) for name, value in found.items()}
    return tuple(
        Output(name, shapes[name], _stride(image_size, shapes[name]))
        for name in ([LOGITS] if logits else []) + list(features)
    )


def _stride(image_size: int, shape: tuple[int, ...]) -> int | None:
    """Each step of two makes an odd size larger by half a pixel, which the nearest power undoes."""
    return None if len(shape) == 1 else 2 ** round(np.log2(image_size / shape[1]))


def sampled_outputs(
    model: QuantResNet,
    images: NDArray[np.uint8],
    spec: InputSpec,
    precision: str,
    outputs: Sequence[Output],
) -> NDArray[np.float32]:
    """What PyTorch gives, as `edgeresnet.device.bundle.features.SideBySide` has it (n, columns).

    Args:
        model: folded, in eval mode; its quantizers are switched on or off.
        images: (n, H, W, 3) uint8.
        spec: how they become inputs.
        precision: of the bundle.
        outputs: whose values, in this order.
    """
    for quantizer in model.quantizers().values():
        quantizer.enabled = is_quantized(precision)
    parts = []
    with torch.inference_mode():
        for start in range(0, len(images), BATCH):
            inputs = torch.from_numpy(normalize(images[start : start + BATCH], spec))
            found = every_output(model, inputs)
            parts.append(np.concatenate([o.sampled(found[o.name].numpy()) for o in outputs], 1))
    return np.concatenate(parts)


def steps_of(model: QuantResNet, outputs: Sequence[Output]) -> NDArray[np.float32]:
    """(columns,) the step of the grid that each value is on; 0 where it is on none."""
    return np.concatenate([np.full(o.columns, _step(model, o.name), np.float32) for o in outputs])


def _step(model: QuantResNet, name: str) -> float:
    if name == LOGITS:
        return 0.0
    if name == POOL:
        quantizer = model.pool_quant
    else:
        blocks = [b for b in getattr(model, LEVEL_NAMES[name]) if hasattr(b, "output_quant")]
        quantizer = blocks[-1].output_quant
    return 0.0 if quantizer.idle else float(quantizer.step().detach())
