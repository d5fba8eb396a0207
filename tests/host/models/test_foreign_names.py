"""Other frameworks' names for the same tensors."""

from __future__ import annotations

import re
from collections.abc import Callable
from pathlib import Path

import pytest
import torch

from edgeresnet.errors import InputError
from edgeresnet.settings.network import NOTHING_TOLD, NetworkTold
from tests.host.models.foreign_networks import answers, loaded, narrow, tensors_of

Rename = Callable[[str], str]


def hugging_face(name: str) -> str:
    """Names of ``ResNetForImageClassification``, as its state_dict lists them."""
    name = re.sub(r"^conv1\.", "resnet.embedder.embedder.convolution.", name)
    name = re.sub(r"^bn1\.", "resnet.embedder.embedder.normalization.", name)
    name = re.sub(r"^fc\.", "classifier.1.", name)
    level = re.match(r"layer(\d)\.(\d+)\.(conv|bn|downsample\.)(\d)\.(\w+)$", name)
    if level is None:
        return name
    start = f"resnet.encoder.stages.{int(level[1]) - 1}.layers.{level[2]}"
    kinds = {"conv": "convolution", "bn": "normalization"}
    if level[3] == "downsample.":
        part = ("convolution", "normalization")[int(level[4])]
        return f"{start}.shortcut.{part}.{level[5]}"
    return f"{start}.layer.{int(level[4]) - 1}.{kinds[level[3]]}.{level[5]}"


def mmpretrain(name: str) -> str:
    return re.sub(r"^backbone\.fc\.", "head.fc.", f"backbone.{name}")


def detectron2(name: str) -> str:
    name = re.sub(r"^conv1\.", "stem.conv1.", re.sub(r"^bn1\.", "stem.conv1.norm.", name))
    name = re.sub(r"^layer(\d)", lambda m: f"res{int(m[1]) + 1}", name)
    name = re.sub(r"\.bn(\d)\.", r".conv\1.norm.", name)
    name = name.replace("downsample.0", "shortcut").replace("downsample.1", "shortcut.norm")
    return re.sub(r"^fc\.", "linear.", name)


def kuangliu(name: str) -> str:
    return re.sub(r"^fc\.", "linear.", name).replace("downsample", "shortcut")


def pytorch_cifar100(name: str) -> str:
    name = re.sub(r"^bn1\.", "conv1.1.", re.sub(r"^conv1\.", "conv1.0.", name))
    name = re.sub(r"^layer(\d)", lambda m: f"conv{int(m[1]) + 1}_x", name)
    name = re.sub(r"\.(conv|bn)(\d)\.(?=\w+$)", _in_sequence, name)
    return name.replace("downsample", "shortcut")


def _in_sequence(match: re.Match[str]) -> str:
    place = 3 * (int(match[2]) - 1) + (match[1] == "bn")
    return f".residual_function.{place}."


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@pytest.mark.parametrize(
    "rename", [hugging_face, mmpretrain, detectron2, kuangliu, pytorch_cifar100]
)
def test_load_checkpoint_gives_equal_logits_when_names_are_anothers(
    tmp_path: Path, arch: str, rename: Rename
) -> None:
    model = narrow(arch)
    tensors = {rename(n): t for n, t in tensors_of(model).items()}
    assert len(tensors) == len(tensors_of(model))
    told = NetworkTold(stride_in="3x3") if arch == "resnet50" else NOTHING_TOLD
    assert torch.equal(answers(loaded(tmp_path, tensors, network=told).build()), answers(model))


@pytest.mark.parametrize("rename", [hugging_face, detectron2, kuangliu, pytorch_cifar100])
def test_load_checkpoint_names_the_files_own_tensor_when_it_refuses(
    tmp_path: Path, rename: Rename
) -> None:
    tensors = {rename(n): t for n, t in tensors_of(narrow()).items()}
    wrong = rename("layer2.0.conv1.weight")
    tensors[wrong] = tensors[wrong][:, :4]
    with pytest.raises(InputError, match=re.escape(wrong)):
        loaded(tmp_path, tensors)


def test_load_checkpoint_refuses_when_two_names_are_one_tensor(tmp_path: Path) -> None:
    tensors = tensors_of(narrow())
    tensors["layer2.0.shortcut.0.weight"] = torch.rand(8, 8, 1, 1)
    with pytest.raises(InputError, match=r"both layer2\.0\.downsample\.0\.weight and layer2\.0\.s"):
        loaded(tmp_path, tensors)
