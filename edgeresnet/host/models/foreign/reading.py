"""Reads the tensors and plain values of a checkpoint file, and runs nothing that it holds."""

from __future__ import annotations

import warnings
import zipfile
from collections.abc import Callable
from mmap import ACCESS_READ, mmap
from pathlib import Path
from typing import Any

import torch

from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened
from edgeresnet.host.models.foreign.archive import check_archive
from edgeresnet.host.models.foreign.content import check_content
from edgeresnet.host.models.foreign.damage import refused_if_damaged
from edgeresnet.host.models.foreign.exported import is_exported, read_exported
from edgeresnet.host.models.foreign.file_kinds import OF_TORCH, check_kind
from edgeresnet.host.models.foreign.inert import inert_types
from edgeresnet.host.models.foreign.torchscript import is_torchscript, read_torchscript
from edgeresnet.untrusted import opened, parse_json

_CALL = b"bytearray\n"
_METADATA = "__metadata__"  # as the format itself calls it


def read_tensors(path: Path) -> dict[str, Any]:
    """What is in a checkpoint file, without running anything that it carries.

    Raises:
        InputError: there is no such file, or it is none that can be read whole and without harm.
    """
    if not path.exists():
        raise InputError(f"checkpoint {shortened(path)} does not exist", "check the path.")
    if path.is_dir():
        raise _folder(path)
    with opened(path, "checkpoint"):
        pass  # a pipe or a device is refused, before anything waits for it
    check_kind(path)
    names, room = check_archive(path)
    if names and not names & OF_TORCH:
        raise InputError(
            f"{shortened(path)} is a zip archive, not a checkpoint", "unpack it first."
        )
    _check_calls(path, names)
    for is_format, read in FORMATS.values():
        if is_format(path, names):
            content = read(path)
            break
    else:
        content = read_pickle(path)
    if not isinstance(content, dict):
        raise InputError(
            f"{shortened(path)} holds a {type(content).__name__}, not a state_dict",
            "save model.state_dict() and give that file.",
        )
    check_content(content, path, room)
    return content


def _check_calls(path: Path, names: set[str]) -> None:
    """Refuse a call that torch's reader would make: it fills a bytearray of any length with zeros.

    A pickle has the name of what it calls as it is; others than such are refused by torch.
    """
    with refused_if_damaged(path):
        if names:
            with zipfile.ZipFile(path) as archive:
                pickles = [part for part in archive.namelist() if part.endswith("data.pkl")]
                calls = any(_CALL in archive.read(part) for part in pickles)
        else:
            with path.open("rb") as file, mmap(file.fileno(), 0, access=ACCESS_READ) as whole:
                calls = whole.find(_CALL) >= 0
    if calls:
        raise InputError(
            f"{shortened(path)} holds a bytearray, which no network does",
            "save model.state_dict() alone, and give that file.",
        )


def read_pickle(path: Path) -> Any:
    """What ``torch.save`` wrote: tensors, plain values and a few types that run nothing.

    Raises:
        InputError: it is damaged, or runs code.
    """
    with (
        refused_if_damaged(path),
        warnings.catch_warnings(),
        torch.serialization.safe_globals(inert_types()),  # type: ignore[arg-type]
    ):
        # A pickle of another protocol is refused or read, whatever torch says about it.
        warnings.filterwarnings("ignore", "Detected pickle protocol")
        return torch.load(path, map_location="cpu", weights_only=True)


def _is_safetensors(path: Path) -> bool:
    """By its name, or by what its first bytes are under any: a length, and that much JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    length = int.from_bytes(head[:8], "little")
    named = path.suffix.lower() == ".safetensors"
    return named or (head[8:] == b"{" and 8 + length <= path.stat().st_size)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import safe_open

    with refused_if_damaged(path), safe_open(str(path), framework="pt") as file:
        tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
        said = file.metadata() or {}
    return {**tensors, _METADATA: {key: _value_of(text) for key, text in said.items()}}


def _value_of(text: str) -> Any:
    """What a text of the metadata holds, which knows no other type: often JSON."""
    try:
        return parse_json(text)
    except ValueError:
        return text


def _folder(path: Path) -> InputError:
    if (path / ".metadata").is_file():
        return InputError(
            f"{path} is a folder that torch.distributed.checkpoint wrote in parts",
            "make one file of them: python -m torch.distributed.checkpoint.format_utils "
            f"dcp_to_torch {path} weights.pth.",
        )
    return InputError(f"checkpoint {path} is a folder", "give the file in it.")


# Besides what torch.save wrote: how a file is known, by itself and the names of an archive's parts,
# and what reads it.
FORMATS: dict[str, tuple[Callable[[Path, set[str]], bool], Callable[[Path], dict[str, Any]]]] = {
    "safetensors": (lambda path, _: _is_safetensors(path), _read_safetensors),
    "TorchScript": (lambda _, names: is_torchscript(names), read_torchscript),
    "torch.export": (lambda _, names: is_exported(names), read_exported),
}
