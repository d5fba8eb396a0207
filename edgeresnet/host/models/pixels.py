"""A whole data set as pixels in memory, and their normalization on a device."""

from __future__ import annotations

import torch
from torch import Tensor

from edgeresnet.device.data.dataset import Dataset, batches
from edgeresnet.device.data.preprocess import affine
from edgeresnet.settings.inputs import InputSpec

RESIDENT_BYTES = 1 << 30


DECODE_BATCH = 256


class Normalizer:
    """uint8 pixels to the network's input, as `edgeresnet.device.data.preprocess.normalize`.

    Args:
        spec: gives mean and std.
        device: where the batches are.
    """

    def __init__(self, spec: InputSpec, device: torch.device) -> None:
        scale, offset = affine(spec)
        self._scale = torch.from_numpy(scale).to(device)
        self._offset = torch.from_numpy(offset).to(device)

    def __call__(self, pixels: Tensor) -> Tensor:
        """(n, H, W, 3) uint8 to (n, 3, H, W) float32 in channels-last memory."""
        # Two steps, not one fused: a fused multiply-add rounds differently from numpy.
        return (pixels.float() * self._scale + self._offset).permute(0, 3, 1, 2)


def fits_in_memory(dataset: Dataset, spec: InputSpec) -> bool:
    """Whether all its pixels take less than `RESIDENT_BYTES`."""
    return resident_bytes(len(dataset), spec.image_size) is not None


def resident_bytes(images: int, image_size: int) -> int | None:
    """Of the pixels of so many images, as uint8; None: too many to stay in memory."""
    taken = images * image_size * image_size * 3
    return taken if taken < RESIDENT_BYTES else None


def load_pixels(dataset: Dataset, spec: InputSpec) -> Tensor:
    """Decode a whole set once: (n, N, N, 3) uint8."""
    size = spec.image_size
    pixels = torch.empty((len(dataset), size, size, 3), dtype=torch.uint8)
    start = 0
    for part, _ in batches(dataset, spec, DECODE_BATCH, raw=True):
        pixels[start : start + len(part)] = torch.from_numpy(part)
        start += len(part)
    return pixels
