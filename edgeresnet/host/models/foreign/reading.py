"""Reads the tensors and plain values of a checkpoint file, and runs nothing that it holds."""

from __future__ import annotations

import json
import pickle
import re
import warnings
import zipfile
from collections.abc import Callable
from pathlib import Path
from typing import Any

import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.exported import is_exported, read_exported
from edgeresnet.host.models.foreign.file_kinds import check_kind, inside
from edgeresnet.host.models.foreign.inert import inert_types
from edgeresnet.host.models.foreign.torchscript import is_torchscript, read_torchscript

_METADATA = "__metadata__"  # as the format itself calls it


def read_tensors(path: Path) -> dict[str, Any]:
    """What is in a checkpoint file, without running anything that it carries."""
    if not path.exists():
        raise InputError(f"checkpoint {path} does not exist", "check the path.")
    if path.is_dir():
        raise _folder(path)
    try:
        check_kind(path)
        names = inside(path)
        for is_format, read in FORMATS.values():
            if is_format(path, names):
                return read(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(inert_types()):  # type: ignore[arg-type]
            # A pickle of another protocol is refused or read, whatever torch says about it.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused(path, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError,
            TypeError, AssertionError, zipfile.BadZipFile) as error:  # fmt: skip
        # Of a file of any content torch's reader raises any of these.
        raise InputError(
            f"{path} is damaged or is no checkpoint: {first_line(error)}",
            "copy or download the file again.",
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}, not a state_dict",
            "save model.state_dict() and give that file.",
        )
    return content


def _is_safetensors(path: Path) -> bool:
    """By its name, or by what its first bytes are under any: a length, and that much JSON."""
    with path.open("rb") as file:
        head = file.read(9)
    length = int.from_bytes(head[:8], "little")
    named = path.suffix.lower() == ".safetensors"
    return named or (head[8:] == b"{" and 8 + length <= path.stat().st_size)


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError, safe_open

    try:
        with safe_open(str(path), framework="pt") as file:
            tensors: dict[str, Any] = {name: file.get_tensor(name) for name in file.keys()}  # noqa: SIM118 (it is no dict)
            said = file.metadata() or {}
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}", "copy or download it again.") from error
    return {**tensors, _METADATA: {key: _value_of(text) for key, text in said.items()}}


def _value_of(text: str) -> Any:
    """What a text of the metadata holds, which knows no other type: often JSON."""
    try:
        return json.loads(text)
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


# What torch goes on with: how to have a file's code run.
_ADVICE = re.compile(
    r"In PyTorch 2\.6|Re-running|Please (use|file)|, but got|\S*(weights_only|safe_globals|"
    r"allow-?list)"
)


def first_line(error: BaseException) -> str:
    """The first line of an error's text, without torch's advice; of one without text, its name."""
    line = (str(error).splitlines() or [type(error).__name__])[0]
    return _without_advice(line) or type(error).__name__


def _without_advice(line: str) -> str:
    return _ADVICE.split(line)[0].rstrip(" .,:;(`")


def refused(path: Path, error: pickle.UnpicklingError) -> InputError:
    named = re.search(r"GLOBAL `?([\w.]+)", str(error))
    if named is None:
        said = str(error).partition("WeightsUnpickler error:")[2].strip() or str(error)
        if "operand" in said:
            said = "it is pickled in another way than torch.save's, and may run code"
        said = _without_advice(said.splitlines()[0]) or "it may run code"
        return InputError(
            f"{path} is damaged, or no checkpoint that is read without running code: {said}",
            "copy or download the file again; if it is whole, where you trust it, load it "
            "yourself and save only the weights: torch.save(model.state_dict(), 'weights.pth').",
        )
    return InputError(
        f"{path} is a pickle that runs code (of {named[1]}) when it is loaded, which is refused",
        "where you trust the file, load it yourself and save only the weights: "
        "torch.save(model.state_dict(), 'weights.pth').",
    )
