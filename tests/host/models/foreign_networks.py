"""Narrow ResNets as other people's scripts leave them: with their own statistics and names."""

from __future__ import annotations

import copy
from collections.abc import Mapping
from functools import lru_cache
from pathlib import Path

import torch
from torch import Tensor, nn

from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint
from edgeresnet.host.models.resnet import ARCHS, Widths, build_resnet

Tensors = dict[str, Tensor]
OUTPUTS = 5


def narrow(arch: str = "resnet18", stem: str = "small", outputs: int = OUTPUTS, seed: int = 0,
           width: int = 8, stride_in: str = "3x3") -> nn.Module:  # fmt: skip
    """A network of 8 channels whose every tensor matters, in eval mode; random numbers go on behind
    it, drawn now or before."""
    model, state = _drawn(arch, stem, outputs, seed, width, stride_in)
    torch.set_rng_state(state)
    return copy.deepcopy(model)


@lru_cache
def _drawn(arch: str, stem: str, outputs: int, seed: int, width: int,
           stride_in: str) -> tuple[nn.Module, Tensor]:  # fmt: skip
    """Drawn once: torchvision's own weights, a thousand times as many, are drawn before them."""
    info = ARCHS[arch]
    inner = tuple(tuple((width,) * (info.convs - 1) for _ in range(d)) for d in info.depths)
    torch.manual_seed(seed)
    model = build_resnet(arch, outputs, stem, Widths(width, (width,) * 4, inner), stride_in)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            nn.init.normal_(module.running_mean, 0, 0.3)
            nn.init.uniform_(module.running_var, 0.5, 1.5)
    nn.init.normal_(model.fc.bias)
    return model.eval(), torch.get_rng_state()


def tensors_of(model: nn.Module) -> Tensors:
    return dict(model.state_dict())


def answers(model: nn.Module, size: int = 16) -> Tensor:
    """Logits on the same few images."""
    images = torch.randn(3, 3, size, size, generator=torch.Generator().manual_seed(7))
    with torch.inference_mode():
        logits: Tensor = model(images)
    return logits


def loaded(folder: Path, content: Mapping[str, object], **options: object) -> Checkpoint:
    torch.save(dict(content), folder / "theirs.pth")
    return load_checkpoint(folder / "theirs.pth", **options)  # type: ignore[arg-type]


def with_biases(model: nn.Module) -> nn.Module:
    """The same network whose convolutions have biases."""
    for module in list(model.modules()):
        for name, child in list(module.named_children()):
            if isinstance(child, nn.Conv2d):
                biased = nn.Conv2d(child.in_channels, child.out_channels, child.kernel_size,
                                   child.stride, child.padding)  # fmt: skip
                biased.weight = child.weight
                nn.init.normal_(biased.bias)
                setattr(module, name, biased)
    return model.eval()
