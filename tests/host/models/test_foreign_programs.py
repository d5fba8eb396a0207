"""TorchScript and torch.export: weights alone, no code run; what else they do is refused."""

from __future__ import annotations

import json
import os
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import pytest
import torch
from torch import Tensor, nn
from torch.nn import functional as F
from torchvision.transforms import Normalize

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint
from tests.host.models.foreign_files import exported, script
from tests.host.models.foreign_networks import narrow


class Around(nn.Module):
    """A network with something before it that has no tensors."""

    def __init__(self, before: Callable[[Tensor], Tensor]) -> None:
        super().__init__()
        self.model, self.before = narrow(), before

    def forward(self, x: Tensor) -> Tensor:
        out: Tensor = self.model(self.before(x))
        return out


def in_halves(x: Tensor) -> Tensor:
    return (x - 0.5) / 0.25


def refused(path: Path, told: str) -> None:
    with pytest.raises(InputError, match=told) as caught:
        load_checkpoint(path)
    assert "weights_only" not in str(caught.value)


def frozen(model: nn.Module, folder: Path) -> Path:
    with warnings.catch_warnings():
        warnings.simplefilter("ignore")
        torch.jit.freeze(torch.jit.script(model)).save(str(folder / "x.pt"))
    return folder / "x.pt"


@pytest.mark.parametrize(
    ("write", "before", "told"),
    [
        (script(trace=False), Normalize([0.5] * 3, [0.5] * 3), "program with Normalize"),
        (script(trace=True), in_halves, "TorchScript program with div"),
        (script(trace=True), nn.Hardtanh(), "program with Hardtanh, hardtanh"),
        (script(trace=True), F.silu, "TorchScript program with silu"),
        (frozen, nn.Identity(), "without weights by name, as torch.jit.freeze"),
        (exported(), in_halves, r"torch\.export that has torch\.ops\.aten\.sub"),
        pytest.param(
            exported(), F.silu, r"torch\.ops\.aten\.silu", marks=pytest.mark.slow
        ),
        (exported(), lambda x: x + torch.tensor([1.0, 2, 3]).view(1, 3, 1, 1), "computes with"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_load_checkpoint_refuses_by_name_when_a_program_computes_more(
    tmp_path: Path, write: Callable[[nn.Module, Path], Path], before: Any, told: str
) -> None:
    refused(write(Around(before).eval(), tmp_path), told)


def test_load_checkpoint_refuses_when_a_program_dilates(tmp_path: Path) -> None:
    model = narrow()
    model.layer4[0].conv2 = nn.Conv2d(8, 8, 3, padding=2, dilation=2, bias=False)
    refused(exported()(model.eval(), tmp_path), "dilates a convolution")


def test_load_checkpoint_takes_a_script_whose_normalization_averages_by_division(
    tmp_path: Path,
) -> None:
    model = narrow()
    for module in model.modules():
        if isinstance(module, nn.BatchNorm2d):
            module.momentum = None
    assert load_checkpoint(script(trace=False)(model, tmp_path)).arch == "resnet18"


def test_load_checkpoint_compiles_and_runs_no_program(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    written = script(trace=False)(narrow(), tmp_path), exported()(narrow(), tmp_path)

    def never(*_: object, **__: object) -> None:
        raise AssertionError("a program was loaded")

    for module, name in ((torch.jit, "load"), (torch.export, "load")):
        monkeypatch.setattr(module, name, never)
    monkeypatch.setattr(torch._C, "import_ir_module", never)
    for path in written:
        assert load_checkpoint(path).arch == "resnet18"


def changed(path: Path, part: str, change: Callable[[bytes], bytes | None]) -> Path:
    """The archive with one of its files another, or without it."""
    other = path.with_name(f"changed{path.suffix}")
    with zipfile.ZipFile(path) as theirs, zipfile.ZipFile(other, "w") as ours:
        for name in theirs.namelist():
            content = theirs.read(name)
            made = change(content) if name.endswith(part) else content
            if made is not None:
                ours.writestr(name, made)
    return other


def pickled(content: bytes) -> bytes:
    config = json.loads(content)
    config["config"]["fc.weight"]["use_pickle"] = True
    return json.dumps(config).encode()


@pytest.mark.parametrize(
    ("part", "change", "told"),
    [
        ("model_weights_config.json", pickled, "has fc.weight as no plain numbers"),
        ("weights/weight_0", lambda content: content[:8], "fewer numbers in conv1.weight"),
        ("model_weights_config.json", lambda _: None, "no weights beside it"),
        pytest.param("models/model.json", lambda _: b"{}", "damaged", marks=pytest.mark.slow),
        ("models/model.json", lambda _: b"[", "damaged"),
    ],
)
def test_load_checkpoint_refuses_when_an_exported_program_is_not_whole(
    tmp_path: Path, part: str, change: Callable[[bytes], bytes | None], told: str
) -> None:
    refused(changed(exported()(narrow(), tmp_path), part, change), told)


def test_load_checkpoint_runs_nothing_when_a_torchscript_pickle_names_code(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def with_call(content: bytes) -> bytes:
        relu = rb"c__torch__\.torch\.nn\.modules\.activation[\w.]*\nReLU\n"
        named = re.sub(relu, b"cos\nsystem\n", content)
        assert named != content
        return named

    called: list[object] = []
    monkeypatch.setattr(os, "system", called.append)
    path = changed(script(trace=False)(narrow(), tmp_path), "/data.pkl", with_call)
    refused(path, r"runs code \(of os\.system\)")
    assert not called
