"""Which tensors of a file are the network's, in whatever container and under whatever prefix.

All dictionaries of the file become one list of names: ``state_dict`` with ``module.conv1.weight``
inside is ``state_dict.module.conv1.weight``. The network is where its blocks are.
"""

from __future__ import annotations

import re
from collections import Counter
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.foreign.origin import Origin
from edgeresnet.host.models.foreign.origins import ORIGINS
from edgeresnet.host.models.foreign.pruned_in_place import apply_masks

# Of dictionaries in dictionaries; a file has no reason for more.
_DEPTH = 6
# What FSDP, torch.compile and activation checkpointing put before or between a module's own names.
_WRAPPERS = re.compile(r"(?<![^.])_(orig_mod|(fsdp|checkpoint)_wrapped_module|forward_module)\.")
_EMA = re.compile(r"(?i)(^|[^a-z])ema([^a-z]|$)")


_ONE = "which are one tensor of a ResNet"
_ALONE = "save the state_dict of one network alone."


@dataclass(frozen=True)
class Found:
    """The tensors of one network.

    Attributes:
        tensors: what stands under its prefix, with torchvision's names for the levels.
        names: of each of ``tensors`` its name in the file.
        beside: the file's other tensors, by their names there.
        container: what the names of all tensors in the same dictionary begin with.
        weights: which weights they are, for people: ``raw weights``, or where the average is from.
        averaged: whether they are a moving average.
        raw_beside: whether the file holds the weights themselves, too.
        origin: whose names they had.
        notes: lines on what was left out or applied.
    """

    tensors: dict[str, Tensor]
    names: dict[str, str]
    beside: dict[str, Tensor]
    container: str
    weights: str
    averaged: bool
    raw_beside: bool
    origin: Origin
    notes: tuple[str, ...] = ()


@dataclass(frozen=True)
class _Trunk:
    """A place in the file where blocks of a ResNet are."""

    origin: Origin
    prefix: str
    blocks: int

    @property
    def averaged(self) -> bool:
        return _EMA.search(self.prefix) is not None

    def __str__(self) -> str:
        return self.prefix.rstrip(".") or "the names without a prefix"


def find_network(content: Mapping[str, Any], source: str, *, raw: bool = False) -> Found:
    """The tensors of the network in a file, its moving average where there is one.

    Args:
        content: what was read.
        source: its name, for messages.
        raw: take the weights themselves where their moving average is beside them.

    Raises:
        InputError: there is no ResNet, or several and nothing says which.
    """
    masked, notes = apply_masks(dict(_flattened(content)), source)
    flat, originals = _unwrapped(masked, source)
    if not flat:
        raise InputError(
            f"{source} holds no tensors (its keys: {', '.join(map(str, list(content)[:5]))})",
            "save model.state_dict() and give that file.",
        )
    trunks = _trunks(flat, source)
    chosen = _choose(trunks, source, raw=raw)
    others = [trunk for trunk in trunks if trunk is not chosen]
    notes += [f"left out: the {'EMA' if o.averaged else 'raw'} weights in {o}" for o in others]
    tensors: dict[str, Tensor] = {}
    names: dict[str, str] = {}
    beside: dict[str, Tensor] = {}
    for name, tensor in flat.items():
        if not _belongs(name, chosen, others):
            continue
        if not name.startswith(chosen.prefix):
            beside[originals[name]] = tensor
            continue
        new = chosen.origin.rename(name.removeprefix(chosen.prefix))
        if new in tensors:
            raise InputError(
                f"{source} has both {names[new]} and {originals[name]}, {_ONE}", _ALONE
            )
        convert = chosen.origin.convert
        tensors[new] = tensor if convert is None else convert(new, tensor)
        names[new] = originals[name]
    weights = f"EMA weights ({chosen})" if chosen.averaged else "raw weights"
    container = _container(content, chosen.prefix)
    kinds = chosen.averaged, any(not other.averaged for other in others)
    return Found(
        tensors, names, beside, container, weights, *kinds, chosen.origin, tuple(notes)
    )  # fmt: skip


def _unwrapped(
    tensors: Mapping[str, Tensor], source: str
) -> tuple[dict[str, Tensor], dict[str, str]]:
    """Tensors by their names without wrappers, and of each its name in the file."""
    originals: dict[str, str] = {}
    for name in tensors:
        plain = _WRAPPERS.sub("", name)
        if plain in originals:
            raise InputError(f"{source} has both {originals[plain]} and {name}, {_ONE}", _ALONE)
        originals[plain] = name
    return {plain: tensors[name] for plain, name in originals.items()}, originals


def _container(content: Mapping[Any, Any], prefix: str) -> str:
    """The part of a prefix that keys of dictionaries make, as in ``state_dict.``."""
    for key, inner in content.items():
        if isinstance(inner, Mapping) and prefix.startswith(f"{key}."):
            return f"{key}." + _container(inner, prefix.removeprefix(f"{key}."))
    return ""


def _flattened(
    content: Mapping[Any, Any], path: str = "", depth: int = 0
) -> Iterator[tuple[str, Tensor]]:
    for key, value in content.items():
        name = f"{path}{key}"
        if isinstance(value, Tensor):
            yield name, value.detach()  # a saved Parameter would be trained on unasked
        elif isinstance(value, Mapping) and depth < _DEPTH:
            yield from _flattened(value, f"{name}.", depth + 1)


def _trunks(flat: Mapping[str, Tensor], source: str) -> list[_Trunk]:
    """Where the blocks are; a few of them under a prefix of their own are no network."""
    found = []
    for origin in ORIGINS.values():
        matches = filter(None, map(origin.block.match, flat))
        blocks = Counter(match["prefix"] for match in matches)
        found += [_Trunk(origin, prefix, number) for prefix, number in blocks.items()]
    most = max((trunk.blocks for trunk in found), default=0)
    if not most:
        first = ", ".join(list(flat)[:3])
        raise InputError(
            f"{source} is not a ResNet: its tensors are {first} …",
            "give a checkpoint of a ResNet: of torchvision, timm, Hugging Face or MMPretrain.",
        )
    return [trunk for trunk in found if 2 * trunk.blocks > most]


def _choose(trunks: list[_Trunk], source: str, *, raw: bool) -> _Trunk:
    averaged = [trunk for trunk in trunks if trunk.averaged]
    if raw and len(averaged) == len(trunks):
        raise InputError(f"{source} holds only EMA weights (in {averaged[0]})", "leave out --raw.")
    left = [t for t in trunks if not t.averaged] if raw else averaged or trunks
    if len(left) > 1:
        raise InputError(
            f"{source} holds {len(left)} networks: {', '.join(map(str, left))}",
            "save the state_dict of the one that is meant, and give that file.",
        )
    return left[0]


def _belongs(name: str, chosen: _Trunk, others: list[_Trunk]) -> bool:
    """Whether a tensor is on the chosen network's side of where it parts from each other one."""
    for other in others:
        own, foreign = _parting(chosen.prefix, other.prefix)
        if not name.startswith(own) or (foreign and name.startswith(foreign)):
            return False
    return True


def _parting(one: str, other: str) -> tuple[str, str]:
    """Two prefixes as far as the first component in which they differ."""
    parts, others = one.split(".")[:-1], other.split(".")[:-1]
    shared = 0
    while shared < min(len(parts), len(others)) and parts[shared] == others[shared]:
        shared += 1
    return (
        "".join(f"{part}." for part in parts[: shared + 1]),
        "".join(f"{part}." for part in others[: shared + 1]),
    )
