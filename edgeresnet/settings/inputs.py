"""How an image file becomes the input of a network."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from edgeresnet.errors import InputError

IMAGENET_MEAN = (0.485, 0.456, 0.406)


IMAGENET_STD = (0.229, 0.224, 0.225)


SMALLEST_IMAGE = 8


@dataclass(frozen=True)
class InputSpec:
    """How an image becomes the network's input; travels in every checkpoint and bundle.

    Attributes:
        image_size: height and width of the square input in pixels.
        mean: of each RGB channel, on values scaled to [0, 1].
        std: of each RGB channel, on values scaled to [0, 1].
    """

    image_size: int = 224
    mean: tuple[float, float, float] = IMAGENET_MEAN
    std: tuple[float, float, float] = IMAGENET_STD

    def __post_init__(self) -> None:
        if self.image_size < SMALLEST_IMAGE:
            raise InputError(
                f"image size {self.image_size} is too small",
                f"give --image-size of at least {SMALLEST_IMAGE}.",
            )
        if len(self.mean) != 3 or len(self.std) != 3 or min(self.std) <= 0:
            raise InputError(
                f"mean {self.mean} and std {self.std} do not normalize an RGB image",
                "give three means and three positive deviations.",
            )

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for YAML and JSON."""
        return {"image_size": self.image_size, "mean": list(self.mean), "std": list(self.std)}

    @classmethod
    def from_dict(cls, values: dict[str, Any]) -> InputSpec:
        """The inverse of `to_dict`."""
        mean, std = (tuple(float(v) for v in values[key]) for key in ("mean", "std"))
        return cls(int(values["image_size"]), mean, std)  # type: ignore[arg-type]
