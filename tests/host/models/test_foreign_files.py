"""What files hold beside tensors, and what is no checkpoint at all."""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import enum
import fractions
import functools
import io
import pathlib
import pickle
import random
import re
import sys
import tarfile
import types
import uuid
from pathlib import Path

import numpy as np
import pytest
import torch
from safetensors.torch import save_file
from torchvision.transforms import InterpolationMode

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
        torch.__version__, collections.Counter("aab"), collections.deque([1], 3),
        collections.OrderedDict(a=1), decimal.Decimal("0.1"), fractions.Fraction(1, 3),
        uuid.UUID(int=1), datetime.datetime(2026, 11, 26, tzinfo=datetime.timezone.utc),
        1 + 2j, b"x",
        np.str_("a"), np.datetime64("2026-11-26"), np.zeros(2, [("a", "f4"), ("b", "i8")]),
        np.float16(1), np.bytes_(b"x"), np.ma.array([1, 2], mask=[0, 1]),
        np.random.default_rng(0), np.random.RandomState(0), np.random.get_state(),
        random.getstate(), pathlib.PureWindowsPath("a"), InterpolationMode.BICUBIC,
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


class Colour(enum.Enum):
    RED = 1


class Own(dict[str, int]):
    """A class of somebody's script."""


# In torch's messages: how to have a file's code run.
UNSAFE = re.compile(r"(?i)weights_only|safe_globals|allow-?list|re-running|pytorch 2\.6")


@pytest.mark.parametrize("legacy", [False, True])
@pytest.mark.parametrize(
    ("beside", "name"),
    [
        (Own(a=1), f"{__name__}.Own"), (Own, f"{__name__}.Own"), (Colour.RED, f"{__name__}.Colour"),
        (functools.partial(print, 1), "functools.partial"), (len, "len"), (eval, "eval"),
        (torch.nn.ReLU(), "torch.nn.modules.activation.ReLU"), (re.compile("a"), "re._compile"),
        (torch.optim.SGD, "torch.optim.sgd.SGD"), (type(None), "type"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_load_checkpoint_names_the_type_and_advises_nothing_unsafe_when_it_is_code(
    tmp_path: Path, beside: object, name: str, legacy: bool
) -> None:
    content = {"state_dict": tensors_of(narrow()), "args": beside}
    torch.save(content, tmp_path / "x.pth", _use_new_zipfile_serialization=not legacy)
    with pytest.raises(InputError, match=re.escape(f"runs code (of {name})")) as caught:
        load_checkpoint(tmp_path / "x.pth")
    assert not UNSAFE.search(str(caught.value))


def _tar() -> bytes:
    """As torch wrote them before 2018."""
    whole = io.BytesIO()
    with tarfile.open(fileobj=whole, mode="w") as archive:
        for name in ("sys_info", "pickle", "tensors", "storages"):
            archive.addfile(tarfile.TarInfo(name))
    return whole.getvalue()


@pytest.mark.parametrize(
    ("content", "told"),
    [
        (_tar(), "tar archive"),
        *((pickle.dumps({"model": {"a": np.ones(2)}}, protocol), "damaged")
          for protocol in range(pickle.HIGHEST_PROTOCOL + 1)),
        (pickle.dumps(Own(a=1)), "damaged"),
    ],
    ids=lambda value: value if isinstance(value, str) else "",
)  # fmt: skip
def test_load_checkpoint_advises_nothing_unsafe_when_torch_does(
    tmp_path: Path, content: bytes, told: str
) -> None:
    (tmp_path / "x.pth").write_bytes(content)
    with pytest.raises(InputError, match=told) as caught:
        load_checkpoint(tmp_path / "x.pth")
    assert not UNSAFE.search(str(caught.value))


def test_load_checkpoint_advises_nothing_unsafe_whatever_byte_is_another(tmp_path: Path) -> None:
    buffer = io.BytesIO()
    own = {"state_dict": {"a": torch.ones(2)}, "args": argparse.Namespace(a=[1, {"b": 2.0}])}
    torch.save(own, buffer, _use_new_zipfile_serialization=False)
    whole, path = buffer.getvalue(), tmp_path / "x.pth"
    drawn = random.Random(0)
    for _ in range(300):
        changed = bytearray(whole)
        changed[drawn.randrange(len(whole))] = drawn.randrange(256)
        path.write_bytes(changed)
        with pytest.raises(InputError) as caught:
            load_checkpoint(path)
        assert not UNSAFE.search(str(caught.value))


def test_load_checkpoint_reads_safetensors_under_any_name(tmp_path: Path) -> None:
    model = narrow()
    save_file(tensors_of(model), tmp_path / "model.bin")
    assert torch.equal(answers(load_checkpoint(tmp_path / "model.bin").build()), answers(model))


def test_load_checkpoint_says_how_to_join_parts_when_they_are_a_folder(tmp_path: Path) -> None:
    (tmp_path / ".metadata").write_bytes(b"x")
    with pytest.raises(InputError, match="in parts") as caught:
        load_checkpoint(tmp_path)
    assert "dcp_to_torch" in caught.value.fix


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
