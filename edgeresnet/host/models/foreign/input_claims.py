"""What keys of scripts, timm, torchvision, Detectron2 and OpenMMLab say of a network's input."""

from __future__ import annotations

from collections.abc import Callable, Iterator, Mapping, Sequence
from dataclasses import dataclass
from typing import Any

import numpy as np

from edgeresnet.host.models.foreign.openmmlab import PIPELINE, pipeline_claims
from edgeresnet.host.models.foreign.said import Said, named, shown
from edgeresnet.settings.inputs import SMALLEST_RATIO

# The field of what is said of nothing: it is named, and not used.
UNUSED = "unused"
# In the order in which they are believed; one group's must agree.
_KEYS: dict[str, tuple[tuple[str, ...], ...]] = {
    "image_size": (
        ("val_crop_size", "test_crop_size", "test_input_size"),
        ("crop_size",),
        ("input_size", "image_size", "img_size", "imgsz"),
        ("size",),
    ),
    "resize": (
        ("val_resize_size", "test_resize_size", "val_resize", "test_resize"),
        ("resize_size", "resize", "crop_mode"),
    ),
    "crop_ratio": (("test_crop_pct",), ("crop_pct", "crop_ratio", "center_crop_ratio")),
    "interpolation": (("test_interpolation", "val_interpolation"), ("interpolation", "resample")),
    "channels": (
        ("channel_order", "color_order", "channels", "color_mode", "color_space", "format"),
        ("to_rgb", "bgr_to_rgb", "rgb_to_bgr"),
    ),
}
_INTERPOLATIONS = {"linear": "bilinear", "cubic": "bicubic", "antialias": "lanczos"}
# Sections with timm's own configuration of a network.
_OF_TIMM = ("pretrained_cfg.", "default_cfg.")
_TIMM = {"crop_pct": 0.875, "interpolation": "bicubic"}
_OF_PILLOW = ("nearest", "lanczos", "bilinear", "bicubic")
_KNOWN = ("nearest", "bilinear", "bicubic", "lanczos")
_CHANNELS = {"rgb": "rgb", "bgr": "bgr", "gray": "gray", "grey": "gray", "l": "gray",
             "grayscale": "gray", "greyscale": "gray"}  # fmt: skip


@dataclass(frozen=True)
class Claim:
    """What a key says of the input.

    Attributes:
        field: of `InputSpec`; ``normalization`` for mean and std, or `UNUSED`.
        value: its value; of ``resize`` also the two sides; None if it cannot be done.
        name: the key's.
        said: what stands under it, for messages.
        beside: in a file beside the checkpoint.
        rank: claims of a smaller number are believed first.
        fault: why it cannot be done, or is not used.
    """

    field: str
    value: Any
    name: str
    said: str
    beside: bool
    rank: int = 0
    fault: str = ""


class ImpossibleError(Exception):
    """What is said is understood, and not supported."""


def claims_of(said: Sequence[Said]) -> Iterator[Claim]:
    """Every claim of these keys; those that are no claim after all are `UNUSED` with the reason."""
    said = [*said, *_defaults_of_timm(said)]
    for field, groups in _KEYS.items():
        for rank, keys in enumerate(groups):
            for one in named(said, keys):
                yield from _claims(field, rank, one)
    for one in named(said, (PIPELINE,)):
        values, unknown = pipeline_claims(one.value)
        for key, value in values.items():
            field = next(f for f, groups in _KEYS.items() if any(key in g for g in groups))
            yield from _claims(field, 0, Said(one.place, key, one.name, value, one.beside))
        for step in unknown:
            fault = "it is no step of a ResNet's usual test"
            yield Claim(UNUSED, None, one.name, step, one.beside, fault=fault)
    # OpenMMLab reads with OpenCV, and keeps its order unless it is told otherwise.
    for one in named(said, ("data_preprocessor",)):
        there = set(one.value) if isinstance(one.value, Mapping) else set()
        if "mean" in there and not {"to_rgb", "bgr_to_rgb"} & there:
            yield Claim("channels", "bgr", one.name, "without to_rgb", one.beside, 1)


def _defaults_of_timm(said: Sequence[Said]) -> Iterator[Said]:
    """What `timm.data.resolve_data_config` takes where a configuration of its own does not say."""
    for size in named(said, ("input_size",)):
        there = {s.key for s in said if s.place == size.place}
        for key, value in _TIMM.items():
            if size.place.endswith(_OF_TIMM) and not {key, f"test_{key}"} & there:
                yield Said(size.place, key, f"timm's default of {key}", value, size.beside)


def _claims(field: str, rank: int, one: Said) -> Iterator[Claim]:
    if (one.key == "format" and not one.place.lower().endswith("input.")) or (
        # A bare "size" may be of anything; with height and width it is an image's.
        one.key == "size" and not isinstance(one.value, Mapping)
    ):
        return
    value, fault = None, ""
    try:
        value = _READERS.get(one.key, _READERS[field])(one.value)
        if value is None:
            return
    except ImpossibleError as error:
        fault = str(error)
    except (TypeError, ValueError, AttributeError, ArithmeticError) as error:
        field, fault = UNUSED, str(error) or "it is not understood"
    yield Claim(field, value, one.name, shown(one.value), one.beside, rank, fault)


def sides_of(value: Any) -> tuple[int, int]:
    """Height and width of ``224``, ``(224, 224)``, ``(3, 224, 224)`` or their dictionaries.

    Raises:
        ValueError: it is no size.
    """
    if isinstance(value, Mapping):
        shortest = value.get("shortest_edge")
        value = [value.get("height", shortest), value.get("width", shortest)]
    if isinstance(value, (str, float)) and float(value).is_integer():
        value = int(float(value))
    if isinstance(value, (int, np.integer)) and not isinstance(value, bool):
        value = [value, value]
    if isinstance(value, (list, tuple)) and len(value) == 3 and value[2] in (1, 3):
        value = value[:2]
    if isinstance(value, (list, tuple)) and 2 <= len(value) <= 4:
        sides = [int(v) for v in value[-2:] if isinstance(v, (int, np.integer)) and 8 <= v <= 4096]
        if len(sides) == 2:
            return sides[0], sides[1]
    raise ValueError("it is no image's size")


def size_of(value: Any) -> int:
    """The one side of a square input."""
    sides = sides_of(value)
    if sides[0] != sides[1]:
        raise ImpossibleError("only square images are made")
    return sides[0]


def resize_of(value: Any) -> int | str | tuple[int, int]:
    """The shorter side, or both."""
    if value == "squash":
        return "squash"
    if isinstance(value, (list, tuple)) and len(value) == 1:
        value = value[0]
    whole = isinstance(value, (list, tuple)) or (
        isinstance(value, Mapping) and {"height", "width"} <= set(value)
    )
    side = size_of(value)
    return (side, side) if whole else side


def _ratio_of(value: Any) -> float:
    if isinstance(value, (bool, str)) or not (number := float(value)) >= SMALLEST_RATIO:
        raise ValueError("it is no share of an image's side")
    if number > 1:
        raise ImpossibleError("the input would be larger than the image")
    return number


def interpolation_of(value: Any) -> str | None:
    """A name or a number of Pillow's, or of torchvision's."""
    if value == "" or isinstance(value, bool):
        return None
    if isinstance(value, int):
        name = _OF_PILLOW[value] if 0 <= value < len(_OF_PILLOW) else str(value)
    else:
        name = str(value).rpartition(".")[2].lower()
    name = _INTERPOLATIONS.get(name, name)
    if name not in _KNOWN:
        raise ImpossibleError(f"known are {', '.join(_KNOWN)}")
    return name


def _channels_of(value: Any) -> str | None:
    if not isinstance(value, str) or value.isdecimal():
        return None  # their number
    if (name := value.lower()) not in _CHANNELS:
        raise ImpossibleError("known are rgb, bgr and gray")
    return _CHANNELS[name]


def _mode_of(value: Any) -> str | None:
    if value in ("center", "", None):
        return None
    if value == "squash":
        return "squash"
    raise ImpossibleError("images are cut at their centre, or squashed")


def _order_of(is_rgb: bool) -> Callable[[Any], str]:
    return lambda value: "rgb" if bool(value) == is_rgb else "bgr"


_READERS: dict[str, Callable[[Any], Any]] = {
    "image_size": size_of,
    "resize": resize_of,
    "crop_ratio": _ratio_of,
    "interpolation": interpolation_of,
    "channels": _channels_of,
    "crop_mode": _mode_of,
    "to_rgb": _order_of(True),
    "bgr_to_rgb": _order_of(True),
    "rgb_to_bgr": _order_of(False),
}
