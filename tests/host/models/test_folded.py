"""A network with its normalizations folded answers as before."""

from __future__ import annotations

import pytest
import torch
from torch import nn

from edgeresnet.host.models.folded import folded
from edgeresnet.host.models.resnet import Widths, build_resnet


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@pytest.mark.parametrize("stem", ["imagenet", "small"])
def test_a_folded_network_answers_the_same(arch: str, stem: str) -> None:
    torch.manual_seed(3)
    model = build_resnet(arch, 7, stem, narrow(arch)).eval()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.5)
            nn.init.normal_(module.bias)
            assert module.running_mean is not None
            assert module.running_var is not None
            nn.init.normal_(module.running_mean)
            nn.init.uniform_(module.running_var, 0.5, 2.0)
    images = torch.randn(3, 3, 40, 40)
    with torch.inference_mode():
        expected = model(images)
        answered = folded(model)(images)
    assert not any(isinstance(module, nn.BatchNorm2d) for module in model.modules())
    assert expected.std() > 0.01
    torch.testing.assert_close(answered, expected, rtol=1e-4, atol=1e-4 * float(expected.std()))


def narrow(arch: str) -> Widths:
    """An eighth as wide, and without its second block, as pruning leaves networks."""
    dense = Widths.dense(arch)
    levels = [[tuple(w // 8 for w in block) for block in level] for level in dense.inner]
    levels[0][1] = ()
    streams = tuple(width // 8 for width in dense.streams)
    return Widths(dense.stem // 8, streams, tuple(map(tuple, levels)))
