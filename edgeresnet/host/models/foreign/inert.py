"""Types that checkpoints carry beside their tensors and that run nothing when they are read.

``torch.load(weights_only=True)`` refuses each class that it does not know. These hold plain values:
arguments of a training script, numbers of numpy, paths, times, and dictionaries with attributes. Of
packages that need not be here, a plain dictionary or nothing stands in.
"""

from __future__ import annotations

import argparse
import collections
import datetime
import decimal
import fractions
import pathlib
import types
import uuid
from collections.abc import Callable
from typing import Any

import numpy as np
import torch

from edgeresnet.host.models.foreign.omegaconf_values import (
    OMEGACONF_METADATA,
    OMEGACONF_NODES,
    OmegaConfNode,
)


class PlainDict:
    """Stands in for a dictionary class: torch fills only exactly a dict or an OrderedDict."""

    def __new__(cls, *arguments: object) -> Any:
        """An empty dictionary; entries and attributes follow."""
        return collections.OrderedDict()


class PlainList:
    """Stands in for a queue, as `PlainDict` for a dictionary."""

    def __new__(cls, *arguments: object) -> Any:
        """An empty list; entries follow."""
        return []


class Ignored:
    """Stands in for an object of which nothing is needed."""

    def __init__(self, *arguments: object) -> None:
        """Takes and drops whatever it was made of."""

    def __setstate__(self, state: object) -> None:
        """Drops its attributes."""


def _fraction(top: object, bottom: object = None) -> fractions.Fraction:
    """As it is pickled, in one text or two numbers; ``1e99999999`` would be computed for hours."""
    if bottom is None:
        top, _, bottom = str(top).partition("/")
    return fractions.Fraction(int(str(top)), int(str(bottom or 1)))


def _encode(text: str, encoding: str) -> bytes:
    """By which old pickles write bytes; other encodings are none's, and some are slow."""
    if encoding != "latin1":
        raise ValueError(f"bytes in {encoding[:20]}")
    return text.encode(encoding)


def _number(dtype: np.dtype[Any], raw: bytes) -> Any:
    """One number of numpy, of the bytes that it has."""
    return np.frombuffer(raw, dtype, count=1)[0] if len(raw) == dtype.itemsize else None


def _empty_array(kind: type, shape: object, code: object) -> np.ndarray[Any, Any]:
    """What numpy begins an array with; shape and numbers follow, whatever stands here."""
    return np.ndarray((0,), np.int8)


_DICTIONARIES = (
    "pytorch_lightning.utilities.parsing.AttributeDict",
    "lightning_fabric.utilities.data.AttributeDict",
    "lightning.fabric.utilities.data.AttributeDict",
    "lightning.pytorch.utilities.parsing.AttributeDict",
    "mmengine.config.config.ConfigDict",
    "mmcv.utils.config.ConfigDict",
    "addict.addict.Dict",
    "easydict.EasyDict",
    "munch.Munch",
    "yacs.config.CfgNode",
    "fvcore.common.config.CfgNode",
)
# States of random numbers, and what a log of a training is kept in.
_IGNORED = (
    "mmengine.logging.history_buffer.HistoryBuffer",
    "numpy.ma.MaskedArray",
    "numpy.ma.core.MaskedArray",
    "numpy.ma.core._mareconstruct",
    "numpy.random._pickle.__bit_generator_ctor",
    "numpy.random._pickle.__generator_ctor",
    "numpy.random._pickle.__randomstate_ctor",
    "numpy.random.bit_generator.SeedSequence",
    "numpy.random.bit_generator.__pyx_unpickle_SeedSequence",
    *(
        f"numpy.random._{n.lower()}.{n}"
        for n in ("MT19937", "PCG64", "PCG64DXSM", "Philox", "SFC64")
    ),
    *OMEGACONF_METADATA,
)


def inert_types() -> list[tuple[Callable[..., Any], str]]:
    """Each with the name under which a pickle asks for it."""
    # A path of the other system cannot be made here, a pure one can.
    paths = {
        "PosixPath": pathlib.PurePosixPath,
        "PurePosixPath": pathlib.PurePosixPath,
        "WindowsPath": pathlib.PureWindowsPath,
        "PureWindowsPath": pathlib.PureWindowsPath,
    }
    named: dict[str, Any] = {
        f"{module}.{name}": kind
        for module in ("pathlib", "pathlib._local")  # Python 3.13 says _local
        for name, kind in paths.items()
    }
    named |= _of_numpy()
    named |= {
        f"datetime.{name}": getattr(datetime, name)
        for name in ("datetime", "date", "time", "timedelta", "timezone")
    }
    # Of a range a few bytes would make a list of any length.
    kinds = {kind.__name__: kind for kind in (int, float, bool, str, list, dict, set, frozenset)}
    for name, kind in {**kinds, "tuple": tuple, "slice": slice, "range": Ignored}.items():
        named[f"builtins.{name}"] = named[f"__builtin__.{name}"] = kind
    named |= {
        "argparse.Namespace": argparse.Namespace,
        "types.SimpleNamespace": types.SimpleNamespace,
        "collections.defaultdict": PlainDict,
        "collections.deque": PlainList,
        "decimal.Decimal": decimal.Decimal,
        "fractions.Fraction": _fraction,
        "uuid.UUID": uuid.UUID,
        # An enumeration of strings, which is made of one.
        "torchvision.transforms.functional.InterpolationMode": str,
        "_codecs.encode": _encode,
        "torch.torch_version.TorchVersion": torch.torch_version.TorchVersion,
    }
    named |= dict.fromkeys(_DICTIONARIES, PlainDict)
    named |= dict.fromkeys(_IGNORED, Ignored)
    named |= dict.fromkeys(OMEGACONF_NODES, OmegaConfNode)
    return [(kind, name) for name, kind in named.items()]


def _of_numpy() -> dict[str, Any]:
    """Arrays, numbers and their types."""
    # To call the class is to fill an array of any length. It is only named to `_empty_array`, whose
    # result must be of a known type: that one's name no pickle can ask for.
    named: dict[str, Any] = {
        "numpy.matrix": Ignored, "numpy.ndarray": Ignored, "numpy\nndarray": np.ndarray,
    }  # fmt: skip
    for core in ("numpy._core", "numpy.core"):
        # Where these two live depends on numpy's version; what they make does not.
        named[f"{core}.multiarray.scalar"] = _number
        named[f"{core}.multiarray._reconstruct"] = _empty_array
    named["numpy.dtype"] = np.dtype
    dtypes = {type(np.dtype(code)) for code in np.typecodes["All"]}
    named |= {f"numpy.dtypes.{kind.__name__}": kind for kind in dtypes}
    return named
