"""Scenes for a detector, composed from Fashion-MNIST by a stated rule.

A scene is `SIDE` x `SIDE` px, RGB. Its background is noise of `SIDE` / 8 points a side, enlarged
bilinearly, in a colour of its own, of at most `LIGHTEST`. On it lie one to four garments, each a
random image of the split, resized to a square of 28 to 48 px, in a colour of its own, blended in by
its own brightness. Boxes may overlap by at most `OVERLAP` (intersection over union); what finds no
place in 20 tries is left out. A box is that of the garment's own pixels (brighter than 16 of 255),
and not of its square. Scene ``i`` of a split and seed is the same on every machine.
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgeresnet.device.data.dataset import Split
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.standard import ArrayDataset

SIDE = 128
SMALLEST, LARGEST = 28, 48
MOST_GARMENTS = 4
LIGHTEST = 110
OVERLAP = 0.2
VISIBLE = 16


@dataclass(frozen=True, eq=False)
class Scene:
    """An image and what is on it.

    Attributes:
        pixels: (SIDE, SIDE, 3) uint8.
        boxes: (n, 4) float32, left, top, right and bottom in pixels.
        labels: (n,) int64, of Fashion-MNIST's classes from 1 on: 0 is the background.
    """

    pixels: NDArray[np.uint8]
    boxes: NDArray[np.float32]
    labels: NDArray[np.int64]

    @property
    def image(self) -> torch.Tensor:
        """(3, SIDE, SIDE) float32 from 0 to 1, as torchvision's detectors take it."""
        return torch.from_numpy(self.pixels).permute(2, 0, 1).float() / 255

    @property
    def target(self) -> dict[str, torch.Tensor]:
        """As torchvision's detectors learn from it."""
        return {"boxes": torch.from_numpy(self.boxes), "labels": torch.from_numpy(self.labels)}


def scenes(split: Split, count: int, seed: int = 0) -> list[Scene]:
    """The first scenes of a split; garments of ``val`` are in no scene of ``train``."""
    data: Any = open_dataset("fashion-mnist", split)
    assert isinstance(data, ArrayDataset)
    return [
        _scene(data, np.random.default_rng([seed, split == "val", number]))
        for number in range(count)
    ]


def _scene(data: ArrayDataset, draw: np.random.Generator) -> Scene:
    pixels = _background(draw)
    boxes: list[NDArray[np.float32]] = []
    labels = []
    for _ in range(int(draw.integers(1, MOST_GARMENTS + 1))):
        place = int(draw.integers(len(data)))
        garment = np.asarray(
            _resized(data.pixels[place], int(draw.integers(SMALLEST, LARGEST + 1)))
        )
        colour = draw.uniform(0.6, 1.0, 3)
        for box, corner in _tries(garment, draw):
            if all(overlap(box, other) <= OVERLAP for other in boxes):
                _put(pixels, garment, colour, corner)
                boxes.append(box)
                labels.append(int(data.labels[place]) + 1)
                break
    return Scene(
        pixels.astype(np.uint8), np.stack(boxes).astype(np.float32), np.array(labels, np.int64)
    )


def _background(draw: np.random.Generator) -> NDArray[np.float64]:
    points = draw.uniform(0, 255, (SIDE // 8, SIDE // 8)).astype(np.uint8)
    noise = np.asarray(_resized(points, SIDE), np.float64) / 255
    return noise[..., None] * draw.uniform(20, LIGHTEST, 3)


def _resized(pixels: NDArray[np.uint8], side: int) -> Image.Image:
    return Image.fromarray(pixels).resize((side, side), Image.Resampling.BILINEAR)


def _tries(
    garment: NDArray[np.uint8], draw: np.random.Generator
) -> Iterator[tuple[NDArray[np.float32], tuple[int, int]]]:
    """Boxes at random corners (left, top)."""
    rows, columns = (np.flatnonzero((garment > VISIBLE).any(axis)) for axis in (1, 0))
    inside = np.array([columns[0], rows[0], columns[-1] + 1, rows[-1] + 1], np.float32)
    for _ in range(20):
        left, top = (int(value) for value in draw.integers(0, SIDE - len(garment) + 1, 2))
        yield inside + np.array([left, top, left, top], np.float32), (left, top)


def _put(
    pixels: NDArray[np.float64],
    garment: NDArray[np.uint8],
    colour: NDArray[np.float64],
    corner: tuple[int, int],
) -> None:
    left, top = corner
    part = pixels[top : top + len(garment), left : left + len(garment)]
    share = np.minimum(garment[..., None] / 96, 1)
    part[:] = part * (1 - share) + share * garment[..., None] * colour


def overlap(one: NDArray[np.float32], other: NDArray[np.float32]) -> float:
    """Intersection over union of two boxes."""
    low, high = np.maximum(one[:2], other[:2]), np.minimum(one[2:], other[2:])
    common = float(np.prod(np.maximum(high - low, 0)))
    areas = sum(float(np.prod(box[2:] - box[:2])) for box in (one, other))
    return common / (areas - common)
