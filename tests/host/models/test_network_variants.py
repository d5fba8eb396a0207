"""What no tensor shows of a network and a user tells: stem, and where bottlenecks have strides."""

from __future__ import annotations

import functools
import re
from pathlib import Path

import pytest
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import (
    Checkpoint,
    load_checkpoint,
    save_checkpoint,
)
from edgeresnet.host.models.checkpoint_record import DIGEST
from edgeresnet.host.models.foreign.said import all_said
from edgeresnet.host.models.foreign.strides import stride_said
from edgeresnet.host.models.resnet import build_resnet
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.network import STEMS, NetworkTold, Stem, StrideIn
from tests.host.models.foreign_networks import Tensors, loaded, narrow, tensors_of
from tests.host.models.test_foreign_names import detectron2, hugging_face

# Kernel, stride and max-pool of the first layers, written down once more.
GEOMETRY: dict[Stem, tuple[int, int, bool]] = {
    "imagenet": (7, 2, True),
    "imagenet-nopool": (7, 2, False),
    "imagenet-stride1": (7, 1, True),
    "imagenet-stride1-nopool": (7, 1, False),
    "small": (3, 1, False),
    "small-pool": (3, 1, True),
    "small-stride2": (3, 2, False),
    "small-stride2-pool": (3, 2, True),
}


def reference(tensors: Tensors, images: Tensor, stem: Stem, stride_in: StrideIn = "3x3") -> Tensor:
    """Logits by torch's functions alone, as the variant is described."""

    def conv(x: Tensor, name: str, norm: str, stride: int = 1) -> Tensor:
        weight = tensors[f"{name}.weight"]
        y = F.conv2d(x, weight, None, stride, weight.shape[-1] // 2)
        mean, var, gamma, beta = (
            tensors[f"{norm}.{part}"] for part in ("running_mean", "running_var", "weight", "bias")
        )
        return F.batch_norm(y, mean, var, gamma, beta)

    _, stride, pool = GEOMETRY[stem]
    x = F.relu(conv(images, "conv1", "bn1", stride))
    x = F.max_pool2d(x, 3, 2, 1) if pool else x
    # In the order of the file, which is the network's.
    blocks = dict.fromkeys(m[0] for n in tensors if (m := re.match(r"layer\d\.\d+", n)))
    for block in blocks:
        stride = 2 if block.endswith(".0") and block != "layer1.0" else 1
        convs = 3 if f"{block}.conv3.weight" in tensors else 2
        strided = 2 if convs == 3 and stride_in == "3x3" else 1
        y = x
        for i in range(1, convs + 1):
            y = conv(y, f"{block}.conv{i}", f"{block}.bn{i}", stride if i == strided else 1)
            y = F.relu(y) if i < convs else y
        if f"{block}.downsample.0.weight" in tensors:
            x = conv(x, f"{block}.downsample.0", f"{block}.downsample.1", stride)
        x = F.relu(x + y)
    return F.linear(x.mean((2, 3)), tensors["fc.weight"], tensors["fc.bias"])


@functools.cache
def theirs(arch: str = "resnet18", stem: Stem = "small") -> Tensors:
    return tensors_of(narrow(arch, stem))


def some_images(size: int = 24) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))


def check(checkpoint: Checkpoint, tensors: Tensors, stem: Stem, stride_in: StrideIn) -> None:
    """The checkpoint answers as the reference, and so does its file read again."""
    images = some_images()
    with torch.inference_mode():
        wanted = reference(tensors, images, stem, stride_in)
        torch.testing.assert_close(checkpoint.build()(images), wanted, rtol=1e-4, atol=1e-4)


@pytest.mark.parametrize("stem", GEOMETRY)
def test_load_checkpoint_has_the_references_logits_when_the_stem_is_told(
    tmp_path: Path, stem: Stem
) -> None:
    usual: Stem = "imagenet" if GEOMETRY[stem][0] == 7 else "small"
    tensors = theirs("resnet18", usual)
    checkpoint = loaded(tmp_path, tensors, network=NetworkTold(stem=stem))
    kernel, stride, pool = GEOMETRY[stem]
    said = f"{kernel}x{kernel} stem of stride {stride} {'with' if pool else 'without'} max-pool"
    assert said in checkpoint.provenance["assumed"]
    save_checkpoint(checkpoint, tmp_path / "own.pt")
    again = load_checkpoint(tmp_path / "own.pt", network=NetworkTold(stem=stem))
    assert (again.stem, again.stride_in) == (stem, "3x3")
    others = [other for other in GEOMETRY if other != stem]
    with pytest.raises(InputError, match="knows its network"):
        load_checkpoint(tmp_path / "own.pt", network=NetworkTold(stem=others[0]))
    version = torch.load(tmp_path / "own.pt", weights_only=True)["version"]
    assert version == (1 if stem == usual else 3)


def test_stems_are_those_that_this_file_describes() -> None:
    assert {name: (s.kernel, s.stride, s.pool) for name, s in STEMS.items()} == GEOMETRY


def test_load_checkpoint_has_the_references_logits_when_strides_are_in_1x1(tmp_path: Path) -> None:
    tensors = theirs("resnet50")
    told = NetworkTold(stem="small-pool", stride_in="1x1")
    checkpoint = loaded(tmp_path, tensors, network=told)
    assert "stride in the first 1x1 convolutions" in checkpoint.provenance["assumed"]
    save_checkpoint(checkpoint, tmp_path / "own.pt")
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    # Versions of before read up to 2, and refuse this one by its number.
    assert content["version"] == 3
    check(load_checkpoint(tmp_path / "own.pt", network=told), tensors, "small-pool", "1x1")
    with pytest.raises(InputError, match="with stride in 1x1, and not --stride-in 3x3"):
        load_checkpoint(tmp_path / "own.pt", network=NetworkTold(stride_in="3x3"))


def test_load_checkpoint_has_strides_in_3x3_when_an_older_file_does_not_say(tmp_path: Path) -> None:
    save_checkpoint(loaded(tmp_path, theirs("resnet50")), tmp_path / "own.pt")
    content = torch.load(tmp_path / "own.pt", weights_only=True)
    assert content["version"] == 1
    del content["stride_in"], content[DIGEST]
    torch.save(content, tmp_path / "older.pt")
    assert load_checkpoint(tmp_path / "older.pt").stride_in == "3x3"


@pytest.mark.parametrize(
    ("stem", "told"), [("imagenet", "small"), ("imagenet", "small-pool"), ("small", "imagenet")]
)
def test_load_checkpoint_refuses_by_the_shape_when_the_stem_has_another_kernel(
    tmp_path: Path, stem: Stem, told: Stem
) -> None:
    side = GEOMETRY[stem][0]
    with pytest.raises(InputError, match=rf"conv1\.weight of shape \(8, 3, {side}, {side}\)"):
        loaded(tmp_path, theirs(stem=stem), network=NetworkTold(stem=told))


@pytest.mark.parametrize("stride_in", ["1x1", "3x3"])
def test_load_checkpoint_refuses_when_strides_are_told_of_basic_blocks(
    tmp_path: Path, stride_in: StrideIn
) -> None:
    told = NetworkTold(stride_in=stride_in)
    with pytest.raises(InputError, match="--stride-in has no effect"):
        loaded(tmp_path, theirs(), network=told)
    save_checkpoint(loaded(tmp_path, theirs()), tmp_path / "own.pt")
    with pytest.raises(InputError, match="--stride-in has no effect"):
        load_checkpoint(tmp_path / "own.pt", network=told)


def test_build_resnet_refuses_when_strides_are_of_basic_blocks_or_unknown() -> None:
    with pytest.raises(InputError, match="no effect"):
        build_resnet("resnet18", 2, stride_in="1x1")
    with pytest.raises(InputError, match="2x2 is not known"):
        build_resnet("resnet50", 2, stride_in="2x2")
    with pytest.raises(InputError, match="stem large is not known"):
        build_resnet("resnet50", 2, "large")


OPENMMLAB = "model = dict(backbone=dict(type='ResNet', depth=50, style='{}'))"


@pytest.mark.parametrize(
    ("said", "stride_in"),
    [
        ({"config": {"downsample_in_bottleneck": True}}, "1x1"),
        ({"config": {"downsample_in_bottleneck": False}}, "3x3"),
        ({"cfg": {"MODEL": {"RESNETS": {"STRIDE_IN_1X1": True}}}}, "1x1"),
        ({"meta": {"cfg": OPENMMLAB.format("caffe")}}, "1x1"),
        ({"meta": {"cfg": OPENMMLAB.format("pytorch")}}, "3x3"),
        ({"cfg": {"model": {"backbone": {"style": "caffe"}}}}, "1x1"),
        ({"cfg": "MODEL:\n  RESNETS:\n    STRIDE_IN_1X1: true\n"}, "1x1"),
    ],
)
def test_stride_said_is_what_the_file_says(said: dict[str, object], stride_in: StrideIn) -> None:
    found = stride_said(all_said(said), "theirs.pth")
    assert found is not None
    assert found[0] == stride_in


def test_load_checkpoint_takes_hugging_faces_strides_when_its_config_is_beside(
    tmp_path: Path,
) -> None:
    (tmp_path / "config.json").write_text(
        '{"downsample_in_bottleneck": true, "id2label": {"0": "a", "1": "b", "2": "c", "3": "d", '
        '"4": "e"}}'
    )
    tensors = theirs("resnet50")
    content = {hugging_face(n): t for n, t in tensors.items()}
    checkpoint = loaded(tmp_path, content)
    check(checkpoint, tensors, "small", "1x1")
    said = "stride in the 1x1 as config.json downsample_in_bottleneck says"
    assert any(said in note for note in checkpoint.provenance["notes"])
    # The user may know better than a configuration, and basic blocks have no choice.
    assert loaded(tmp_path, content, network=NetworkTold(stride_in="3x3")).stride_in == "3x3"
    assert loaded(tmp_path, {hugging_face(n): t for n, t in theirs().items()}).stride_in == "3x3"


def test_load_checkpoint_refuses_when_the_file_says_two_strides(tmp_path: Path) -> None:
    content = {
        "cfg": {"a": {"style": "caffe"}, "b": {"style": "pytorch"}},
        "state_dict": theirs("resnet50"),
    }
    with pytest.raises(InputError, match="two things") as caught:
        loaded(tmp_path, content)
    assert "--stride-in" in caught.value.fix
    assert loaded(tmp_path, content, network=NetworkTold(stride_in="3x3")).stride_in == "3x3"


def test_load_checkpoint_asks_for_strides_when_names_are_of_networks_with_others(
    tmp_path: Path,
) -> None:
    tensors = {detectron2(n): t for n, t in theirs("resnet50").items()}
    usual = loaded(tmp_path, tensors)
    notes = usual.provenance["notes"]
    assert usual.stride_in == "1x1"
    assert any("give --stride-in 3x3" in note for note in notes)
    notes = loaded(tmp_path, tensors, network=NetworkTold(stride_in="3x3")).provenance["notes"]
    assert not any("--stride-in" in note for note in notes)


@pytest.mark.parametrize(
    ("stem", "size"),
    [("imagenet", 224), ("small", 32), ("small-pool", 64), ("small-stride2", 64),
     ("small-stride2-pool", 224), ("imagenet-stride1-nopool", 32)],
)  # fmt: skip
def test_load_checkpoint_has_a_size_that_suits_the_stem_when_nobody_says_it(
    tmp_path: Path, stem: Stem, size: int
) -> None:
    tensors = theirs(stem="imagenet" if "imagenet" in stem else "small")
    checkpoint = loaded(tmp_path, tensors, network=NetworkTold(stem=stem))
    assert checkpoint.input_spec == InputSpec(image_size=size)
