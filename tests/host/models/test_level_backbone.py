"""A checkpoint's levels in torchvision's detectors, and README's example of it."""

from __future__ import annotations

import re
from pathlib import Path

import pytest
import torch
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.level_outputs import every_output
from edgeresnet.host.models.quant_resnet import QuantResNet

README = Path(__file__).parents[3] / "README.md"


def test_backbone_gives_the_levels_when_quantized(int8_checkpoint: Checkpoint) -> None:
    images = torch.rand(2, 3, 16, 16)
    model = int8_checkpoint.build()
    assert isinstance(model, QuantResNet)
    backbone = int8_checkpoint.backbone()
    with torch.inference_mode():
        found, expected = backbone(images), every_output(model, images)
    assert [*found] == ["C2", "C3", "C4", "C5"]
    assert all(torch.equal(found[name], expected[name]) for name in found)
    assert backbone.in_channels_list == [value.shape[1] for value in found.values()]


def test_backbone_gives_the_levels_when_float(checkpoint: Checkpoint) -> None:
    images = torch.rand(2, 3, 16, 16)
    model = checkpoint.build()
    seen: dict[str, torch.Tensor] = {}
    for level in ("layer2", "layer3"):
        getattr(model, level).register_forward_hook(
            lambda module, given, output, level=level: seen.update({level: output})
        )
    backbone = checkpoint.backbone(("C3", "C4"))
    with torch.inference_mode():
        model(images)
        found = backbone(images)
    assert torch.equal(found["C3"], seen["layer2"])
    assert torch.equal(found["C4"], seen["layer3"])
    assert (backbone.in_channels_list, backbone.out_channels) == ([32, 64], 64)
    names = {name.removeprefix("stem.") for name in backbone.state_dict()}
    assert names <= set(checkpoint.state_dict)
    assert "layer4.0.conv1.weight" not in names


@pytest.mark.parametrize("levels", [(), ("C4", "C3"), ("C3", "C3"), ("C1",)])
def test_backbone_refuses_other_levels(checkpoint: Checkpoint, levels: tuple[str, ...]) -> None:
    with pytest.raises(InputError, match="not some of C2, C3, C4, C5"):
        checkpoint.backbone(levels)


@pytest.mark.parametrize("precision", ["float", "int8"])
def test_gradients_reach_the_stem_through_a_pyramid(files: Path, precision: str) -> None:
    from edgeresnet import load_checkpoint

    backbone = load_checkpoint(str(files / f"{precision}.pt")).backbone()
    pyramid = BackboneWithFPN(backbone, backbone.return_layers, backbone.in_channels_list, 8)
    found = pyramid(torch.rand(1, 3, 32, 32))
    found["0"].sum().backward()
    weight = pyramid.body.stem.conv1.weight
    assert weight.grad is not None
    assert float(weight.grad.abs().max()) > 0


def test_readme_detector_runs(files: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    code = next(
        c for c in re.findall(r"```python\n(.*?)```", README.read_text(), re.S) if "FPN" in c
    )
    monkeypatch.chdir(files)
    names: dict[str, object] = {}
    exec(code.replace("photos-int8.pt", "int8.pt"), names)  # the README's own lines
    (boxes,) = names["boxes"]  # type: ignore[misc]
    assert boxes["boxes"].shape[1] == 4
