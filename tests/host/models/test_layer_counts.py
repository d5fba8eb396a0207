"""Parameters are counted as PyTorch counts them."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch
from torchvision import models

from edgeresnet.api.inspect import inspect
from edgeresnet.host.models.layer_counts import count_layers
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.report.tables import inspect_table


@pytest.mark.parametrize(
    ("arch", "published"), [("resnet18", 11_689_512), ("resnet50", 25_557_032)]
)
def test_count_layers_counts_as_torchvision_when_the_network_is_its_own(
    arch: str, published: int
) -> None:
    model = build_resnet(arch, 1000)
    counted = sum(layer.parameters for layer in count_layers(model, 32))
    assert counted == published == sum(p.numel() for p in model.parameters())


def test_count_layers_counts_weights_and_biases_when_normalization_is_folded_or_inside() -> None:
    inner = (((8,), ()), ((8,), (8,)), ((8,), (8,)), ((8,), (8,)))
    model = build_resnet("resnet18", 10, "small", Widths(8, (8,) * 4, inner))
    wanted = sum(p.numel() for p in model.parameters())
    assert sum(layer.parameters for layer in count_layers(model, 16)) == wanted
    live = QuantResNet(model, live_bn=True)
    assert sum(layer.parameters for layer in count_layers(live, 16)) == wanted
    live.fold()
    convolutions = sum(c.weight.shape[0] for c in live.convolutions())
    folded = sum(layer.parameters for layer in count_layers(live, 16))
    assert folded == wanted - convolutions


def test_inspect_says_the_parameters_of_torchvisions_resnet18(tmp_path: Path) -> None:
    torch.save(models.resnet18().state_dict(), tmp_path / "r18.pth")
    result = inspect(tmp_path / "r18.pth", image_size=32)
    assert (result["parameters"], result["normalization_folded"]) == (11_689_512, False)
    assert "11,689,512 parameters" in str(inspect_table(result).title)
    folded = {**result, "normalization_folded": True}
    assert "parameters with normalization folded in" in str(inspect_table(folded).title)
