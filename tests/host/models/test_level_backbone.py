"""A checkpoint's levels in torchvision's detectors, and README's example of it."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch
from torchvision.models.detection.backbone_utils import BackboneWithFPN

from edgeresnet.errors import InputError
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.level_outputs import every_output
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import build_resnet
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.inputs import InputSpec
from tests.small_checkpoints import SLIM

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


def test_readme_detector_runs(
    tmp_path: Path, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    text = README.read_text()
    training, running = (
        next(c for c in re.findall(r"```python\n(.*?)```", text, re.S) if word in c)
        for word in ("FPN", "BundleLevels")
    )
    monkeypatch.chdir(tmp_path)
    model = build_resnet("resnet18", 10, "imagenet", SLIM)
    photos = replace(
        checkpoint, stem="imagenet", state_dict=model.state_dict(), input_spec=InputSpec(128)
    )
    save_checkpoint(photos, tmp_path / "photos.pt")
    names: dict[str, Any] = {}
    exec(training, names)  # the README's own lines
    trained = load_checkpoint(tmp_path / "levels.pt")
    assert trained.classes == ()
    options = ExportOptions(features=("C2", "C3", "C4", "C5"), logits=False)
    export_bundle(
        trained, target="onnx", precision="fp32", out_dir=tmp_path / "levels", options=options
    )
    exec(running, names)
    assert names["boxes"]["boxes"].shape[1] == 4
