"""Images to the input of a network: resize, crop, normalize."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
from PIL import Image, ImageOps

from edgeresnet.settings.inputs import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


# From this size up images are photographs whose border may go; below, every pixel counts.
CROP_FROM = 128


CROP_RATIO = 256 / 224


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image upright and in 8-bit RGB.

    EXIF orientation is applied, 16-bit values keep their high byte, palettes are looked up, and
    transparent pixels stand on black.
    """
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        values = np.asarray(image).astype(np.int64)
        image = Image.fromarray(np.clip(values >> 8, 0, 255).astype(np.uint8))
    if image.mode == "F":
        image = Image.fromarray(np.clip(np.asarray(image), 0, 255).astype(np.uint8))
    if image.mode == "P" and "transparency" not in image.info:
        return image.convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "P", "La", "RGBa"):
        layered = image.convert("RGBA")
        black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
        return Image.alpha_composite(black, layered).convert("RGB")
    return image.convert("RGB")


def to_pixels(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """Resize and crop one image to the network's size.

    From 128 px up: shorter side to ``round(N * 256 / 224)``, then the centre N x N; below: the
    whole image resized to N x N. Bilinear with antialiasing.

    Returns:
        (N, N, 3) uint8, RGB.
    """
    size = spec.image_size
    image = to_rgb(image)
    if size < CROP_FROM:
        if image.size != (size, size):
            image = image.resize((size, size), Image.Resampling.BILINEAR)
        return np.array(image, dtype=np.uint8)
    shorter = round(size * CROP_RATIO)
    # Rounded as torchvision rounds, whose weights were measured so.
    width, height = (shorter * side // min(image.size) for side in image.size)
    image = image.resize((width, height), Image.Resampling.BILINEAR)
    left, top = round((width - size) / 2), round((height - size) / 2)
    return np.array(image.crop((left, top, left + size, top + size)), dtype=np.uint8)


def affine(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and offset, (3,) float32 each: normalized = pixel * scale + offset."""
    std = np.array(spec.std, np.float64)
    scale = (1 / (255 * std)).astype(np.float32)
    return scale, (-np.array(spec.mean, np.float64) / std).astype(np.float32)


def normalize(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.float32]:
    """Pixels to the network's input, float32 ``pixel * scale + offset``.

    Args:
        pixels: (n, H, W, 3) uint8.
        spec: gives mean and std.

    Returns:
        (n, 3, H, W) float32, contiguous.
    """
    scale, offset = affine(spec)
    # 256 values a channel: looking them up is faster than computing, and exactly as precise.
    table = np.arange(256, dtype=np.float32)[:, None] * scale + offset
    n, height, width, _ = pixels.shape
    result = np.empty((n, 3, height, width), np.float32)
    for channel in range(3):
        np.take(table[:, channel], pixels[..., channel], out=result[:, channel])
    return result
