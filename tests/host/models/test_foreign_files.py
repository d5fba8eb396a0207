"""What files hold beside tensors, and what is no checkpoint at all."""

from __future__ import annotations

import argparse
import collections
import datetime
import sys
import types
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import load_checkpoint
from tests.host.models.foreign_networks import answers, loaded, narrow, tensors_of


@pytest.mark.parametrize(
    "beside",
    [
        argparse.Namespace(lr=0.1, data_path="/data", device=torch.device("cpu")),
        types.SimpleNamespace(lr=0.1),
        np.float64(0.5), np.float32(0.5), np.int64(3), np.bool_(True), np.arange(4.0),
        np.array(["a", "b"], dtype=object), np.dtype("float32"), Path("/data"),
        datetime.datetime(2026, 11, 26), datetime.timedelta(1),
        collections.defaultdict(list, {"loss": [0.1]}), range(3), frozenset({1}), slice(0, 2),
        torch.__version__,
    ],
    ids=lambda value: type(value).__name__,
)  # fmt: skip
def test_load_checkpoint_reads_the_tensors_when_plain_values_are_beside(
    tmp_path: Path, beside: object
) -> None:
    model = narrow()
    checkpoint = loaded(tmp_path, {"state_dict": tensors_of(model), "args": beside})
    assert torch.equal(answers(checkpoint.build()), answers(model))


class AttributeDict(dict[str, object]):
    """As Lightning's hyper-parameters are saved."""

    __module__ = "pytorch_lightning.utilities.parsing"


def test_load_checkpoint_reads_the_tensors_when_hyper_parameters_are_lightnings(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    name = AttributeDict.__module__
    module = types.ModuleType(name)
    module.AttributeDict = AttributeDict  # type: ignore[attr-defined]
    content = {"state_dict": tensors_of(narrow()),
               "hyper_parameters": AttributeDict(lr=0.1, classes=list("abcde"))}  # fmt: skip
    with monkeypatch.context() as patch:
        for part in ("pytorch_lightning", "pytorch_lightning.utilities"):
            patch.setitem(sys.modules, part, types.ModuleType(part))
        patch.setitem(sys.modules, name, module)
        torch.save(content, tmp_path / "x.ckpt")
    assert load_checkpoint(tmp_path / "x.ckpt").classes == ("a", "b", "c", "d", "e")


def test_load_checkpoint_names_the_class_when_it_is_code(tmp_path: Path) -> None:
    torch.save(narrow(), tmp_path / "whole.pth")
    with pytest.raises(InputError, match=r"runs code \(of torchvision\.models\.resnet\.ResNet\)"):
        load_checkpoint(tmp_path / "whole.pth")


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (b"", "empty"),
        (b"\n<!DOCTYPE html><html>sign in</html>", "web page"),
        (b"<html><head>", "web page"),
        (b"version https://git-lfs.github.com/spec/v1\noid sha256:0\nsize 1\n", "LFS pointer"),
        (b'{"error": "not found"}', "JSON"),
        (b"\x89HDF\r\n\x1a\n" + b"\0" * 100, "HDF5"),
        (b"\x1f\x8b" + b"\0" * 100, "gzip"),
        (b"PK\x03\x04" + b"\0" * 100, "damaged"),
        (b"nothing of the kind", "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)
@pytest.mark.parametrize("suffix", [".pth", ".safetensors"])
def test_load_checkpoint_says_what_the_file_is_when_it_is_no_checkpoint(
    tmp_path: Path, content: bytes, told: str, suffix: str
) -> None:
    path = tmp_path / f"x{suffix}"
    path.write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        load_checkpoint(path)
    assert "weights_only=False" not in str(caught.value)


@pytest.mark.filterwarnings("ignore:`torch.jit")
def test_load_checkpoint_says_torchscript_when_it_is_an_archive(tmp_path: Path) -> None:
    torch.jit.script(torch.nn.Linear(2, 2)).save(tmp_path / "x.pt")
    with pytest.raises(InputError, match="TorchScript"):
        load_checkpoint(tmp_path / "x.pt")
