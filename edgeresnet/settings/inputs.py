"""How an image file becomes the input of a network."""

from __future__ import annotations

from dataclasses import fields
from typing import Any

from pydantic import Field, ValidationInfo, field_validator

from edgeresnet.settings.base import fault, settings

IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALLEST_IMAGE = 8


@settings
class InputSpec:
    """How an image becomes the network's input; travels in every checkpoint and bundle."""

    image_size: int = Field(
        default=224, ge=SMALLEST_IMAGE, description="Height and width of the input in pixels."
    )
    mean: tuple[float, float, float] = Field(
        default=IMAGENET_MEAN, description="Mean of each RGB channel, on values scaled to [0, 1]."
    )
    std: tuple[float, float, float] = Field(
        default=IMAGENET_STD,
        description="Standard deviation of each RGB channel, on values scaled to [0, 1].",
    )

    @field_validator("mean", "std", mode="before")
    @classmethod
    def _normalizes_rgb(cls, value: Any, info: ValidationInfo) -> Any:
        numbers = list(value) if isinstance(value, (tuple, list)) else []
        if len(numbers) != 3 or (info.field_name == "std" and min(numbers) <= 0):
            raise fault(
                f"{info.field_name} {value} does not normalize an RGB image",
                "give three means and three positive deviations.",
            )
        return value

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and JSON."""
        return {"image_size": self.image_size, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InputSpec:
        """The inverse of `to_dict`; what else is in the dict is left alone."""
        return cls(**{field.name: values[field.name] for field in fields(cls)})
