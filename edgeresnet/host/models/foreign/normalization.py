"""Mean and std as a file says them, on values in 0 to 1."""

from __future__ import annotations

from collections.abc import Iterator, Sequence
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
Three = tuple[float, float, float]


def normalization_claims(said: Sequence[Said]) -> Iterator[Claim]:
    """A claim for each mean with its std; one without the other, or of no image, is unused."""
    deviations = named(said, tuple(_KEYS.values()))
    used: list[Said] = []
    for mean in named(said, tuple(_KEYS)):
        fault, value = _fault(mean.value), None
        beside_it = [d for d in deviations if d.place == mean.place and not _fault(d.value)]
        beside_it.sort(key=lambda d: d.key != _KEYS[mean.key])
        if not fault and not beside_it:
            fault = "no std stands beside it"
        if not fault:
            std = beside_it[0]
            value = _in_0_to_1(three(mean.value), three(std.value))
            used.append(std)
            text = f"{shown(mean.value)} and {shown(std.value)}"
            yield Claim(FIELD, value, f"{mean.name} and {std.name}", text, mean.beside)
        else:
            yield Claim(UNUSED, None, mean.name, shown(mean.value), mean.beside, fault=fault)
    for std in deviations:
        if std not in used:
            fault = _fault(std.value, positive=True) or "no mean stands beside it"
            yield Claim(UNUSED, None, std.name, shown(std.value), std.beside, fault=fault)


def three(value: Any) -> Three:
    """Three numbers of a list, an array or a tensor.

    Raises:
        ValueError: it is something else.
    """
    if isinstance(value, (Tensor, np.ndarray)):
        value = value.flatten().tolist()
    if (
        not isinstance(value, (list, tuple))
        or len(value) != 3
        or not all(isinstance(v, (int, float, np.number)) for v in value)
    ):
        raise ValueError("these are not three numbers, of an RGB image")
    return float(value[0]), float(value[1]), float(value[2])


def divided(values: Three, by: float) -> Three:
    """Each of them by this."""
    return values[0] / by, values[1] / by, values[2] / by


def _in_0_to_1(mean: Three, std: Three) -> tuple[Three, Three]:
    # Of values in 0 to 255.
    return (divided(mean, 255), divided(std, 255)) if max(*mean, *std) > 1 else (mean, std)


def _fault(value: Any, *, positive: bool = False) -> str:
    try:
        numbers = three(value)
    except ValueError as error:
        return str(error)
    return "a deviation is above 0" if positive and min(numbers) <= 0 else ""
