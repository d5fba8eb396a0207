"""Networks without a classifier: read, saved, refused where there must be classes."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeresnet.api.adopt import adopt
from edgeresnet.api.inspect import inspect
from edgeresnet.api.quantize import quantize
from edgeresnet.errors import InputError
from edgeresnet.host.models.backbone import load_backbone
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.resnet import build_resnet
from edgeresnet.host.models.weights import weights_digest
from edgeresnet.progress import TaskContext
from edgeresnet.settings.quantization import QuantizeOptions
from tests.conftest import Command

DIGITS = TaskContext(data="digits", limit=40)


@pytest.fixture
def foreign(tmp_path: Path, checkpoint: Checkpoint) -> Path:
    """As a training without labels leaves it: torchvision's names, and no fc."""
    tensors = {n: t for n, t in checkpoint.state_dict.items() if not n.startswith("fc.")}
    torch.save({"state_dict": tensors}, tmp_path / "embedding.pth")
    return tmp_path / "embedding.pth"


def test_load_checkpoint_gives_the_pooled_tensor_when_there_is_no_classifier(
    foreign: Path, checkpoint: Checkpoint
) -> None:
    found = load_checkpoint(foreign, image_size=16)
    assert (found.classes, found.classes_known) == ((), False)
    assert "no classifier: it gives embeddings" in found.provenance["assumed"]
    images, seen = torch.rand(2, 3, 16, 16), list[torch.Tensor]()
    whole = checkpoint.build()
    whole.avgpool.register_forward_hook(lambda module, given, output: seen.append(output))
    with torch.inference_mode():
        whole(images)
        embeddings = found.build()(images)
    assert torch.equal(embeddings, seen[0].flatten(1))


def test_save_checkpoint_keeps_it_when_there_is_no_classifier(
    foreign: Path, tmp_path: Path
) -> None:
    found = load_checkpoint(foreign, image_size=16)
    save_checkpoint(found, tmp_path / "own.pt")
    again = load_checkpoint(tmp_path / "own.pt")
    assert (again.classes, again.version) == ((), 6)
    assert weights_digest(again.state_dict) == weights_digest(found.state_dict)


def test_load_checkpoint_refuses_a_version_that_does_not_fit_the_classes(
    foreign: Path, tmp_path: Path
) -> None:
    save_checkpoint(load_checkpoint(foreign, image_size=16), tmp_path / "own.pt")
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    del content["edgeresnet_sha256"]
    torch.save({**content, "version": 5}, tmp_path / "own.pt")
    with pytest.raises(InputError, match="classes: none are in version 6, and in that alone"):
        load_checkpoint(tmp_path / "own.pt")


def test_inspect_says_so_when_there_is_no_classifier(foreign: Path, command: Command) -> None:
    described = inspect(foreign, image_size=16)
    assert described["classes"] == []
    assert described["layers"][-1]["name"] == "layer4.1.conv2"
    code, out, _ = command("inspect", foreign, "--image-size", 16)
    assert (code, "no classifier" in out) == (0, True)


def test_load_backbone_begins_a_training_when_there_is_no_classifier(
    foreign: Path, checkpoint: Checkpoint
) -> None:
    model = build_resnet(checkpoint.arch, 3, checkpoint.stem, checkpoint.widths)
    left = load_backbone(model, load_checkpoint(foreign, image_size=16))
    assert left == ["fc.weight", "fc.bias"]


def test_adopt_refuses_when_there_are_no_classes(foreign: Path, tmp_path: Path) -> None:
    with pytest.raises(InputError, match="the checkpoint has no classifier") as caught:
        adopt(foreign, tmp_path / "a.pt", image_size=16, context=DIGITS)
    assert caught.value.fix


def test_quantize_refuses_class_names_when_there_are_no_classes(
    foreign: Path, tmp_path: Path
) -> None:
    options = QuantizeOptions(method="ptq")
    context = replace(DIGITS, class_order="sorted")
    with pytest.raises(InputError, match="--class-order has no effect: the checkpoint has no"):
        quantize(foreign, tmp_path / "q.pt", options, image_size=16, context=context)


def test_with_backbone_leaves_the_classifier_out(checkpoint: Checkpoint) -> None:
    backbone = checkpoint.backbone()
    with torch.no_grad():
        for parameter in backbone.parameters():
            parameter.mul_(1.5)
    trained = checkpoint.with_backbone(backbone)
    assert (trained.classes, trained.data, trained.provenance) == ((), None, {})
    assert not any(name.startswith("fc.") for name in trained.state_dict)
    assert np.allclose(
        trained.state_dict["conv1.weight"], 1.5 * checkpoint.state_dict["conv1.weight"]
    )
    images = torch.rand(1, 3, 16, 16)
    with torch.inference_mode():
        found, expected = trained.backbone()(images), backbone(images)
    assert all(torch.equal(found[name], expected[name]) for name in expected)


def test_with_backbone_refuses_what_is_no_trained_backbone(
    checkpoint: Checkpoint, int8_checkpoint: Checkpoint
) -> None:
    with pytest.raises(InputError, match=r"lack layer4.*checkpoint has") as caught:
        checkpoint.with_backbone(checkpoint.backbone(("C3", "C4")))
    assert "C5" in caught.value.fix
    with pytest.raises(InputError, match=r"have fc\.weight"):
        checkpoint.with_backbone(checkpoint.build())
    with pytest.raises(InputError, match="quantized"):
        int8_checkpoint.with_backbone(int8_checkpoint.backbone())
    other = replace(checkpoint, state_dict=dict(checkpoint.state_dict))
    other.state_dict["bn1.weight"] = torch.full((16,), float("nan"))
    with pytest.raises(InputError, match=r"trained bn1\.weight is not finite"):
        checkpoint.with_backbone(other.backbone())
