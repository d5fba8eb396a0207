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
# ConvNextImageProcessor, that of ResNets: the share when none is told, and from which size nothing
# is cut off.
_SHARE, _WHOLE_FROM = 224 / 256, 384


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
        except (TypeError, ValueError, AttributeError) as error:
            field, fault = UNUSED, str(error)
        yield Claim(field, value, one.name, shown(one.value), one.beside, fault=fault)

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


def _geometry(keys: Mapping[str, Said]) -> Iterator[tuple[str, str, Any]]:
    """Fields with the key that says them, and how it is read."""
    size, cut = _said(keys, "size"), _said(keys, "do_center_crop") is not False
    if "crop_size" in keys and cut:
        yield "image_size", "crop_size", size_of
        if size is not None:
            yield "resize", "size", resize_of
        return
    if "crop_size" in keys:
        yield UNUSED, "crop_size", _unused("do_center_crop says False")
    if size is None:
        return
    yield "image_size", "size", size_of
    kind = str(_said(keys, "image_processor_type") or _said(keys, "feature_extractor_type")).lower()
    if isinstance(size, Mapping) and "shortest_edge" not in size:
        yield "resize", "size", "squash"
    elif kind.startswith("convnext") or "crop_pct" in keys:
        if isinstance(side := size_of(size), int) and side >= _WHOLE_FROM:
            yield "resize", "size", "squash"
        elif "crop_pct" in keys:
            yield "crop_ratio", "crop_pct", float
        else:
            yield "crop_ratio", "size", _SHARE
    elif kind.startswith(("vit", "deit", "beit")):
        yield "resize", "size", "squash"
    elif not cut:
        yield "resize", "do_center_crop", _refuse("only square images are made")


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
