"""Networks whose stem or strides a user tells, from somebody else's file to the runtimes."""

from __future__ import annotations

import re
from dataclasses import replace
from pathlib import Path
from typing import cast

import numpy as np
import pytest
import torch

from edgeresnet.api.compare import compare
from edgeresnet.api.export import export
from edgeresnet.api.inspect import inspect
from edgeresnet.api.opening import open_model
from edgeresnet.api.prune import prune
from edgeresnet.api.quantize import quantize
from edgeresnet.api.train import take_checkpoint
from edgeresnet.device.bundle.manifest import Manifest
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.training.train_checkpoint import train_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.network import NetworkTold, Stem, StrideIn
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import ModelSettings, TrainOptions
from tests.host.models.foreign_networks import narrow, tensors_of
from tests.host.models.test_network_variants import reference

SIZE = 16
# So small a step that the network stays what it is.
ONE_EPOCH = TrainOptions(epochs=1, batch_size=8, lr=1e-5, augment="none")


def saved(folder: Path, arch: str = "resnet18", stem: Stem = "small") -> Path:
    tensors = tensors_of(narrow(arch, stem, outputs=10))
    if arch == "resnet50":  # as pruning leaves one, with the first and the last block of each level
        kept = ("layer1.[02]", "layer2.[03]", "layer3.[05]", "layer4.[02]")
        one_of = re.compile("|".join(rf"{block}\." for block in kept))
        tensors = {n: t for n, t in tensors.items() if "layer" not in n or one_of.match(n)}
    torch.save(tensors, folder / "theirs.pth")
    return folder / "theirs.pth"


def context_of(lines: list[str] | None = None) -> TaskContext:
    said = (lambda _: None) if lines is None else lines.append
    return TaskContext(data="digits", limit=10, on_step=said)


@pytest.mark.parametrize(
    ("arch", "stem", "stride_in", "target"),
    [
        pytest.param("resnet18", "small-stride2-pool", None, "openvino", marks=pytest.mark.slow),
        ("resnet50", "small-pool", "1x1", "onnx"),
        pytest.param("resnet18", "small-pool", None, "onnx", marks=pytest.mark.slow),
        pytest.param("resnet18", "imagenet-nopool", None, "openvino", marks=pytest.mark.slow),
        pytest.param("resnet50", "small-stride2", "1x1", "openvino", marks=pytest.mark.slow),
        pytest.param("resnet50", "imagenet", "1x1", "openvino", marks=pytest.mark.slow),
    ],
)
def test_bundles_have_the_variants_logits_when_a_foreign_checkpoint_is_exported(
    tmp_path: Path, arch: str, stem: Stem, stride_in: StrideIn | None, target: str
) -> None:
    theirs = saved(tmp_path, arch, "imagenet" if "imagenet" in stem else "small")
    bundle = export(
        theirs, tmp_path / "int8", target=target, precision="int8", calibration_images=10,
        image_size=SIZE, network=NetworkTold(stem, stride_in), context=context_of(),
    )  # fmt: skip
    convolutions = {"resnet18": 20, "resnet50": 29}[arch]
    assert bundle.manifest.proof["integer_kernels"]["Conv"] == convolutions
    strides = stride_in or "3x3"
    assert (bundle.manifest.stem, bundle.manifest.stride_in) == (stem, strides)
    assert inspect(tmp_path / "int8")["stride_in"] == strides
    images = torch.randn(1, 3, SIZE, SIZE, generator=torch.Generator().manual_seed(1))
    wanted = reference(torch.load(theirs), images, stem, strides).numpy()
    with open_model(tmp_path / "int8") as opened:
        answered = opened.session.run(images.numpy())
    # Eight channels leave INT8 little room; another stride or pool gives other answers altogether.
    assert np.corrcoef(answered.ravel(), wanted.ravel())[0, 1] > 0.8
    older = bundle.manifest.to_json().replace(f'"stride_in": "{strides}"', '"later": 1')
    assert '"later"' in older
    assert Manifest.from_json(older).stride_in == "3x3"


def test_prune_and_quantize_keep_the_variant_when_both_train(tmp_path: Path) -> None:
    theirs, told = saved(tmp_path, "resnet50"), NetworkTold("small-pool", "1x1")
    options = PruneOptions(macs=0.9, criterion="l1", step=2, images=4, train=ONE_EPOCH)
    prune(theirs, tmp_path / "pruned.pt", options, image_size=SIZE, network=told,
          context=context_of())  # fmt: skip
    pruned = load_checkpoint(tmp_path / "pruned.pt", network=told)
    images = torch.randn(2, 3, SIZE, SIZE)
    with torch.inference_mode():
        wanted = reference(pruned.state_dict, images, "small-pool", "1x1")
        torch.testing.assert_close(pruned.build()(images), wanted, rtol=1e-3, atol=1e-3)
    # With its statistics folded in: these are not those of the images.
    qat = QuantizeOptions(method="qat", calibration_images=10, freeze_bn=0, train=ONE_EPOCH)
    quantize(tmp_path / "pruned.pt", tmp_path / "int8.pt", qat, context=context_of())
    quantized = load_checkpoint(tmp_path / "int8.pt", network=told)
    assert (quantized.precision, quantized.stem) == ("int8", "small-pool")
    with torch.inference_mode():
        folded = cast(QuantResNet, quantized.build())
        for quantizer in folded.quantizers().values():
            quantizer.enabled = False
        torch.testing.assert_close(folded(images), wanted, rtol=0.1, atol=0.1)


@pytest.mark.slow
def test_compare_has_the_same_answers_when_the_variant_is_told_of_the_checkpoint_alone(
    tmp_path: Path,
) -> None:
    theirs, told = saved(tmp_path), NetworkTold("small-pool")
    export(theirs, tmp_path / "b", target="onnx", precision="fp32", image_size=SIZE, network=told,
           context=context_of())  # fmt: skip
    result = compare([theirs, tmp_path / "b"], options=RunOptions(stem="small-pool"), rounds=2,
                     image_size=SIZE, context=context_of())  # fmt: skip
    assert result["rows"][1]["agreement"] == 1.0


def test_compare_refuses_when_a_stem_is_told_and_no_checkpoint_is_compared(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="--stem is of checkpoints"):
        compare([tmp_path / "a.onnx", tmp_path / "b"], options=RunOptions(stem="small-pool"))


@pytest.mark.parametrize("name", ["x.onnx", "bundle"])
def test_open_model_and_inspect_refuse_when_a_stem_is_of_no_checkpoint(
    tmp_path: Path, name: str
) -> None:
    with (
        pytest.raises(InputError, match="--stem, --stride-in says nothing"),
        open_model(tmp_path / name, options=RunOptions(stem="small", stride_in="1x1")),
    ):
        pass
    with pytest.raises(InputError, match="--stem says nothing"):
        inspect(tmp_path / name, network=NetworkTold("small"))


def test_take_checkpoint_refuses_when_a_recipes_arch_is_not_the_files(tmp_path: Path) -> None:
    theirs = str(saved(tmp_path, "resnet50"))
    wrong = ModelSettings("resnet18", weights=theirs)
    with pytest.raises(InputError, match="resnet50, so --arch resnet18 has no effect"):
        take_checkpoint(tmp_path / "own.pt", theirs, arch=wrong.arch_told)
    unsaid = ModelSettings(weights=theirs)
    take_checkpoint(tmp_path / "own.pt", theirs, arch=unsaid.arch_told)
    assert load_checkpoint(tmp_path / "own.pt").arch == "resnet50"
    # As it was, and so are the keys of runs from before.
    assert ModelSettings(weights="torchvision:IMAGENET1K_V1").arch_told == "resnet18"
    assert ModelSettings().to_dict()["arch"] == "resnet18"


def test_take_checkpoint_has_the_stem_that_a_recipe_says(tmp_path: Path) -> None:
    take_checkpoint(
        tmp_path / "own.pt", str(saved(tmp_path)), network=ModelSettings(stem="small-pool").network
    )
    assert load_checkpoint(tmp_path / "own.pt").stem == "small-pool"
    assert inspect(tmp_path / "own.pt")["stem"] == "small-pool"


def test_train_begins_with_the_variant_when_it_is_told(tmp_path: Path) -> None:
    settings = ModelSettings(
        "resnet50", weights=str(saved(tmp_path, "resnet50")), stem="small-pool", stride_in="1x1"
    )
    # An architecture left out is that of the weights.
    settings = replace(settings, arch=None)
    trained, _ = train_checkpoint(settings, ONE_EPOCH, image_size=SIZE, context=context_of())
    assert (trained.arch, trained.stem, trained.stride_in) == ("resnet50", "small-pool", "1x1")
    with pytest.raises(InputError, match="no effect"):
        train_checkpoint(
            ModelSettings("resnet18", stride_in="1x1"), ONE_EPOCH, context=context_of()
        )
