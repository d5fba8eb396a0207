"""Reads the tensors of a checkpoint file, and nothing else that it holds."""

from __future__ import annotations

import pickle
import re
import warnings
from pathlib import Path
from typing import Any

import torch

from edgeresnet.errors import InputError


def read_tensors(path: Path) -> dict[str, Any]:
    """What is in a checkpoint file, without running anything that it carries."""
    if not path.exists():
        raise InputError(f"checkpoint {path} does not exist", "check the path.")
    if path.is_dir():
        raise InputError(f"checkpoint {path} is a folder", "give the file in it.")
    if path.suffix.lower() == ".safetensors":
        return _read_safetensors(path)
    try:
        with warnings.catch_warnings():
            # A pickle of another protocol is refused or read, whatever torch says about it.
            warnings.filterwarnings("ignore", "Detected pickle protocol")
            content = torch.load(path, map_location="cpu", weights_only=True)
    except pickle.UnpicklingError as error:
        raise refused(path, error) from error
    except (RuntimeError, EOFError, OSError, ValueError, KeyError, IndexError) as error:
        raise InputError(
            f"{path} is damaged or is no checkpoint: {str(error).splitlines()[0]}",
            "copy or download the file again.",
        ) from error
    if not isinstance(content, dict):
        raise InputError(
            f"{path} holds a {type(content).__name__}, not a state_dict",
            "save model.state_dict() and give that file.",
        )
    return content


def refused(path: Path, error: pickle.UnpicklingError) -> InputError:
    named = re.search(r"(?:GLOBAL |global:? )`?([\w.]+)", str(error))
    if named is None:
        return InputError(
            f"{path} is damaged or is no checkpoint: {str(error).splitlines()[0]}",
            "copy or download the file again.",
        )
    return InputError(
        f"{path} is a pickle that runs code ({named[1]}) when it is loaded, which is refused",
        "where you trust the file, load it yourself and save only the weights: "
        "torch.save(model.state_dict(), 'weights.pth').",
    )


def _read_safetensors(path: Path) -> dict[str, Any]:
    from safetensors import SafetensorError
    from safetensors.torch import load_file

    try:
        tensors: dict[str, Any] = load_file(str(path))
    except (SafetensorError, OSError) as error:
        raise InputError(f"{path} is damaged: {error}", "copy or download it again.") from error
    return tensors
