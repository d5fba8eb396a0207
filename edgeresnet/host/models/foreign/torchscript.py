"""The weights of a TorchScript archive, of whose program nothing is compiled or run.

The modules' attributes are a pickle as ``torch.save`` writes it, beside the program's code. The
archive is taken without that code, and each of its classes by an object that only has attributes.
"""

from __future__ import annotations

import io
import itertools
import re
import zipfile
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import torch
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened
from edgeresnet.host.models.foreign.content import DEEPEST
from edgeresnet.host.models.foreign.damage import refused_if_damaged
from edgeresnet.host.models.foreign.program_facts import POOL

_CODE = ("code/", "constants/")
# Lists of one type are such a function of the list.
_LISTS = "torch.jit._pickle.build_"
_TORCH = re.compile(r"^__torch__\.(torch|torchvision)\.(?:\w+\.)*(\w+)$")
# What computes something that a plain ResNet does not, of torch's own modules and torchvision's.
_PLAIN = frozenset({
    "AdaptiveAvgPool2d", "BasicBlock", "BatchNorm2d", "Bottleneck", "Conv2d", "Dropout",
    "Dropout1d", "Dropout2d", "Flatten", "Identity", "Linear", "MaxPool2d", "ModuleDict",
    "ModuleList", "ReLU", "ResNet", "Sequential",
})  # fmt: skip
# Calls in its code's text that a plain ResNet's never has: other activations, norms and pools, and
# what makes the input.
_OTHERS = re.compile(
    rb"\btorch\.((?:gelu|silu|sigmoid|tanh|leaky_relu|r?relu6|elu|selu|celu|hardtanh|hardswish|"
    rb"hardsigmoid|softplus|prelu|mish|avg_pool2d|group_norm|layer_norm|instance_norm|div|rsub|"
    rb"softmax|log_softmax)_?)\("
)


# A ResNet-152 has some 500.
MOST_MODULES = 20_000
_OTHER = "give the program of before, or the state_dict."


class _Module:
    """Stands in for any class of the program."""

    def __init__(self, *arguments: object) -> None:
        """Takes and drops what it was made of; attributes follow."""


def is_torchscript(names: set[str]) -> bool:
    """Whether these are the files of such an archive, without its folder."""
    return "constants.pkl" in names or any(name.startswith("code/") for name in names)


def read_torchscript(path: Path) -> dict[str, Any]:
    """Tensors by the names that the state_dict of its program has, and whether it has a max-pool.

    Raises:
        InputError: it has modules that are no part of a plain ResNet, or has no weights by name.
    """
    with refused_if_damaged(path):
        archive, code = _apart(path)
        classes = torch.serialization.get_unsafe_globals_in_checkpoint(archive)
    modules = [known[2] for name in classes if (known := _TORCH.match(name))]
    others = [name for name in modules if name not in _PLAIN]
    others += [call.decode() for call in _OTHERS.findall(code)]
    if others:
        raise InputError(
            f"{path} is a TorchScript program with {', '.join(sorted(set(others)))}, which a plain "
            "ResNet does not have",
            "give a plain ResNet's; if that is before or behind the network, save the network "
            "alone, and tell what was done to its input with --mean and --std.",
        )
    # Any other class is refused by its name.
    lists: list[Any] = [(_list, name) for name in classes if name.startswith(_LISTS)]
    own: list[Any] = [(_Module, name) for name in classes if name.startswith("__torch__.")]
    archive.seek(0)
    with refused_if_damaged(path), torch.serialization.safe_globals(lists + own):
        program = torch.load(archive, map_location="cpu", weights_only=True)
    if not isinstance(program, _Module):
        raise InputError(f"{shortened(path)} is a TorchScript program without modules", _OTHER)
    tensors = dict(_tensors(program, path, itertools.count(1)))
    if not tensors:
        raise InputError(
            f"{path} is a TorchScript program without weights by name, as torch.jit.freeze leaves "
            "it",
            _OTHER,
        )
    return {**tensors, POOL: b"max_pool2d" in code}


def _apart(path: Path) -> tuple[io.BytesIO, bytes]:
    """The archive without its code, and the text of that but for batch normalization's."""
    whole, code = io.BytesIO(), b""
    with zipfile.ZipFile(path) as theirs, zipfile.ZipFile(whole, "w") as ours:
        for part in theirs.infolist():
            inner = part.filename.partition("/")[2]
            if inner.startswith(_CODE):
                # In that of a normalization an average is made in training, by a division.
                code += b"" if "/nn/modules/batchnorm" in inner else theirs.read(part)
            elif inner != "constants.pkl":
                ours.writestr(part.filename, theirs.read(part))
    whole.seek(0)
    return whole, code


def _list(values: list[Any]) -> list[Any]:
    return values


def _tensors(
    module: Any, path: Path, met: Iterator[int], prefix: str = "", above: tuple[int, ...] = ()
) -> Iterator[tuple[str, Tensor]]:
    """Of a module and those inside it, as its state_dict names them."""
    if id(module) in above:
        return  # a module may know the one that it is in
    if next(met) > MOST_MODULES or len(above) > DEEPEST:
        raise InputError(
            f"{shortened(path)} is a TorchScript program of more than {MOST_MODULES} modules, or "
            f"of modules that lie more than {DEEPEST} deep in each other",
            "give the program of a plain ResNet.",
        )
    for name, value in vars(module).items():
        if isinstance(value, Tensor):
            yield f"{prefix}{name}", value
        elif isinstance(value, _Module):
            yield from _tensors(value, path, met, f"{prefix}{name}.", (*above, id(module)))
