"""What no tensor of a ResNet shows: geometry of its first layers, and where its blocks stride."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Annotated, Literal, get_args

from pydantic import Field

from edgeresnet.errors import InputError
from edgeresnet.settings.base import settings

Stem = Literal[
    "imagenet", "imagenet-nopool", "imagenet-stride1", "imagenet-stride1-nopool",
    "small", "small-pool", "small-stride2", "small-stride2-pool",
]  # fmt: skip
StrideIn = Literal["3x3", "1x1"]
STRIDES_IN: tuple[StrideIn, ...] = get_args(StrideIn)
# torchvision's, and that of every file from before there was a choice.
USUAL_STRIDE: StrideIn = "3x3"


@dataclass(frozen=True)
class StemShape:
    """The geometry of the first layers.

    Attributes:
        kernel: height and width of the first convolution; half of it is padding.
        stride: of the first convolution.
        pool: whether a 3x3 max-pool of stride 2 follows.
    """

    kernel: int
    stride: int
    pool: bool

    @property
    def reduction(self) -> int:
        """By what the first layers divide height and width."""
        return self.stride * (2 if self.pool else 1)

    @property
    def words(self) -> str:
        """As a sentence has it."""
        pool = "with" if self.pool else "without"
        return f"{self.kernel}x{self.kernel} stem of stride {self.stride} {pool} max-pool"


STEMS: dict[Stem, StemShape] = {
    "imagenet": StemShape(7, 2, pool=True),
    "imagenet-nopool": StemShape(7, 2, pool=False),
    "imagenet-stride1": StemShape(7, 1, pool=True),
    "imagenet-stride1-nopool": StemShape(7, 1, pool=False),
    "small": StemShape(3, 1, pool=False),
    "small-pool": StemShape(3, 1, pool=True),
    "small-stride2": StemShape(3, 2, pool=False),
    "small-stride2-pool": StemShape(3, 2, pool=True),
}
# What older versions know.
FIRST_STEMS: tuple[Stem, ...] = ("imagenet", "small")


def stem_shape(name: str) -> StemShape:
    """The geometry that a stem's name means; InputError lists the known ones."""
    for stem, shape in STEMS.items():
        if stem == name:
            return shape
    raise InputError(f"stem {name} is not known", f"give one of {', '.join(STEMS)}.")


def stems_of(kernel: int) -> list[Stem]:
    """Names of the stems whose first convolution is so large, the usual one first."""
    return [name for name, shape in STEMS.items() if shape.kernel == kernel]


_MEANINGS = "; ".join(
    f"{name}: {shape.kernel}x{shape.kernel}, stride {shape.stride}{', max-pool' * shape.pool}"
    for name, shape in STEMS.items()
)
StemTold = Annotated[
    Stem | None,
    Field(
        description=f"First layers of a new network or of a foreign checkpoint ({_MEANINGS}); left "
        "out: imagenet or small, of a checkpoint by its kernel, of a new network by the image size."
    ),
]
StrideInTold = Annotated[
    StrideIn | None,
    Field(
        description="Which convolution of a bottleneck block has the stride: 3x3 as in "
        "torchvision, or the first 1x1 as in caffe, MSRA's and Detectron2's; left out: as the "
        "checkpoint says, else 3x3."
    ),
]


@settings
class NetworkTold:
    """What a user tells of a foreign checkpoint's network; None tells nothing."""

    stem: StemTold = None
    stride_in: StrideInTold = None

    @property
    def options(self) -> str:
        """What is told, as a message names it."""
        return ", ".join(
            f"--{name.replace('_', '-')}" for name, value in vars(self).items() if value is not None
        )


NOTHING_TOLD = NetworkTold()
