"""What a foreign checkpoint leaves open: fixed is what its user says, first what its file says."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import numpy as np

from edgeresnet.host.adoption.space import (
    CHANNELS,
    CROPS,
    INTERPOLATIONS,
    NORMALIZATIONS,
    SIZES,
    Space,
)
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.resnet import arch_of
from edgeresnet.settings.inputs import InputChanges, InputSpec
from edgeresnet.settings.network import STRIDES_IN, NetworkTold, stem_shape, stems_of

AS_SAID = "as the file says"
AS_TOLD = "as told"
INSIDE = "inside the model"


def checkpoint_space(
    weights: Mapping[str, Checkpoint],
    told: InputChanges,
    network: NetworkTold,
    *,
    told_size: bool,
) -> Space:
    """All that a checkpoint's network may have been trained as.

    Args:
        weights: the checkpoint with each choice of weights, the assumed one first; its input spec
            is what the file says and the user tells, and else the convention.
        told: by the user, of the preprocessing.
        network: told, of stem and strides.
        told_size: whether the user tells the image size.
    """
    checkpoint = next(iter(weights.values()))
    kernel = stem_shape(checkpoint.stem).kernel
    stems = () if network.stem else tuple(stems_of(kernel))
    bottleneck = arch_of(checkpoint.arch).bottleneck
    strides = STRIDES_IN if bottleneck and network.stride_in is None else ()
    return _space(
        checkpoint.input_spec,
        told.given,
        () if told_size else SIZES,
        {
            "weights": tuple(weights),
            "stem": _first(checkpoint.stem, stems),
            "stride_in": _first(checkpoint.stride_in, strides),
        },
    )


def bare_space(spec: InputSpec, told: InputChanges, *, normalizes: bool) -> Space:
    """All that a bare model may have been trained as: its network and its size are what they are.

    Args:
        spec: the convention, with what the user tells.
        told: by the user.
        normalizes: the model takes pixels, and normalizes them itself.
    """
    network = {"weights": ("raw",), "stem": ("",), "stride_in": ("",)}
    space = _space(spec, told.given, (), network)
    if not normalizes:
        return space
    options = {**space.options, "normalization": (INSIDE,)}
    inside = {INSIDE: (spec.mean, spec.std)}
    return Space(options, inside, space.crops, frozenset({INSIDE}), spec)


def _space(
    spec: InputSpec,
    given: Mapping[str, Any],
    sizes: tuple[int, ...],
    network: Mapping[str, tuple[str, ...]],
) -> Space:
    normalizations, normal = _normalizations(spec, given)
    crops, crop = _crops(spec, given)
    filters = () if "interpolation" in given else INTERPOLATIONS
    channels = () if "channels" in given else CHANNELS
    options = {
        **network,
        "size": _first(spec.image_size, sizes),
        "crop": crop,
        "interpolation": _first(spec.interpolation, filters),
        "channels": _first(spec.channels, channels),
        "normalization": normal,
    }
    return Space(options, normalizations, crops, frozenset({AS_SAID, AS_TOLD}), spec)


def _first(value: Any, others: tuple[Any, ...]) -> tuple[Any, ...]:
    return (value, *(other for other in others if other != value))


def _normalizations(
    spec: InputSpec, given: Mapping[str, Any]
) -> tuple[dict[str, Any], tuple[str, ...]]:
    own = (spec.mean, spec.std)
    if "mean" in given or "std" in given:
        return {AS_TOLD: own}, (AS_TOLD,)
    known = dict(NORMALIZATIONS)
    colours = (own[0][::-1], own[1][::-1]) if spec.channels == "bgr" else own
    same = next((name for name, (mean, std) in known.items() if _same(colours, (mean, std))), None)
    if same is None:
        return {AS_SAID: own, **known}, (AS_SAID, *known)
    return known, _first(same, tuple(known))


def _same(one: Any, other: Any) -> bool:
    # In files they are rounded, and Detectron2's mean of blue is 103.53.
    return bool(np.allclose(one, other, atol=2e-3, rtol=1e-3))


def _crops(spec: InputSpec, given: Mapping[str, Any]) -> tuple[dict[str, Any], tuple[str, ...]]:
    own = {
        name: value
        for name in ("resize", "crop_ratio")
        if (value := getattr(spec, name)) is not None
    }
    if "resize" in given or "crop_ratio" in given:
        return {AS_TOLD: own}, (AS_TOLD,)
    known: dict[str, Any] = dict(CROPS)
    if not own:
        return known, tuple(known)
    if isinstance(size := own.get("resize"), int):
        # Pixels are of one size; of another it is the same share.
        own = {"crop_ratio": spec.image_size / size}
    return {AS_SAID: own, **known}, (AS_SAID, *known)
