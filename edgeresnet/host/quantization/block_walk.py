"""A network gone through block by block, quantized and float beside each other.

What a block is given is what the quantized blocks before it make, and what it is to give is what
the float ones give.
"""

from __future__ import annotations

from collections.abc import Callable, Iterable
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeresnet.host.models.quant_resnet import QuantBlock, QuantConv, QuantLinear, QuantResNet
from edgeresnet.host.models.resnet import LEVELS

# Of each of the two streams. How many images that is goes by their size: channels' means and
# roundings need some hundred of small images, and tens of large ones.
STREAM_BYTES = 1 << 28


@dataclass(frozen=True, eq=False)
class Unit:
    """A part of the network that is worked on as a whole.

    Attributes:
        name: as ``layer1.0``.
        run: its input to its output, both as the network has them between its parts.
        layers: with weights, in the order in which they run.
    """

    name: str
    run: Callable[[Tensor], Tensor]
    layers: list[QuantConv | QuantLinear]


def units_of(model: QuantResNet) -> list[Unit]:
    """Stem, residual blocks and classifier, one after the other; together the whole network.

    Without a classifier the last block is the last of them: what is behind it has no weights.
    """
    blocks = [
        Unit(f"{level}.{i}", block, [m for m in block.modules() if isinstance(m, QuantConv)])
        for level in LEVELS
        for i, block in enumerate(getattr(model, level))
        if isinstance(block, QuantBlock)
    ]
    head = [Unit("fc", model.head, [model.fc])] if isinstance(model.fc, QuantLinear) else []
    return [Unit("stem", model.stem, [model.conv1]), *blocks, *head]


# Of the unit, the float one beside it, and the inputs of both, batch by batch.
Visit = Callable[[Unit, Unit, list[Tensor], list[Tensor]], object]


def walk(model: QuantResNet, plain: QuantResNet, images: Iterable[Tensor], visit: Visit) -> int:
    """Let ``visit`` change each unit of a network in turn, and go on with what it then gives.

    Args:
        model: calibrated and folded, on the images' device.
        plain: of the same float network; its quantizers are switched off here.
        images: batches (n, 3, H, W) float32; as many are taken as fit into `STREAM_BYTES`.
        visit: changes the first of the two units in place.

    Returns:
        How many images were taken.
    """
    model.eval()
    plain.eval()
    for quantizer in plain.quantizers().values():
        quantizer.enabled = False
    batches = _as_fit(plain, images)
    streams = floats = batches
    for unit, own in zip(units_of(model), units_of(plain), strict=True):
        visit(unit, own, streams, floats)
        with torch.no_grad():
            streams = [unit.run(x) for x in streams]
            floats = [own.run(x) for x in floats]
    return sum(map(len, batches))


def _as_fit(model: QuantResNet, images: Iterable[Tensor]) -> list[Tensor]:
    taken: list[Tensor] = []
    most = None
    for batch in images:
        most = most or max(1, STREAM_BYTES // _largest_bytes(model, batch[:1]))
        room = most - sum(map(len, taken))
        if room <= 0:
            break
        taken.append(batch[:room])
    return taken


def _largest_bytes(model: QuantResNet, image: Tensor) -> int:
    """Of what lies between two units, for one image."""
    largest = 0
    with torch.no_grad():
        for unit in units_of(model):
            largest = max(largest, image.numel() * image.element_size())
            image = unit.run(image)
    return largest
