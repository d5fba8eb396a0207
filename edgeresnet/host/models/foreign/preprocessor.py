"""How the image processors of Hugging Face say what is done with an image.

Their keys mean something together only: whether an image is cut depends on the kind of processor.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

from edgeresnet.host.models.foreign.input_claims import (
    UNUSED,
    Claim,
    ImpossibleError,
    interpolation_of,
    resize_of,
    size_of,
)
from edgeresnet.host.models.foreign.normalization import FIELD, divided, three
from edgeresnet.host.models.foreign.said import PREPROCESSOR, Said, shown

_MARKS = ("do_resize", "do_rescale", "do_normalize", "do_center_crop", "image_processor_type",
          "feature_extractor_type")  # fmt: skip
_KEYS = (*_MARKS, "size", "crop_size", "crop_pct", "resample", "rescale_factor", "image_mean",
         "image_std", "do_flip_channel_order")  # fmt: skip
# ConvNextImageProcessor, that of ResNets, cuts nothing off from this size up.
_WHOLE_FROM = 384
_CONVNEXT = "ConvNextImageProcessor"
_STANDARD = {"image_mean": [0.5] * 3, "image_std": [0.5] * 3}
_CLIP = {
    "image_mean": [0.48145466, 0.4578275, 0.40821073],
    "image_std": [0.26862954, 0.26130258, 0.27577711],
    "size": {"shortest_edge": 224},
    "crop_size": {"height": 224, "width": 224},
    "do_center_crop": True,
    "resample": 3,
}
# What a kind does where its file does not say (transformers 5, models/*/image_processing_pil_*.py).
_DEFAULTS: dict[str, dict[str, Any]] = {
    "convnext": {**_STANDARD, "size": {"shortest_edge": 384}, "crop_pct": 224 / 256, "resample": 3,
                 "do_center_crop": False},
    "vit": {**_STANDARD, "size": {"height": 224, "width": 224}, "resample": 2,
            "do_center_crop": False},
    "deit": {**_STANDARD, "size": {"height": 256, "width": 256}, "resample": 3,
             "crop_size": {"height": 224, "width": 224}, "do_center_crop": True},
    "bit": _CLIP,
    "clip": _CLIP,
}  # fmt: skip
# Of these one number of pixels is both sides.
_SQUARE = ("vit", "deit", "beit")


def split_processors(said: Sequence[Said]) -> tuple[list[Said], list[dict[str, Said]]]:
    """What image processors say, each on its own, taken out of all that is said."""
    places = {s.place for s in said if s.key in _MARKS or s.place == f"{PREPROCESSOR} "}
    processors = [
        {one.key: one for one in said if one.place == place and one.key in _KEYS}
        for place in sorted(places)
    ]
    taken = {id(one) for processor in processors for one in processor.values()}
    return [one for one in said if id(one) not in taken], processors


def processor_claims(keys: Mapping[str, Said]) -> Iterator[Claim]:
    """What one processor says; each claim has the name of the key that decides."""

    def claim(field: str, key: str, read: Any) -> Iterator[Claim]:
        one, value, fault = keys[key], None, ""
        try:
            value = read(one.value) if callable(read) else read
        except ImpossibleError as error:
            fault = str(error)
        except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
            field, fault = UNUSED, str(error)
        yield Claim(field, value, one.name, shown(one.value), one.beside, fault=fault)

    keys = _with_defaults(keys)
    for field, key, read in _geometry(keys):
        yield from claim(field, key, read)
    if _said(keys, "do_resize") is False:
        yield from claim("resize", "do_resize", _refuse("images are always resized"))
    if "resample" in keys:
        yield from claim("interpolation", "resample", interpolation_of)
    if _said(keys, "do_flip_channel_order"):
        yield from claim("channels", "do_flip_channel_order", "bgr")
    for key in ("do_normalize", "image_mean", "do_rescale", "rescale_factor"):
        if key in keys and (key != "do_normalize" or keys[key].value is False):
            yield from claim(FIELD, key, lambda value: _normalization(keys))
            return


def _said(keys: Mapping[str, Said], key: str) -> Any:
    return keys[key].value if key in keys else None


def _refuse(why: str) -> Any:
    def read(value: Any) -> None:
        raise ImpossibleError(why)

    return read


def _kind(keys: Mapping[str, Said]) -> str:
    """The class of the processor; "" where it is not told."""
    return str(_said(keys, "image_processor_type") or _said(keys, "feature_extractor_type") or "")


def _with_defaults(keys: Mapping[str, Said]) -> Mapping[str, Said]:
    """What is said, and what the kind of processor does where nothing is."""
    kind, size, first = _kind(keys), _said(keys, "size"), next(iter(keys.values()))
    squashed = isinstance(size, Mapping) and "shortest_edge" not in size
    if not kind and first.place == f"{PREPROCESSOR} " and "crop_size" not in keys and not squashed:
        kind = _CONVNEXT  # AutoImageProcessor takes the one of ResNets.
    name = next((n for n in _DEFAULTS if kind.lower().startswith(n)), None)
    if name is None:
        return keys
    own = {
        key: Said(first.place, key, f"{kind}'s default of {key}", value, first.beside)
        for key, value in _DEFAULTS[name].items()
        if key != "crop_size" or _said(keys, "do_center_crop") is not False
    }
    return {**own, **keys}


def _geometry(keys: Mapping[str, Said]) -> Iterator[tuple[str, str, Any]]:
    """Fields with the key that says them, and how it is read."""
    size, cut, kind = _said(keys, "size"), _said(keys, "do_center_crop"), _kind(keys).lower()
    square = kind.startswith(_SQUARE)
    of_resnets = kind.startswith("convnext") or (cut is not True and "crop_pct" in keys)
    if "crop_size" in keys and cut is not False and not of_resnets:
        yield "image_size", "crop_size", size_of
        if size is not None:
            yield "resize", "size", _squashed if square else resize_of
            if not (square and _side(size) == _side(_said(keys, "crop_size"))):
                yield "crop_rounding", "size", "down"
        return
    if "crop_size" in keys:
        if cut and _side(size) != _side(_said(keys, "crop_size")):
            yield "image_size", "crop_size", _refuse("it is cut out of what is cut out already")
            return
        if not cut:
            yield UNUSED, "crop_size", _unused("do_center_crop does not say True")
    if size is None:
        return
    yield "image_size", "size", size_of
    both = isinstance(size, Mapping) and "shortest_edge" not in size
    if both or (_side(size) >= _WHOLE_FROM if of_resnets else square):
        yield "resize", "size", "squash"
    elif of_resnets:
        yield "crop_ratio", "crop_pct", float
        yield "crop_rounding", "crop_pct", "down"
    elif cut is False:
        yield "resize", "do_center_crop", _refuse("only square images are made")


def _side(size: Any) -> int:
    """The side of a square; 0 of what is none, which is said where it is read."""
    try:
        return size_of(size)
    except (ImpossibleError, TypeError, ValueError, AttributeError, ArithmeticError):
        return 0


def _squashed(value: Any) -> Any:
    """One number is both sides."""
    return (side, side) if isinstance(side := resize_of(value), int) else side


def _unused(why: str) -> Any:
    def read(value: Any) -> None:
        raise ValueError(why)

    return read


def _normalization(keys: Mapping[str, Said]) -> Any:
    """Mean and std on values in 0 to 1, whatever the pixels are scaled by before."""
    mean, std = (0.0, 0.0, 0.0), (1.0, 1.0, 1.0)
    if _said(keys, "do_normalize") is not False and "image_mean" in keys:
        mean, std = three(keys["image_mean"].value), three(_said(keys, "image_std"))
    elif _said(keys, "do_normalize") is not False:
        raise ValueError("neither mean nor std is said")
    factor = 1.0 if _said(keys, "do_rescale") is False else _said(keys, "rescale_factor")
    usual = 255.0 if max(*mean, *std) > 1 else 1.0
    scale = usual if factor is None else 255 * float(factor)
    if abs(scale - 1) > 1e-6:
        mean, std = divided(mean, scale), divided(std, scale)
    if min(std) <= 0:
        raise ValueError("a deviation is above 0")
    return mean, std
