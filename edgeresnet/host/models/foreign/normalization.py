"""Mean and std as a file says them, on values in 0 to 1."""

from __future__ import annotations

import math
from collections.abc import Iterator, Sequence
from dataclasses import replace
from typing import Any

import numpy as np
from torch import Tensor

from edgeresnet.host.models.foreign.input_claims import UNUSED, Claim
from edgeresnet.host.models.foreign.said import Said, named, shown

FIELD = "normalization"
_KEYS = {
    "mean": "std",
    "image_mean": "image_std",
    "norm_mean": "norm_std",
    "pixel_mean": "pixel_std",
    "rgb_mean": "rgb_std",
}
_PAIRS = ("stats", "normalize", "normalization", "norm", "norm_stats", "mean_std", "imagenet_stats")
Three = tuple[float, float, float]


def normalization_claims(said: Sequence[Said]) -> Iterator[Claim]:
    """A claim for each mean with its std; one without the other, or of no image, is unused."""
    pairs = [part for one in named(said, _PAIRS) for part in _pair_of(one)]
    told = [_of_all_channels(one) for one in (*said, *pairs)]
    deviations = named(told, tuple(_KEYS.values()))
    used: list[Said] = []
    for mean in named(told, tuple(_KEYS)):
        fault, value = _fault(mean.value), None
        there = [d for d in deviations if d.place == mean.place]
        beside_it = [d for d in there if not _fault(d.value, positive=True)]
        beside_it.sort(key=lambda d: d.key != _KEYS[mean.key])
        if not fault and not beside_it:
            fault = "no std stands beside it"
        if not fault:
            std = beside_it[0]
            value = _in_0_to_1(three(mean.value), three(std.value))
            used.append(std)
            text = f"{shown(mean.value)} and {shown(std.value)}"
            yield Claim(FIELD, value, f"{_key(mean)} and {_key(std)}", text, mean.beside)
        else:
            yield Claim(UNUSED, None, mean.name, shown(mean.value), mean.beside, fault=fault)
    for std in deviations:
        if std not in used:
            fault = _fault(std.value, positive=True) or "no mean stands beside it"
            yield Claim(UNUSED, None, std.name, shown(std.value), std.beside, fault=fault)


def _key(one: Said) -> str:
    """The name of the key, for notes; what is broadcast is said."""
    length = int(np.size(one.value)) if not isinstance(one.value, Tensor) else one.value.numel()
    return f"{one.name} (one number for all channels)" if length == 1 else one.name


def three(value: Any) -> Three:
    """Three numbers of a list, an array, a tensor or a text; a list of one is of all channels.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.flatten().tolist()
    if isinstance(value, str):
        value = _numbers_in(value)
    if (
        not isinstance(value, (list, tuple))
        or len(value) not in (1, 3)
        or not all(map(_is_number, value))
    ):
        raise ValueError("these are not three numbers, of an RGB image, nor one for all")
    try:
        numbers = [float(v) for v in value]
    except OverflowError:
        numbers = [math.inf]
    if not all(map(math.isfinite, numbers)):
        raise ValueError("these are not finite numbers")
    return numbers[0], numbers[len(numbers) // 2], numbers[-1]


def _is_number(value: Any) -> bool:
    return isinstance(value, (int, float, np.number)) and not isinstance(value, bool)


def _numbers_in(text: str) -> list[float]:
    """Those of ``0.5, 0.5, 0.5``, in brackets or not; none of another text."""
    try:
        return [float(part) for part in text.strip(" ()[]").split(",")]
    except ValueError:
        return []


def divided(values: Three, by: float) -> Three:
    """Each of them by this."""
    return values[0] / by, values[1] / by, values[2] / by


def _in_0_to_1(mean: Three, std: Three) -> tuple[Three, Three]:
    # Of values in 0 to 255.
    return (divided(mean, 255), divided(std, 255)) if max(*mean, *std) > 1 else (mean, std)


def _of_all_channels(one: Said) -> Said:
    """A number where the input is described is each channel's; elsewhere it may be of anything."""
    number = isinstance(one.value, (int, float)) and not isinstance(one.value, bool)
    return replace(one, value=[one.value]) if number and one.known else one


def _pair_of(one: Said) -> list[Said]:
    """Mean and std that stand under one key, as ``stats: (mean, std)``."""
    both = isinstance(one.value, (list, tuple)) and len(one.value) == 2
    if not both or any(_fault(part) for part in one.value):
        return []
    return [
        Said(f"{one.name}.", key, f"{one.name}[{i}]", one.value[i], one.beside)
        for i, key in enumerate(("mean", "std"))
    ]


def _fault(value: Any, *, positive: bool = False) -> str:
    try:
        numbers = three(value)
    except ValueError as error:
        return str(error)
    return "a deviation is above 0" if positive and min(numbers) <= 0 else ""
