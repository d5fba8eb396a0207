"""A file of every origin: the logits of a network that knows nothing of ours, within 1e-4."""

from __future__ import annotations

import functools
import itertools
from collections import Counter
from pathlib import Path

import pytest
import torch
from torch import nn

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint
from edgeresnet.host.models.foreign.origins import ORIGINS
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.network import NetworkTold, Stem
from tests.host.models import foreign_files as f
from tests.host.models.foreign_files import ForeignFile
from tests.host.models.foreign_networks import Tensors, loaded, narrow, tensors_of
from tests.host.models.foreign_origins import FILES
from tests.host.models.test_foreign_names import detectron2
from tests.host.models.test_network_variants import reference


def plain(model: nn.Module) -> nn.Module:
    """The same network without biases of convolutions and masks, by other means than ours."""
    for module in model.modules():
        for conv, norm in _pairs(module):
            if conv.bias is not None:
                norm.running_mean -= conv.bias.data
                conv.bias = None
            norm.running_var += norm.eps - 1e-5
            conv.weight = nn.Parameter(conv.weight.detach().clone())
    return model


def _pairs(module: nn.Module) -> list[tuple[nn.Conv2d, nn.BatchNorm2d]]:
    children = list(module.children())
    return [(one, two) for one, two in itertools.pairwise(children)
            if isinstance(one, nn.Conv2d) and isinstance(two, nn.BatchNorm2d)]  # fmt: skip


@functools.cache
def network(arch: str, stem: Stem, stride_in: str) -> nn.Module:
    return narrow(arch, stem, stride_in=stride_in)


def images(size: int = 24) -> torch.Tensor:
    return torch.randn(2, 3, size, size, generator=torch.Generator().manual_seed(7))


def expected(file: ForeignFile, model: nn.Module) -> torch.Tensor:
    """By torch's functions alone; a pruned network by its own modules, which multiply masks."""
    if any(name.endswith("_mask") for name in model.state_dict()):
        return model(images())
    tensors = {n: t.half().float() if "half" in file.layout else t
               for n, t in plain(model).state_dict().items()}  # fmt: skip
    return reference(tensors, images(), file.stem, file.stride_in)


def check(file: ForeignFile, checkpoint: Checkpoint, model: nn.Module) -> None:
    assert (checkpoint.arch, checkpoint.stem) == (file.arch, file.stem)
    assert checkpoint.stride_in == file.stride_in
    for field, value in file.inputs.items():
        assert getattr(checkpoint.input_spec, field) == pytest.approx(value), field
    with torch.inference_mode():
        wanted, answered = expected(file, model), checkpoint.build()(images())
    torch.testing.assert_close(answered, wanted, rtol=1e-4, atol=1e-4)


# Each in a second or more, of an origin and kind that smaller networks have here too.
SLOW = ("pt2-export-resnet50", "torchscript-trace-resnet50", "keras-names-resnet101",
        "torchvision-plain-resnet101")  # fmt: skip


@pytest.mark.parametrize(
    "file",
    [pytest.param(file, marks=[pytest.mark.slow] if str(file) in SLOW else []) for file in FILES],
    ids=str,
)
def test_load_checkpoint_has_the_origins_logits(
    tmp_path: Path, file: ForeignFile, monkeypatch: pytest.MonkeyPatch
) -> None:
    # Every file's stem is told by its tensors or its program: the network has the same.
    model = file.prepare(network(file.arch, file.stem, file.stride_in)).eval()
    path = file.write(model, tmp_path)
    for name in ("kaiming_normal_", "kaiming_uniform_"):
        # Random weights, which loading overwrites, are half of the time of this test.
        monkeypatch.setattr(nn.init, name, lambda tensor, *_, **__: tensor)
    check(file, load_checkpoint(path), model)


def test_files_are_many_and_of_every_origin() -> None:
    of = Counter(file.origin for file in FILES)
    assert len({str(file) + file.stem for file in FILES}) >= 70
    assert len(of) == 17
    assert min(of.values()) >= 3, of
    assert set(ORIGINS) == {"torchvision", "Hugging Face", "Detectron2", "Keras",
                            "pytorch-cifar100", "a Sequential"}  # fmt: skip


def test_load_checkpoint_refuses_fastais_usual_head_by_its_tensors(tmp_path: Path) -> None:
    model = {n: t for n, t in f.named(f.fastai)(tensors_of(narrow())).items() if n[:2] == "0."}
    for name, shape in {"2": (16,), "4": (512, 16), "6": (512,), "8": (5, 512)}.items():
        model |= {f"1.{name}.weight": torch.rand(shape)}
        if len(shape) == 1:
            model |= {f"1.{name}.{n}": torch.rand(shape)
                      for n in ("bias", "running_mean", "running_var")}  # fmt: skip
    with pytest.raises(
        InputError, match=r"1\.4\.weight \(512, 16\), model\.1\.8\.weight"
    ) as caught:
        loaded(tmp_path, {"model": model, "opt": {}})
    assert "fastai" in caught.value.fix


def test_load_checkpoint_takes_what_is_told_over_an_origins_defaults(tmp_path: Path) -> None:
    tensors = f.named(detectron2)(tensors_of(narrow("resnet50")))
    checkpoint = loaded(tmp_path, tensors, network=NetworkTold(stride_in="3x3"),
                        inputs=InputChanges(channels="rgb"))  # fmt: skip
    assert checkpoint.stride_in == "3x3"
    assert checkpoint.input_spec.channels == "rgb"
    assert checkpoint.input_spec.mean == f.CAFFE_MEAN[::-1]
    usual = loaded(tmp_path, tensors)
    notes = "\n".join(usual.provenance["notes"])
    assert "channels and mean and std as Detectron2's configurations have them" in notes
    assert "stride in the 1x1 as Detectron2's configurations have it" in notes
    assert "BGR" in usual.provenance["assumed"]
    mean = loaded(tmp_path, tensors, inputs=InputChanges(mean=(0.1, 0.2, 0.3))).input_spec
    assert (mean.mean, mean.channels) == ((0.1, 0.2, 0.3), "bgr")


def test_load_checkpoint_refuses_when_a_wrapped_and_a_plain_name_are_one(tmp_path: Path) -> None:
    tensors: Tensors = tensors_of(narrow())
    tensors["layer1._orig_mod.0.conv1.weight"] = torch.rand(8, 8, 3, 3)
    with pytest.raises(InputError, match=r"layer1\._orig_mod\.0\.conv1\.weight, which are one"):
        loaded(tmp_path, tensors)
