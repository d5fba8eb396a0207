"""Random networks whose channels all matter, and the channels to keep of them."""

from __future__ import annotations

import pytest
import torch
from torch import Tensor, nn
from torchvision.models import ResNet

from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.pruning.groups import Group, groups_of

# The deepest two are of resnet50's blocks, and more of them.
DEPTHS = [
    "resnet18",
    "resnet34",
    "resnet50",
    *(pytest.param(name, marks=pytest.mark.slow) for name in ("resnet101", "resnet152")),
]


def random_network(arch: str, stem: str = "small", widths: Widths | None = None) -> ResNet:
    """Weights and normalization statistics at random, in eval mode, float64.

    In float64 what is left of a difference is not rounding.
    """
    torch.manual_seed(0)
    model = build_resnet(arch, 10, stem, widths)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias, 0, 0.3)
            module.running_mean = torch.randn(module.num_features) * 0.2
            module.running_var = torch.rand(module.num_features) + 0.5
    return model.eval().double()


def random_keep(groups: dict[str, Group], seed: int = 0) -> dict[str, list[int]]:
    """Of every group a random third to nine tenths."""
    generator = torch.Generator().manual_seed(seed)
    keep = {}
    for name, group in groups.items():
        share = 0.33 + 0.57 * float(torch.rand(1, generator=generator))
        order = torch.randperm(group.channels, generator=generator)
        keep[name] = sorted(order[: max(1, int(share * group.channels))].tolist())
    return keep


def mask_channels(model: ResNet, keep: dict[str, list[int]], arch: str, widths: Widths) -> None:
    """Set every channel that does not stay to zero, behind its normalization."""
    for name, group in groups_of(arch, widths).items():
        if name not in keep:
            continue
        mask = torch.zeros(group.channels, dtype=torch.float64)
        mask[keep[name]] = 1
        for norm in group.norms:
            module = model.get_submodule(norm)
            assert isinstance(module, nn.BatchNorm2d)
            with torch.no_grad():
                module.weight.mul_(mask)
                module.bias.mul_(mask)


def images(size: int = 32, count: int = 2) -> Tensor:
    return torch.randn(count, 3, size, size, dtype=torch.float64)
