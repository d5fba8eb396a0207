"""Files that the origins' own packages write, and their own networks' logits.

What is not installed is skipped with the reason; `test_foreign_origins` has its files all the same.
"""

from __future__ import annotations

import argparse
import copy
from pathlib import Path
from types import ModuleType
from typing import Any

import pytest
import torch
import torchvision
from torch import Tensor, nn

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint
from tests.host.models.foreign_networks import narrow

# Of packages that are not ours.
pytestmark = pytest.mark.filterwarnings("ignore")


def package(name: str) -> ModuleType:
    found: ModuleType = pytest.importorskip(
        name, reason=f"an oracle: pip install {name.partition('.')[0]}", exc_type=ImportError
    )
    return found


def lively(model: nn.Module) -> nn.Module:
    """With statistics of its own in every normalization, in eval mode."""
    torch.manual_seed(0)
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            nn.init.uniform_(module.weight, 0.5, 1.0)
            nn.init.normal_(module.bias, 0, 0.2)
            nn.init.normal_(module.running_mean, 0, 0.2)
            nn.init.uniform_(module.running_var, 0.8, 1.5)
    return model.eval()


def images(size: int = 32) -> Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))


def check(path: Path, model: nn.Module, **known: Any) -> None:
    checkpoint = load_checkpoint(path)
    for name, value in known.items():
        assert getattr(checkpoint, name) == value
    with torch.inference_mode():
        wanted = model(images())
        wanted = getattr(wanted, "logits", wanted)
        answered = checkpoint.build()(images())
    torch.testing.assert_close(answered, wanted, rtol=1e-4, atol=1e-4)


def test_load_checkpoint_has_torchvisions_logits(tmp_path: Path) -> None:
    model = lively(torchvision.models.resnet18(num_classes=5))
    torch.save({"model": model.state_dict()}, tmp_path / "x.pth")
    check(tmp_path / "x.pth", model, arch="resnet18")


@pytest.mark.parametrize("ema", [False, True])
def test_load_checkpoint_has_timms_logits_when_its_saver_wrote_the_file(
    tmp_path: Path, ema: bool
) -> None:
    timm, utils = package("timm"), package("timm.utils")
    model = lively(timm.create_model("resnet18", num_classes=5))
    averaged = utils.ModelEmaV3(lively(timm.create_model("resnet18", num_classes=5)))
    averaged.module = lively(copy.deepcopy(averaged.module))
    nn.init.normal_(averaged.module.fc.bias)
    saver = utils.CheckpointSaver(
        model, torch.optim.SGD(model.parameters(), 0.1, momentum=0.9),
        args=argparse.Namespace(model="resnet18", img_size=None, mean=None, std=None),
        model_ema=averaged if ema else None, checkpoint_dir=str(tmp_path),
    )  # fmt: skip
    saver.save_checkpoint(0, 0.5)
    check(tmp_path / "last.pth.tar", averaged.module if ema else model, arch="resnet18")


@pytest.mark.parametrize(
    ("kind", "depths", "sizes", "in_1x1"),
    [("basic", [2, 2, 2, 2], [8, 16, 24, 32], False),
     ("bottleneck", [3, 4, 6, 3], [32, 48, 64, 80], False),
     ("bottleneck", [3, 4, 6, 3], [32, 48, 64, 80], True)],
)  # fmt: skip
@pytest.mark.parametrize("safetensors", [True, False])
def test_load_checkpoint_has_hugging_faces_logits(
    tmp_path: Path, kind: str, depths: list[int], sizes: list[int], in_1x1: bool, safetensors: bool
) -> None:
    transformers = package("transformers")
    config = transformers.ResNetConfig(
        embedding_size=8, hidden_sizes=sizes, depths=depths, layer_type=kind, num_labels=5,
        downsample_in_bottleneck=in_1x1, id2label=dict(enumerate("abcde")),
    )  # fmt: skip
    model = lively(transformers.ResNetForImageClassification(config))
    model.save_pretrained(tmp_path)
    path = tmp_path / "model.safetensors"
    if not safetensors:
        path.unlink()
        path = tmp_path / "pytorch_model.bin"
        torch.save(model.state_dict(), path)
    stride = "1x1" if in_1x1 else "3x3"
    check(path, model, stride_in=stride, classes=tuple("abcde"))


def test_load_checkpoint_has_lightnings_logits(tmp_path: Path) -> None:
    lightning = package("lightning")

    class Module(lightning.LightningModule):  # type: ignore[misc, name-defined]
        def __init__(self, classes: list[str], lr: float = 0.1) -> None:
            super().__init__()
            self.save_hyperparameters()
            self.model = narrow()

        def configure_optimizers(self) -> Any:
            return torch.optim.Adam(self.parameters(), 0.1)

    module = Module(list("abcde"))
    trainer = lightning.Trainer(accelerator="cpu", logger=False, enable_progress_bar=False,
                                enable_model_summary=False, default_root_dir=tmp_path)  # fmt: skip
    trainer.strategy.connect(module)
    trainer.save_checkpoint(tmp_path / "x.ckpt")
    check(tmp_path / "x.ckpt", module.model.eval(), classes=tuple("abcde"))


def test_load_checkpoint_reads_omegaconfs_configuration(tmp_path: Path) -> None:
    omegaconf = package("omegaconf")
    config = {"classes": list("abcde"), "image_size": 48, "nested": {"a": [1, {"b": None}]}}
    model = narrow()
    content = {"state_dict": model.state_dict(),
               "hyper_parameters": omegaconf.OmegaConf.create(config)}  # fmt: skip
    torch.save(content, tmp_path / "x.ckpt")
    check(tmp_path / "x.ckpt", model, classes=tuple("abcde"))
    assert load_checkpoint(tmp_path / "x.ckpt").input_spec.image_size == 48


@pytest.mark.parametrize("usual", [False, True])
def test_load_checkpoint_has_fastais_logits_or_refuses_its_usual_head(
    tmp_path: Path, usual: bool
) -> None:
    vision, learner = package("fastai.vision.learner"), package("fastai.learner")
    plain = vision.create_head(512, 5, lin_ftrs=[], concat_pool=False, first_bn=False)
    arch = torchvision.models.resnet18
    model = lively(vision.create_cnn_model(arch, 5, pretrained=False,
                                           custom_head=None if usual else plain))  # fmt: skip
    learner.save_model(tmp_path / "x.pth", model, torch.optim.SGD(model.parameters(), 0.1), False)
    if not usual:
        check(tmp_path / "x.pth", model, arch="resnet18")
        return
    with pytest.raises(InputError, match=r"2 linear layers.*1\.4\.weight \(512, 1024\)") as caught:
        load_checkpoint(tmp_path / "x.pth")
    assert "fastai" in caught.value.fix
