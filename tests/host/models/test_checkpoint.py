"""Checkpoints of many origins become one; what is none is refused with its reason."""

from __future__ import annotations

import pickle
from pathlib import Path

import pytest
import safetensors.torch
import timm
import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.resnet import ARCHS, Widths, build_resnet


def logits(checkpoint: Checkpoint) -> torch.Tensor:
    torch.manual_seed(1)
    with torch.inference_mode():
        result: torch.Tensor = checkpoint.build()(torch.randn(2, 3, 32, 32))
    return result


@pytest.mark.parametrize(
    ("stem", "arch"),
    [
        # All have both stems; the largest take seconds.
        pytest.param(stem, arch, marks=[pytest.mark.slow] if stem == "imagenet" and large else [])
        for stem in ("imagenet", "small")
        for arch in ARCHS
        for large in (arch in ("resnet101", "resnet152"),)
    ],
)
def test_load_checkpoint_reads_arch_and_stem_off_the_tensors(
    tmp_path: Path, arch: str, stem: str
) -> None:
    with torch.device("meta"):
        shapes = build_resnet(arch, 7, stem).state_dict()
    tensors = {name: torch.zeros(t.shape, dtype=t.dtype) for name, t in shapes.items()}
    torch.save(tensors, tmp_path / "foreign.pth")
    found = load_checkpoint(tmp_path / "foreign.pth")
    assert (found.arch, found.stem, len(found.classes)) == (arch, stem, 7)
    assert found.widths == Widths.dense(arch)
    assert found.input_spec.image_size == (32 if stem == "small" else 224)


@pytest.mark.parametrize(
    "wrap", ["ddp", "lightning", "compiled", "container", "safetensors", "own"]
)
def test_load_checkpoint_gives_the_same_network_when_it_is_wrapped(
    tmp_path: Path, checkpoint: Checkpoint, wrap: str
) -> None:
    tensors = checkpoint.state_dict
    path = tmp_path / ("x.safetensors" if wrap == "safetensors" else "x.pt")
    if wrap == "safetensors":
        safetensors.torch.save_file(tensors, path)
    elif wrap == "own":
        save_checkpoint(checkpoint, path)
    else:
        prefix = {"ddp": "module.", "lightning": "model.", "compiled": "_orig_mod."}.get(wrap, "")
        content: dict[str, object] = {prefix + name: t for name, t in tensors.items()}
        if wrap in ("lightning", "container"):
            key = "state_dict" if wrap == "lightning" else "model_state_dict"
            content = {key: content, "epoch": 3}
        torch.save(content, path)
    assert torch.equal(logits(load_checkpoint(path)), logits(checkpoint))


@pytest.mark.parametrize("name", ["resnet18", "resnet50"])
def test_load_checkpoint_agrees_with_timm_when_the_weights_are_timms(
    tmp_path: Path, name: str
) -> None:
    torch.manual_seed(0)
    model = timm.create_model(name, num_classes=5).eval()
    torch.save(model.state_dict(), tmp_path / "timm.pth")
    images = torch.randn(2, 3, 64, 64)
    with torch.inference_mode():
        found = load_checkpoint(tmp_path / "timm.pth").build()(images)
        assert torch.allclose(found, model(images), atol=1e-4)


@pytest.mark.parametrize(
    ("name", "told"), [("resnet50d", "deep stem|conv1"), ("resnext50_32x4d", "resnext|group|width")]
)
def test_load_checkpoint_refuses_when_it_is_a_relative(
    tmp_path: Path, name: str, told: str
) -> None:
    torch.save(timm.create_model(name, num_classes=5).state_dict(), tmp_path / "x.pth")
    with pytest.raises(InputError, match=f"(?i){told}"):
        load_checkpoint(tmp_path / "x.pth")


class _Code:
    def __reduce__(self) -> tuple[object, tuple[str]]:
        return (print, ("code ran",))


def test_load_checkpoint_refuses_and_runs_nothing_when_the_pickle_has_code(
    tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    torch.save({"fc.weight": torch.zeros(2, 2), "extra": _Code()}, tmp_path / "x.pt")
    (tmp_path / "y.pkl.pt").write_bytes(pickle.dumps(_Code()))
    for name in ("x.pt", "y.pkl.pt"):
        with pytest.raises(InputError) as caught:
            load_checkpoint(tmp_path / name)
        assert "code" in caught.value.cause
    assert "code ran" not in capsys.readouterr().out


def test_load_checkpoint_refuses_when_a_weight_is_nan(
    tmp_path: Path, checkpoint: Checkpoint
) -> None:
    tensors = {name: t.clone() for name, t in checkpoint.state_dict.items()}
    tensors["layer2.0.conv1.weight"][0, 0, 0, 0] = float("nan")
    torch.save(tensors, tmp_path / "x.pt")
    with pytest.raises(InputError, match=r"layer2\.0\.conv1\.weight"):
        load_checkpoint(tmp_path / "x.pt")


def test_build_resnet_has_torchvisions_tensors_when_dense() -> None:
    import torchvision

    for arch in ARCHS:
        with torch.device("meta"):
            own = build_resnet(arch, 1000).state_dict()
            theirs = torchvision.models.get_model(arch).state_dict()
        assert {k: v.shape for k, v in own.items()} == {k: v.shape for k, v in theirs.items()}
