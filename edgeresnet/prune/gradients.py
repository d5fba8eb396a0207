"""Gradients of the gates that the Taylor criterion imagines behind each batch normalization."""

from __future__ import annotations

from collections import defaultdict
from collections.abc import Iterable

import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeresnet.errors import InputError


def gate_gradients(model: nn.Module, batches: Iterable[tuple[Tensor, Tensor]]) -> dict[str, Tensor]:
    """What a gate of 1, multiplied onto each normalization's output, would have for a gradient.

    A gate scales both of a normalization's parameters, so its gradient is that of the scale times
    the scale, plus that of the offset times the offset.

    Args:
        model: a float ResNet; put into eval mode. Its frozen parameters count like all others and
            are frozen again afterwards.
        batches: images (n, 3, H, W) float32 and labels (n,) int64, on the model's device.

    Returns:
        For each batch normalization's name (batches, channels) float32 on the CPU.

    Raises:
        InputError: there was no image.
    """
    norms = {n: m for n, m in model.named_modules() if isinstance(m, nn.BatchNorm2d)}
    frozen = [p for p in model.parameters() if not p.requires_grad]
    gates: defaultdict[str, list[Tensor]] = defaultdict(list)
    model.eval().requires_grad_(True)
    try:
        for images, labels in batches:
            loss = F.cross_entropy(model(images), labels)
            parameters = [p for norm in norms.values() for p in (norm.weight, norm.bias)]
            gradients = torch.autograd.grad(loss, parameters)
            for i, (name, norm) in enumerate(norms.items()):
                scale, offset = gradients[2 * i], gradients[2 * i + 1]
                gates[name].append((scale * norm.weight + offset * norm.bias).detach().cpu())
    finally:
        for parameter in frozen:
            parameter.requires_grad_(False)
    if not gates:
        raise InputError("pruning saw no image", "give --data at least one image.")
    return {name: torch.stack(rows) for name, rows in gates.items()}
