"""How an image file becomes the input of a network."""

from __future__ import annotations

import re
from collections.abc import Iterator
from dataclasses import fields, replace
from fractions import Fraction
from typing import Annotated, Any, Literal

from pydantic import (
    BeforeValidator,
    Field,
    ValidationInfo,
    WithJsonSchema,
    field_validator,
    model_validator,
)

from edgeresnet.settings.base import fault, settings
from edgeresnet.untrusted import short

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALLEST_IMAGE = 8
# A network's own layers take gigabytes above it, whatever its file says.
LARGEST_IMAGE = 4096
LARGEST_RESIZE = 2 * LARGEST_IMAGE
SMALLEST_RATIO = 0.01
# Of values in 0 to 1 a deviation of 1/255 is small; of values in 0 to 255 a mean of 255 is large.
SMALLEST_STD, LARGEST_MEAN = 1e-6, 1e6
# A number as text, as 104/255; a fraction of more digits or a larger exponent would take for ever.
_NUMBER = re.compile(r"[^eE]{1,40}([eE][-+]?[0-9]{1,3})?")

SQUASH: Literal["squash"] = "squash"
Resize = int | Literal["squash"]
Interpolation = Literal["bilinear", "bicubic", "nearest", "lanczos"]
Channels = Literal["rgb", "bgr", "gray"]
CropRounding = Literal["even", "down"]
Triple = tuple[float, float, float]

RESIZE_HELP = (
    "Pixels that the shorter side of an image gets before the centre is cut out, or squash for the "
    "whole image without its proportions; left out: 256 for an input of 224, and squash below 128."
)
CROP_RATIO_HELP = (
    "Side of the input as a share of the resized image's, as 0.875 for 224 of 256, in place of the "
    "number of pixels."
)
INTERPOLATION_HELP = "How pixels are interpolated."
CROP_ROUNDING_HELP = (
    "Where half a pixel goes when an odd number of pixels is cut off: even as torchvision and timm "
    "round, down as Hugging Face's processors do."
)
MEAN_HELP = (
    "Mean of each channel, in the network's own order, on values in 0 to 1: as 0.485,0.456,0.406, "
    "one number for all, or fractions as 104/255."
)
STD_HELP = (
    "Standard deviation of each channel, likewise; 1/255 for a network that takes values in 0 to "
    "255."
)
CHANNELS_HELP = "Order of the network's channels; gray is the luminance, three times."


def _read_resize(value: Any) -> Any:
    """A number may come as text, as a command line has it."""
    if value is None or value == SQUASH:
        return value
    try:
        pixels = int(value) if isinstance(value, str) else value
    except ValueError:
        pixels = 0
    if type(pixels) is int and not 0 < pixels <= LARGEST_RESIZE:
        raise fault(
            f"resize {short(value)} is not known",
            f"give the pixels of the shorter side, up to {LARGEST_RESIZE}, or squash.",
        )
    return pixels


def _number(value: Any) -> float:
    if not isinstance(value, str):
        return float(value)
    if not _NUMBER.fullmatch(value.strip()):
        raise ValueError("no number")
    return float(Fraction(value))


def _read_triple(value: Any, info: ValidationInfo) -> Any:
    """Three numbers, or one for all; as text too, where each may be a fraction."""
    if value is None:
        return None
    given = value.split(",") if isinstance(value, str) else value
    if isinstance(given, (int, float)):
        given = [given]
    try:
        numbers = [_number(part) for part in given]
    except (TypeError, ValueError, ArithmeticError):
        numbers = []
    numbers = numbers * 3 if len(numbers) == 1 else numbers
    smallest = SMALLEST_STD if info.field_name == "std" else -LARGEST_MEAN
    if len(numbers) != 3 or not all(smallest <= one <= LARGEST_MEAN for one in numbers):
        raise fault(
            f"{info.field_name} {short(value)} does not normalize an RGB image",
            "give three means and three positive deviations.",
        )
    return tuple(numbers)


_FRACTION = {"type": ["number", "string"]}
# What `_read_triple` takes, for an editor.
_TRIPLE_SCHEMA = WithJsonSchema({
    "anyOf": [
        {"type": "array", "items": _FRACTION, "maxItems": 3, "minItems": 1},
        _FRACTION,
        {"type": "null"},
    ]
})  # fmt: skip


@settings
class InputSpec:
    """How an image becomes the network's input; travels in every checkpoint and bundle."""

    image_size: int = Field(
        default=224,
        ge=SMALLEST_IMAGE,
        le=LARGEST_IMAGE,
        description="Height and width of the input in pixels.",
    )
    mean: Annotated[Triple, BeforeValidator(_read_triple)] = Field(
        default=IMAGENET_MEAN, description=MEAN_HELP
    )
    std: Annotated[Triple, BeforeValidator(_read_triple)] = Field(
        default=IMAGENET_STD, description=STD_HELP
    )
    resize: Annotated[Resize | None, BeforeValidator(_read_resize)] = Field(
        default=None, description=RESIZE_HELP
    )
    crop_ratio: float | None = Field(
        default=None, ge=SMALLEST_RATIO, le=1, description=CROP_RATIO_HELP
    )
    interpolation: Interpolation = Field(default="bilinear", description=INTERPOLATION_HELP)
    channels: Channels = Field(default="rgb", description=CHANNELS_HELP)
    crop_rounding: CropRounding = Field(default="even", description=CROP_ROUNDING_HELP)

    @model_validator(mode="after")
    def _cuts_from_what_is_there(self) -> InputSpec:
        if isinstance(self.resize, int):
            if self.crop_ratio is not None:
                raise fault(
                    f"resize {self.resize} and crop_ratio {self.crop_ratio} both say how large the "
                    "image is before it is cut",
                    "give one of them.",
                )
            if self.resize > LARGEST_RESIZE:
                raise fault(
                    f"resize {self.resize} is more than {LARGEST_RESIZE} px",
                    "give the pixels of the shorter side, or squash.",
                )
            if self.resize < self.image_size:
                raise fault(
                    f"resize {self.resize} leaves less than the {self.image_size} px of the input",
                    f"give resize {self.image_size} or more, or another image size.",
                )
        return self

    @property
    def plain(self) -> bool:
        """Whether all is said by size, mean and std, as in files of older versions."""
        return not any(self._beyond_older())

    def of_size(self, image_size: int) -> InputSpec:
        """The same share of an image, as an input of another size."""
        resize = self.resize
        if isinstance(resize, int):
            resize = round(resize * image_size / self.image_size)
        return replace(self, image_size=image_size, resize=resize)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and JSON; what older versions did not have, only where needed.

        A checkpoint's keys are hashes of it, so that those of a plain one stay what they were.
        """
        values = {"image_size": self.image_size, "mean": list(self.mean), "std": list(self.std)}
        return {**values, **dict(self._beyond_older())}

    def _beyond_older(self) -> Iterator[tuple[str, Any]]:
        for field in fields(self)[3:]:
            value = getattr(self, field.name)
            if value != DEFAULTS[field.name]:
                yield field.name, value

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InputSpec:
        """The inverse of `to_dict`; what else is in the dict is left alone."""
        known = [field.name for field in fields(cls)]
        wanted = {name: values[name] for name in known[:3]}
        return cls(**wanted, **{name: values[name] for name in known[3:] if name in values})


DEFAULTS = vars(InputSpec())


@settings
class InputChanges:
    """What a user tells of a network's input, over what its file says; None changes nothing."""

    resize: Annotated[Resize | None, BeforeValidator(_read_resize)] = Field(
        default=None, description=RESIZE_HELP
    )
    crop_ratio: float | None = Field(default=None, gt=0, le=1, description=CROP_RATIO_HELP)
    interpolation: Interpolation | None = Field(default=None, description=INTERPOLATION_HELP)
    mean: Annotated[Triple | None, BeforeValidator(_read_triple), _TRIPLE_SCHEMA] = Field(
        default=None, description=MEAN_HELP
    )
    std: Annotated[Triple | None, BeforeValidator(_read_triple), _TRIPLE_SCHEMA] = Field(
        default=None, description=STD_HELP
    )
    channels: Channels | None = Field(default=None, description=CHANNELS_HELP)

    @field_validator("mean", "std")
    @classmethod
    def _is_of_values_to_1(cls, value: Triple | None, info: ValidationInfo) -> Triple | None:
        if value is not None and max(value) > 1:
            raise fault(
                f"{info.field_name} {','.join(f'{v:g}' for v in value)} is not of values in 0 to 1",
                "divide it by 255, as --mean 104/255,117/255,123/255.",
            )
        return value

    @property
    def given(self) -> dict[str, Any]:
        """What is told, by the names of `InputSpec`."""
        return {name: value for name, value in vars(self).items() if value is not None}

    @property
    def options(self) -> str:
        """What is told, as a message names it."""
        return ", ".join(f"--{name.replace('_', '-')}" for name in self.given)

    def over(self, spec: InputSpec) -> InputSpec:
        """The spec with what is told put over it.

        Raises:
            SettingsError: the two do not go together.
        """
        given = self.given
        if isinstance(self.resize, int):
            given.setdefault("crop_ratio", None)
        elif self.crop_ratio is not None and isinstance(spec.resize, int):
            given.setdefault("resize", None)
        return replace(spec, **given) if given else spec


NO_CHANGES = InputChanges()
