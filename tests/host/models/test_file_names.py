"""What a file's own name says of a network whose tensors are a plain ResNet's."""

from __future__ import annotations

from pathlib import Path

import pytest
import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.host.models.foreign.file_names import check_file_name
from edgeresnet.settings.network import NetworkTold
from tests.host.models.foreign_networks import narrow, tensors_of


@pytest.mark.parametrize(
    "name",
    [
        "resnetblur50_ra2-xxxx.pth", "resnetaa50_a1h-4cf422b3.pth", "resnet50_dilated.pth",
        "ResNetBlur50.pt", "timm_resnet50-dilated.pt", "resnet101_os8.pth",
        "deeplabv3_resnet50_coco.pth", "resnet18_gelu.pt", "resnetblur50.bt_in1k/pytorch_model.bin",
    ],
)  # fmt: skip
def test_load_checkpoint_refuses_when_the_name_is_of_another_network(
    tmp_path: Path, name: str
) -> None:
    path = tmp_path / name
    path.parent.mkdir(exist_ok=True)
    torch.save({}, path)
    with pytest.raises(InputError, match="is called") as caught:
        load_checkpoint(path)
    assert "rename" in caught.value.fix


@pytest.mark.parametrize(
    ("name", "said"),
    [
        ("blur_detection_resnet18.pth", "has blur"),
        ("my_dilated.pt", "has dilat"),
        ("r18-swish.pt", "has swish"),
        ("resnet18_photos.pt", None),
        ("resnet50-11ad3fa6.pth", None),
        ("resnet50_ram-a26f946b.pth", None),
        ("gluon_resnet50_v1b-0ebe02e2.pth", None),
        ("tv_resnet34-333f7ec4.pth", None),
        ("resnet18_caffeine.pth", None),
        ("fish_and_misha.pt", None),
    ],
)
def test_check_file_name_warns_when_a_word_may_be_the_networks(
    tmp_path: Path, name: str, said: str | None
) -> None:
    lines = check_file_name(tmp_path / name)
    assert len(lines) == (said is not None)
    assert all(str(said) in line for line in lines)


def test_load_checkpoint_asks_for_strides_when_the_name_says_caffe(tmp_path: Path) -> None:
    path = tmp_path / "resnet50_caffe-788b5fa3.pth"
    torch.save(tensors_of(narrow("resnet50")), path)
    with pytest.raises(InputError, match="caffe in its name") as caught:
        load_checkpoint(path)
    assert "--stride-in 1x1" in caught.value.fix
    assert load_checkpoint(path, network=NetworkTold(stride_in="1x1")).stride_in == "1x1"


def test_load_checkpoint_says_what_the_name_may_mean(tmp_path: Path) -> None:
    lines: list[str] = []
    torch.save(tensors_of(narrow()), tmp_path / "blur.pth")
    load_checkpoint(tmp_path / "blur.pth", on_step=lines.append)
    assert any("anti-aliasing" in line for line in lines[1:])
