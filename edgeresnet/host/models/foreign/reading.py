"""Reads the tensors and plain values of a checkpoint file, and runs nothing that it holds."""

from __future__ import annotations

import json
import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.file_kinds import check_kind
from edgeresnet.host.models.foreign.inert import inert_types

_METADATA = "__metadata__"  # as the format itself calls it


def read_tensors(path: Path) -> dict[str, Any]:
    """What is in a checkpoint file, without running anything that it carries."""
    if not path.exists():
        raise InputError(f"checkpoint {path} does not exist", "check the path.")
    if path.is_dir():
        raise InputError(f"checkpoint {path} is a folder", "give the file in it.")
    try:
        check_kind(path)
        if path.suffix.lower() == ".safetensors":
            return _read_safetensors(path)
        with warnings.catch_warnings(), torch.serialization.safe_globals(inert_types()):  # type: ignore[arg-type]
            # A pickle of another protocol is refused or read, whatever torch says about it.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused(path, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError, AttributeError,
            TypeError, AssertionError) as error:  # fmt: skip
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


def first_line(error: BaseException) -> str:
    """The first line of an error's text; of one without text, its name."""
    return (str(error).splitlines() or [type(error).__name__])[0]


def refused(path: Path, error: pickle.UnpicklingError) -> InputError:
    named = re.search(r"GLOBAL `?([\w.]+)", str(error))
    if named is None:
        said = str(error).partition("WeightsUnpickler error:")[2].strip() or str(error)
        if "operand" in said:
            said = "it has instructions of a newer pickle protocol, which may run code"
        return InputError(
            f"{path} is damaged, or no checkpoint that torch.load(weights_only=True) reads: "
            f"{said.splitlines()[0]}",
            "copy or download the file again; if it is whole, where you trust it, load it "
            "yourself and save only the weights: torch.save(model.state_dict(), 'weights.pth').",
        )
    return InputError(
        f"{path} is a pickle that runs code (of {named[1]}) when it is loaded, which is refused",
        "where you trust the file, load it yourself and save only the weights: "
        "torch.save(model.state_dict(), 'weights.pth').",
    )


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
