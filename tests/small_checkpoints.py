"""Small random networks as trained ones are given to commands."""

from __future__ import annotations

import torch

from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.settings.inputs import InputSpec

# A quarter of torchvision's: all that is made of it takes a fraction of the time.
SLIM = Widths(16, (16, 32, 64, 128), tuple(((width,),) * 2 for width in (16, 32, 64, 128)))
CLASSES = tuple(str(i) for i in range(10))
# Those whose bundles run on any machine; TensorRT's have tests of their own.
CPU_TARGETS = tuple(name for name, target in TARGETS.items() if target.spec.default_device == "cpu")


def make_checkpoint(
    arch: str = "resnet18", stem: str = "small", size: int = 16, widths: Widths | None = None
) -> Checkpoint:
    """A random network whose normalization statistics are those of random images."""
    torch.manual_seed(0)
    widths = widths or Widths.dense(arch)
    model = build_resnet(arch, 10, stem, widths)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            # A fresh block ends in a factor of 0: nothing would be left to quantize.
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
            torch.nn.init.normal_(module.bias, 0, 0.2)
    model.train()
    with torch.no_grad():
        for _ in range(20):
            model(torch.randn(8, 3, size, size))
    return Checkpoint(
        arch, stem, widths, CLASSES, InputSpec(size), model.eval().state_dict(),
        data="digits",
    )  # fmt: skip
