"""What is done to images before they are RGB, where trainings may have done something else."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from pathlib import PurePath
from typing import cast

from PIL import Image

ORIENTATION = 0x0112
WITH_ALPHA = ("LA", "PA", "RGBA", "La", "RGBa")
# The keys are those of --json.
_WORDS = {
    "rotated": "turned upright as their EXIF says (torchvision's ImageFolder and timm leave them "
    "as they lie)",
    "transparent": "with transparent pixels, which are black now (torchvision's ImageFolder and "
    "timm take the colours below)",
    "of_16_bits": "of 16 bits scaled to 8, their high byte (torchvision's ImageFolder makes all "
    "above 255 white)",
}


class Conversions:
    """Which images were converted how: each counts once, however often it is read."""

    def __init__(self) -> None:
        self._paths: dict[str, set[PurePath]] = {key: set() for key in _WORDS}

    def add(self, path: PurePath, image: Image.Image) -> None:
        """Look at an image as it was read of this file, or of this name in a shard."""
        for key in kinds_of(image):
            self._paths[key].add(path)

    def of(self, path: PurePath) -> tuple[str, ...]:
        """What was done to the image of this file, as far as it was read."""
        return tuple(key for key, paths in self._paths.items() if path in paths)

    def take(self, path: PurePath, kinds: Sequence[str]) -> None:
        """What another process did to the image of this file, as it has it from `of`."""
        for key in kinds:
            self._paths[key].add(path)

    def with_all(self, others: Iterable[Conversions]) -> Conversions:
        """These and those of other images."""
        together = Conversions()
        for one in (self, *others):
            for key, paths in one._paths.items():
                together._paths[key] |= paths
        return together

    def counts(self) -> dict[str, int]:
        """Images of each kind."""
        return {key: len(paths) for key, paths in self._paths.items()}

    def lines(self) -> list[str]:
        """What a user should know: one line for each kind that there is."""
        return [
            f"{count} image{'' if count == 1 else 's'} {_WORDS[key]}"
            for key, count in self.counts().items()
            if count
        ]


def kinds_of(image: Image.Image) -> Iterator[str]:
    """What is done to an image as it was read, by the keys of --json."""
    if image.getexif().get(ORIENTATION, 1) not in (0, 1):
        yield "rotated"
    if image.mode.startswith("I"):
        yield "of_16_bits"
    if _is_transparent(image):
        yield "transparent"


def _is_transparent(image: Image.Image) -> bool:
    if image.mode == "P" and "transparency" in image.info:
        image = image.convert("RGBA")
    if image.mode not in WITH_ALPHA:
        return False
    # Alpha is the last band.
    return cast("tuple[tuple[int, int], ...]", image.getextrema())[-1][0] != 255
