"""Seven bits for those weights whose 8-bit products a processor could not add.

A kernel adds pairs of products in int16 (`edgeresnet.device.machine.saturation`). Which weights
make a pair is the kernel's: neighbours in the order in which it lays them out. Those that runtimes
have: input channels beside each other at one place of the kernel, at the edge of two places too;
and places beside each other of one input channel. A layer is safe if no pair of neighbours in
either order, wherever pairs begin, can saturate.
"""

from __future__ import annotations

from typing import Any, cast

import numpy as np
import torch
from numpy.typing import NDArray

from edgeresnet.device.machine.saturation import LARGEST_PAIR, saturates_here
from edgeresnet.device.measure.neighbours import nearest
from edgeresnet.errors import InputError
from edgeresnet.host.export.logit_bound import reference_logits
from edgeresnet.host.export.proof_images import proof_images
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.fake_quant import RANGES
from edgeresnet.host.models.quant_resnet import QuantConv, QuantLinear, QuantResNet
from edgeresnet.progress import TaskContext


def largest_pair(integers: NDArray[np.int8]) -> int:
    """The largest sum of the magnitudes of two weights that a kernel may add products of.

    Args:
        integers: (out, in, height, width), or (out, in).
    """
    sizes = np.abs(integers.astype(np.int64))
    orders = [sizes.reshape(len(sizes), -1)]
    if sizes.ndim == 4:
        orders.append(sizes.transpose(0, 2, 3, 1).reshape(len(sizes), -1))
    # One weight alone has its zero padding for a neighbour.
    pairs = [order[:, 1:] + order[:, :-1] for order in orders]
    return max(int(sizes.max(initial=0)), *(int(pair.max(initial=0)) for pair in pairs))


def saturating_layers(model: QuantResNet) -> tuple[str, ...]:
    """The integer layers in which a sum of products could saturate.

    Args:
        model: calibrated and folded.
    """
    return tuple(
        layer
        for layer in model.wiring.layers
        if layer not in model.float_layers
        and largest_pair(_integers(_layer(model, layer))) > LARGEST_PAIR
    )


def _layer(model: QuantResNet, name: str) -> QuantConv | QuantLinear:
    return cast("QuantConv | QuantLinear", model.get_submodule(name))


def _integers(layer: QuantConv | QuantLinear) -> NDArray[np.int8]:
    quantizer = layer.weight_quant
    with torch.no_grad():
        weight = layer.weight.detach().numpy()
        steps = quantizer.step().numpy().reshape(-1, *[1] * (weight.ndim - 1))
    low, high = quantizer.range
    integers: NDArray[Any] = np.clip(np.rint(weight / steps), low, high)
    return integers.astype(np.int8)


def narrow(model: QuantResNet, layers: tuple[str, ...]) -> None:
    """Quantize the weights of these layers to 7 bits between the same ends, in place.

    Args:
        model: whose other layers stay as they are.
        layers: names.
    """
    wider = RANGES["weight"][1] / RANGES["narrow_weight"][1]
    for layer in layers:
        quantizer = _layer(model, layer).weight_quant
        if quantizer.kind == "weight":
            quantizer.kind = "narrow_weight"
            with torch.no_grad():
                quantizer.scale.mul_(wider)


def _classes_of(logits: NDArray[np.float32]) -> NDArray[np.int64]:
    found: NDArray[np.int64] = logits.argmax(1)
    return found


def without_saturation(
    model: QuantResNet, checkpoint: Checkpoint, context: TaskContext, saturating: bool | None
) -> dict[str, Any]:
    """Give weights 7 bits wherever a sum could saturate, in place, if sums do.

    Args:
        model: the checkpoint's network, folded, in eval mode.
        checkpoint: says what images there are to see on what it costs.
        context: its data instead; reporting.
        saturating: whether products saturate where the model is to run; None: as on this machine.

    Returns:
        For the manifest: ``safe`` (no sum can saturate anywhere) and ``narrowed`` (the layers), and
        where there are any ``images``, the ``agreement`` with the network of all bits on them (of
        one without a classifier: on each image's nearest neighbour), and ``top1_change`` (None
        without labels).

    Raises:
        InputError: the model would be right elsewhere only, and so cannot be proven here.
    """
    layers, here = saturating_layers(model), saturates_here()
    if not layers or not (here if saturating is None else saturating):
        if layers and here:
            raise InputError(
                "the bundle would be for processors whose 8-bit products do not saturate; here "
                f"they do, and {len(layers)} layers have such sums ({layers[0]}): it could not be "
                "proven",
                "export it on such a processor (VNNI, AMX, Arm), or give --for-device any.",
            )
        return {"safe": not layers, "narrowed": []}
    context.on_step(f"weights of 7 bits in {len(layers)} layers, whose sums may saturate")
    images, spec = proof_images(checkpoint, context.data), checkpoint.input_spec
    answered = nearest if not checkpoint.classes else _classes_of
    before = answered(reference_logits(model, images.pixels, spec, "int8"))
    narrow(model, layers)
    after = answered(reference_logits(model, images.pixels, spec, "int8"))
    labels, change = images.labels, None
    if labels is not None:
        change = float((after == labels).mean() - (before == labels).mean())
    return {
        "safe": True,
        "narrowed": list(layers),
        "images": len(before),
        "agreement": float((after == before).mean()),
        "top1_change": change,
    }
