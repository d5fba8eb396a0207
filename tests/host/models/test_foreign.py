"""Somebody else's tensors: the same logits, or a refusal that names the tensor."""

from __future__ import annotations

import copy
import re
from pathlib import Path

import pytest
import torch
from torch import nn
from torch.nn.utils import prune

from edgeresnet.errors import InputError
from edgeresnet.host.models import checkpoint as checkpoints
from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from edgeresnet.host.models.weights import weights_digest
from edgeresnet.settings.inputs import NO_CHANGES, InputChanges
from tests.host.models.foreign_networks import (
    Tensors,
    answers,
    loaded,
    narrow,
    tensors_of,
    with_biases,
)


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_load_checkpoint_folds_biases_exactly_when_convolutions_have_them(
    tmp_path: Path, arch: str
) -> None:
    model = with_biases(narrow(arch))
    checkpoint = loaded(tmp_path, tensors_of(model))
    assert torch.allclose(answers(checkpoint.build()), answers(model), atol=1e-4)
    assert any("biases" in note for note in checkpoint.provenance["notes"])


@pytest.mark.parametrize(
    ("name", "shape", "what"),
    [
        ("layer1.0.ca.fc.weight", (8, 8), "attention"),
        ("layer2.1.cbam.conv.weight", (1, 2, 7, 7), "attention"),
        ("layer3.0.se_module.fc1.weight", (2, 8, 1, 1), "attention"),
        ("layer4.0.eca.conv.weight", (1, 1, 3), "attention"),
        ("layer1.0.gate", (8,), "gate"),
        ("layer1.0.gamma", (), "plain ResNet does not have"),
        ("bn0.weight", (3,), "normalization of the input"),
        ("normalize.mean", (1, 3, 1, 1), "normalization of the input"),
        ("layer2.0.blur.filt", (8, 1, 3, 3), "convolution"),
        ("layer1.0.relu.weight", (1,), "PReLU"),
        ("aux.weight", (5, 8), "several heads"),
        ("fc_colour.weight", (3, 8), "several heads"),
        ("criterion.weight", (5, 8), "linear layers"),
        ("temperature", (), "plain ResNet does not have"),
        ("layer1.0.conv1.weight_scale", (8,), "quantization"),
    ],
)
def test_load_checkpoint_refuses_by_name_when_a_tensor_would_be_dropped(
    tmp_path: Path, name: str, shape: tuple[int, ...], what: str
) -> None:
    tensors = tensors_of(narrow()) | {name: torch.rand(shape)}
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, tensors)
    assert name in caught.value.cause
    assert what in caught.value.cause


def test_load_checkpoint_says_what_is_left_out_when_it_is_harmless(tmp_path: Path) -> None:
    model = narrow()
    tensors = tensors_of(model) | {
        "criterion.weight": torch.ones(5),
        "val_acc.correct": torch.tensor(3),
        "layer1.0.conv1.total_ops": torch.zeros(1),
        "n_averaged": torch.tensor(1),
    }
    lines: list[str] = []
    checkpoint = loaded(tmp_path, tensors, on_step=lines.append)
    assert torch.equal(answers(checkpoint.build()), answers(model))
    said = next(line for line in lines if "left out" in line)
    assert all(name in said for name in ("criterion.weight", "val_acc.correct", "n_averaged"))
    assert f"theirs.pth: {checkpoint.provenance['assumed']}" in lines[0]


@pytest.mark.parametrize(
    ("raw_key", "ema_key"),
    [
        ("state_dict", "state_dict_ema"), ("model", "model_ema"), ("model", "ema"),
        ("model_state_dict", "ema_state_dict"),
    ],
)  # fmt: skip
def test_load_checkpoint_takes_the_average_and_says_so_when_it_is_beside(
    tmp_path: Path, raw_key: str, ema_key: str
) -> None:
    raw, ema = narrow(seed=1), narrow(seed=2)
    averaged: dict[str, object] = {f"module.{n}": t for n, t in tensors_of(ema).items()}
    content = {"epoch": 3, raw_key: tensors_of(raw), ema_key: averaged}
    checkpoint = loaded(tmp_path, content)
    assert torch.equal(answers(checkpoint.build()), answers(ema))
    assert f"EMA weights ({ema_key}" in checkpoint.provenance["assumed"]
    checkpoint = loaded(tmp_path, content, raw=True)
    assert torch.equal(answers(checkpoint.build()), answers(raw))
    assert "raw weights" in checkpoint.provenance["assumed"]


def test_load_checkpoint_takes_the_average_when_both_are_in_one_state_dict(tmp_path: Path) -> None:
    raw, ema = narrow(seed=1), narrow(seed=2)
    tensors = {f"model.{n}": t for n, t in tensors_of(raw).items()}
    tensors |= {f"model_ema.module.{n}": t for n, t in tensors_of(ema).items()}
    checkpoint = loaded(tmp_path, {"state_dict": tensors})
    assert torch.equal(answers(checkpoint.build()), answers(ema))


def test_load_checkpoint_refuses_when_two_networks_are_in_the_file(tmp_path: Path) -> None:
    content = {"model": tensors_of(narrow(seed=1)), "teacher": tensors_of(narrow(seed=2))}
    with pytest.raises(InputError, match="2 networks: model, teacher"):
        loaded(tmp_path, content)
    with pytest.raises(InputError, match="only EMA"):
        loaded(tmp_path, {"ema": tensors_of(narrow())}, raw=True)


def test_load_checkpoint_applies_masks_when_pruned_by_torch(tmp_path: Path) -> None:
    model = narrow()
    for module in model.modules():
        if isinstance(module, (nn.Conv2d, nn.Linear)):
            prune.l1_unstructured(module, "weight", amount=0.5)
    expected = answers(model)
    checkpoint = loaded(tmp_path, tensors_of(model))
    assert torch.equal(answers(checkpoint.build()), expected)
    assert (checkpoint.state_dict["layer2.0.conv2.weight"] == 0).float().mean() >= 0.5


def _head(tensors: Tensors, name: str, *, bias: bool = True) -> Tensors:
    renamed = {n: t for n, t in tensors.items() if not n.startswith("fc.")}
    renamed[f"{name}.weight"] = tensors["fc.weight"]
    if bias:
        renamed[f"{name}.bias"] = tensors["fc.bias"]
    return renamed


@pytest.mark.parametrize(
    "name",
    ["fc.1", "head.fc", "classifier", "linear", "last_linear", "fc.fc", "output", "classifier.1"],
)
@pytest.mark.parametrize("prefix", ["", "backbone.", "feature_extractor.resnet."])
def test_load_checkpoint_finds_the_classifier_when_it_has_another_name(
    tmp_path: Path, name: str, prefix: str
) -> None:
    model = narrow()
    tensors = {
        (n if n.startswith(name) and prefix else prefix + n): t
        for n, t in _head(tensors_of(model), name).items()
    }
    checkpoint = loaded(tmp_path, {"state_dict": tensors})
    assert torch.equal(answers(checkpoint.build()), answers(model))


def test_load_checkpoint_gives_equal_logits_when_the_classifier_has_no_bias(
    tmp_path: Path,
) -> None:
    model = narrow()
    nn.init.zeros_(model.fc.bias)
    checkpoint = loaded(tmp_path, _head(tensors_of(model), "fc", bias=False))
    assert torch.equal(answers(checkpoint.build()), answers(model))


def test_load_checkpoint_makes_two_classes_when_there_is_one_output(tmp_path: Path) -> None:
    model = narrow(outputs=1)
    checkpoint = loaded(tmp_path, tensors_of(model))
    z = answers(model)
    assert len(checkpoint.classes) == 2
    assert torch.allclose(
        answers(checkpoint.build()), torch.cat([torch.zeros_like(z), z], 1), atol=1e-6
    )
    assert any("two classes" in note for note in checkpoint.provenance["notes"])


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"fc.0.weight": (16, 8), "fc.0.bias": (16,), "fc.3.weight": (5, 16), "fc.3.bias": (5,)},
         ["fc.0.weight (16, 8)", "fc.3.weight (5, 16)"]),
        ({"conv1.weight": (8, 1, 3, 3), "fc.weight": (5, 8)}, ["conv1.weight", "1 channels"]),
        ({"conv1.weight": (8, 4, 7, 7), "fc.weight": (5, 8)}, ["conv1.weight", "4 channels"]),
        ({"fc_a.weight": (3, 8), "fc_b.weight": (2, 8)}, ["fc_a.weight", "fc_b.weight"]),
        ({"criterion.pos_weight": (5,), "fc.weight": (5, 8)}, ["pos_weight", "several labels"]),
        ({"proj.weight": (5, 8)}, ["proj.weight"]),
        ({"neck.scale": (8,)}, ["no classifier", "neck.scale (8,)"]),
        ({"fc.weight": (5, 9)}, ["fc.weight", "(5, 9)"]),
    ],
)  # fmt: skip
def test_load_checkpoint_refuses_by_name_when_it_is_another_network(
    tmp_path: Path, changes: dict[str, tuple[int, ...]], told: list[str]
) -> None:
    tensors = {n: t for n, t in tensors_of(narrow()).items() if not n.startswith("fc.")}
    tensors |= {name: torch.rand(shape) for name, shape in changes.items()}
    with pytest.raises(InputError) as caught:
        loaded(tmp_path, tensors)
    assert all(part in caught.value.cause for part in told), caught.value.cause


def test_load_checkpoint_gives_plain_tensors_when_parameters_were_saved(tmp_path: Path) -> None:
    model = narrow()
    checkpoint = loaded(tmp_path, tensors_of(model) | dict(model.named_parameters()))
    assert torch.equal(answers(checkpoint.build()), answers(model))
    assert weights_digest(checkpoint.state_dict)
    assert not any(tensor.requires_grad for tensor in checkpoint.state_dict.values())


def test_load_checkpoint_refuses_when_weights_are_integers(tmp_path: Path) -> None:
    tensors = tensors_of(narrow())
    tensors["layer1.0.conv1.weight"] = (tensors["layer1.0.conv1.weight"] * 100).to(torch.int8)
    with pytest.raises(InputError, match=r"layer1\.0\.conv1\.weight holds torch\.int8"):
        loaded(tmp_path, tensors)


def test_load_checkpoint_says_which_statistics_are_missing_when_normalization_has_none(
    tmp_path: Path,
) -> None:
    tensors = {n: t for n, t in tensors_of(narrow("resnet50")).items() if "running" not in n}
    with pytest.raises(InputError, match=r"lacks bn1\.running_mean") as caught:
        loaded(tmp_path, {"state_dict": tensors})
    assert "another normalization" in caught.value.fix
    with pytest.raises(InputError, match=r"EMA weights \(ema\) lack bn1") as caught:
        loaded(tmp_path, {"state_dict": tensors_of(narrow("resnet50")), "ema": tensors})
    assert "--raw" in caught.value.fix


@pytest.mark.parametrize("prefix", ["resnet.", "encoder.", "feature_extractor.", "a.b.module."])
def test_load_checkpoint_finds_the_network_when_the_prefix_is_unknown(
    tmp_path: Path, prefix: str
) -> None:
    model = narrow()
    content = {
        "weird": {prefix + n: t for n, t in tensors_of(model).items()},
        "optimizer": {"state": {0: {"momentum_buffer": torch.rand(8, 3, 3, 3)}}},
        "best_acc1": torch.tensor(75.0),
    }
    checkpoint = loaded(tmp_path, content)
    assert torch.equal(answers(checkpoint.build()), answers(model))


def test_load_checkpoint_says_what_no_tensor_shows_when_it_is_foreign(tmp_path: Path) -> None:
    checkpoint = loaded(tmp_path, tensors_of(narrow("resnet50", "imagenet")))
    assert checkpoint.provenance["assumed"] == (
        "resnet50, 7x7 stem of stride 2 with max-pool, stride in the 3x3 convolutions, ReLU "
        "without anti-aliasing or dilation, raw weights, RGB, 224 px cut out of a shorter side of "
        "256 px (bilinear), ImageNet's mean and std, classes by sorted folder name "
        "(by number where images have no labels)"
    )


def test_load_checkpoint_leaves_the_files_order_alone_when_nothing_is_new(tmp_path: Path) -> None:
    # Stages and half-finished trainings are known by a hash of the weights in this order.
    model = narrow()
    tensors = dict(reversed(tensors_of(model).items()))
    checkpoint = loaded(tmp_path, {f"module.{n}": t for n, t in copy.deepcopy(tensors).items()})
    assert list(checkpoint.state_dict) == list(tensors)
    assert not any(re.search("left out", note) for note in checkpoint.provenance["notes"])


@pytest.mark.parametrize(
    ("inputs", "said"),
    [
        (NO_CHANGES, "RGB, the whole image as 32 x 32 px (bilinear), ImageNet's mean and std"),
        (InputChanges(resize=40, channels="bgr"), "BGR, 32 px cut out of a shorter side of 40 px"),
        (InputChanges(crop_ratio=0.8, interpolation="bicubic"), "side of 40 px (bicubic)"),
        (InputChanges(resize="squash", crop_ratio=0.8), "of the whole image as 40 x 40 px"),
        (InputChanges(mean=(0.5,) * 3, channels="gray"), "mean 0.5/0.5/0.5 and std 0.229/0.224/"),
    ],
)
def test_load_checkpoint_says_the_input_that_it_takes_when_some_of_it_is_told(
    tmp_path: Path, inputs: InputChanges, said: str
) -> None:
    torch.save(tensors_of(narrow()), tmp_path / "theirs.pth")
    lines: list[str] = []
    theirs = load_checkpoint(tmp_path / "theirs.pth", inputs=inputs, on_step=lines.append)
    assert said in theirs.provenance["assumed"]
    assert said in lines[0]
    plain = load_checkpoint(tmp_path / "theirs.pth")
    save_checkpoint(plain, tmp_path / "ours.pt")
    ours = load_checkpoint(tmp_path / "ours.pt", inputs=inputs)
    assert ours.provenance["assumed"] == theirs.provenance["assumed"]
    assert ours.input_spec == theirs.input_spec


def test_load_checkpoint_says_232_px_when_torchvisions_weights_were_measured_so(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    content = tensors_of(narrow("resnet50", "imagenet", outputs=2))
    monkeypatch.setattr(checkpoints, "fetch_torchvision", lambda *_: (content, ["a", "b"]))
    published = load_checkpoint("torchvision:resnet50:IMAGENET1K_V2")
    said = "RGB, 224 px cut out of a shorter side of 232 px (bilinear), ImageNet's mean and std"
    assert said in published.provenance["assumed"]
