"""How much memory a training takes, reckoned without training: nothing is allocated for it."""

from __future__ import annotations

from typing import cast

import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from edgeresnet.host.models.pixels import resident_bytes
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.training.augment import policy_of
from edgeresnet.settings.training import TrainOptions

FLOAT_BYTES = 4
# Of what is kept beside the weights: the gradient, and the optimizer's moments.
MOMENTS = {"sgd": 1, "adamw": 2}


def training_bytes(
    network: ResNet,
    options: TrainOptions,
    image_size: int,
    *,
    quantized: bool = False,
    processes: int = 1,
) -> int:
    """Bytes that one training needs on the device that trains, beside the program and the images.

    Weights, gradients, the optimizer's moments, the moving average and the teacher, and what the
    forward pass of a batch, or of a part of it that is computed at a time, leaves for the backward
    pass: counted tensor by tensor as autograd keeps them, of a network without memory (PyTorch's
    meta device). A reduced precision halves that. The
    backward pass has two more of the largest tensor at a time.

    Args:
        network: float, on the meta device; put into training mode.
        options: of the training.
        image_size: height and width in pixels.
        quantized: fake-quantized, with batch normalization that runs on.
        processes: that share a batch; the bytes are those of each.
    """
    student: nn.Module = network
    if quantized:
        with torch.device("meta"):
            student = QuantResNet(network, live_bn=True)
    weights: int = sum(p.numel() for p in network.parameters()) * FLOAT_BYTES
    copies = 2 + MOMENTS[options.optimizer] + (options.ema > 0) + (options.distill > 0)
    at_once = -(-options.batch_size // (options.accumulate * processes))
    shape = (at_once, 3, image_size, image_size)
    kept = _kept_for_backward(student.train(), torch.empty(shape, device="meta"))
    activations = sum(kept) + 2 * max(kept, default=0)
    return copies * weights + activations // (1 if options.precision == "fp32" else 2)


def images_bytes(images: int, options: TrainOptions, image_size: int) -> int:
    """Bytes of the training images that stay decoded; 0 where worker processes stream them."""
    if policy_of(options.augment, image_size).photo:
        return 0
    return resident_bytes(images, image_size) or 0


def _kept_for_backward(network: nn.Module, images: Tensor) -> list[int]:
    """Bytes of each tensor that autograd keeps of a forward pass, each storage once."""
    own = [*network.parameters(), *network.buffers()]
    known = {_storage(tensor) for tensor in own}
    # Held, so that no storage's number is given to another one.
    kept: dict[int, Tensor] = {}

    def pack(tensor: Tensor) -> Tensor:
        if _storage(tensor) not in known:
            kept[_storage(tensor)] = tensor
        return tensor

    with torch.autograd.graph.saved_tensors_hooks(pack, lambda tensor: tensor):
        network(images)
    return [tensor.untyped_storage().nbytes() for tensor in kept.values()]


def _storage(tensor: Tensor) -> int:
    return cast(int, tensor.untyped_storage()._cdata)
