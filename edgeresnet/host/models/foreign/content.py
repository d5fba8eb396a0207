"""What was read of a checkpoint: values of bounded size and depth, and tensors in the file."""

from __future__ import annotations

import argparse
import types
from collections.abc import Iterator, Mapping
from pathlib import Path
from typing import Any

import numpy as np
from numpy.typing import NDArray
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened
from edgeresnet.host.models.foreign.omegaconf_values import OmegaConfNode
from edgeresnet.host.models.weights import kind_fault
from edgeresnet.untrusted import MIB, short

# A training's file of a ResNet-152 with optimizer and average has some 10,000 entries, and its
# history and file lists may have millions of numbers and texts.
MOST_ENTRIES, MOST_PLAIN = 200_000, 20_000_000
DEEPEST = 64
# Python writes no larger numbers.
_MOST_BITS = 14_000
_LONGEST_NAME = 500
_PLAIN = (float, str, bytes, bool, type(None))
_FIX = "save model.state_dict() alone, and give that file."


def section(value: Any) -> Any:
    """The arguments of a script and the like, which have attributes and no keys, as a mapping."""
    named = (argparse.Namespace, types.SimpleNamespace, OmegaConfNode)
    return vars(value) if isinstance(value, named) else value


def check_content(content: Mapping[Any, Any], path: Path, room: int) -> None:
    """Refuse what no later step could walk through, or hold in memory.

    Args:
        content: of the file.
        path: of the file, for messages.
        room: bytes that the file has, or unpacks to.

    Raises:
        InputError: values that lie in themselves or too deep, or too many; a name that is no text,
            or a tensor that is none of plain numbers, or larger than what is stored of it.
    """
    stored: dict[int, int] = {}
    for name, tensor in _arrays(content, path):
        if isinstance(tensor, np.ndarray):
            stored[tensor.ctypes.data] = tensor.nbytes
            continue
        if (fault := kind_fault(tensor)) is not None:
            raise InputError(
                f"{shortened(path)}: {short(name)} is {fault}, and no floating-point weights",
                "save the float network's state_dict with plain tensors on the CPU.",
            )
        storage = tensor.untyped_storage()
        stored[storage.data_ptr()] = storage.nbytes()
        if tensor.numel() * tensor.element_size() > max(storage.nbytes(), MIB):
            raise InputError(
                f"{shortened(path)}: {short(name)} has shape {short(tuple(tensor.shape))}, and "
                f"numbers for {storage.nbytes()} bytes: it repeats the same ones",
                "save each tensor with numbers of its own: tensor.clone().",
            )
    if (needed := sum(stored.values())) > room:
        raise InputError(
            f"{shortened(path)} has {room} bytes, and tensors of {needed}",
            "copy or download the file again.",
        )


def _arrays(content: Mapping[Any, Any], path: Path) -> Iterator[tuple[str, Tensor | NDArray[Any]]]:
    """Each by its name; what lies twice in the file is met twice, as by who walks after this."""
    entries = plain = 0
    level: list[tuple[str, Any]] = [("", content)]
    for _ in range(DEEPEST):
        below: list[tuple[str, Any]] = []
        for name, value in level:
            if isinstance(value, (Tensor, np.ndarray)):
                yield name, value
            if isinstance(value, Tensor):
                continue
            inner = list(_inside(name, value, path))
            entries += len(inner)
            plain += _length(value)
            if entries > MOST_ENTRIES or plain > MOST_PLAIN:
                raise InputError(
                    f"{shortened(path)} holds more values than any network's file: "
                    f"{max(entries, plain)}",
                    _FIX,
                )
            below += inner
        if not below:
            return
        level = below
    raise InputError(
        f"{shortened(path)} holds values that lie more than {DEEPEST} deep in each other, or in "
        "themselves",
        _FIX,
    )


def _inside(name: str, value: Any, path: Path) -> Iterator[tuple[str, Any]]:
    """What lies in a container: of numbers and texts, of which there may be many, nothing."""
    inner = section(value)
    if isinstance(inner, Mapping):
        for key, one in inner.items():
            _check_number(key, path)
            told = f"{name}.{key}" if name else str(key)
            if isinstance(one, Tensor) and (not told.isprintable() or len(told) > _LONGEST_NAME):
                raise InputError(
                    f"{shortened(path)} has a tensor of the name {short(told)}, which is none", _FIX
                )
            yield told[:_LONGEST_NAME], one
    elif isinstance(inner, (list, tuple, set, frozenset)):
        yield from ((name, one) for one in inner if not isinstance(one, _PLAIN))
    elif isinstance(inner, np.ndarray) and inner.dtype.hasobject:
        yield from ((name, one) for one in inner.flat if not isinstance(one, _PLAIN))
    else:
        _check_number(inner, path)


def _length(value: Any) -> int:
    inner = section(value)
    return len(inner) if isinstance(inner, (Mapping, list, tuple, set, frozenset)) else 0


def _check_number(value: Any, path: Path) -> None:
    if isinstance(value, int) and value.bit_length() > _MOST_BITS:
        raise InputError(
            f"{shortened(path)} holds a number of more than 4,000 digits",
            _FIX,
        )
