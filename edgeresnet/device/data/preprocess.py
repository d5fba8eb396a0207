"""Images to the input of a network: resize, crop, normalize."""

from __future__ import annotations

from math import floor
from typing import TYPE_CHECKING, Any, cast

import numpy as np
from PIL import Image, ImageOps

from edgeresnet.errors import InputError
from edgeresnet.settings.inputs import SQUASH, InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray


# From this size up images are photographs whose border may go; below, every pixel counts.
CROP_FROM = 128

CROP_RATIO = 256 / 224
# A resized image of more pixels is not made whole: of a strip of 20000 x 3 only the centre counts.
MOST_RESIZED = 1 << 26
# Of larger images one at a time is decoded.
LARGE_PIXELS = 1 << 24
LARGEST_16_BIT = 65535
INTERPOLATIONS = {
    "bilinear": Image.Resampling.BILINEAR,
    "bicubic": Image.Resampling.BICUBIC,
    "nearest": Image.Resampling.NEAREST,
    "lanczos": Image.Resampling.LANCZOS,
}


def to_rgb(image: Image.Image) -> Image.Image:
    """Any image upright and in 8-bit RGB.

    EXIF orientation is applied, 16-bit values keep their high byte, palettes are looked up, and
    transparent pixels stand on black.

    Raises:
        InputError: floats or 32-bit numbers.
    """
    check_values(image)
    image = ImageOps.exif_transpose(image)
    if image.mode in ("I", "I;16", "I;16B", "I;16L", "I;16N"):
        image = Image.fromarray((np.asarray(image) >> 8).astype(np.uint8))
    if image.mode == "P" and "transparency" not in image.info:
        return image.convert("RGB")
    if image.mode in ("LA", "PA", "RGBA", "P", "La", "RGBa"):
        return _on_black(image)
    return image if image.mode == "RGB" else image.convert("RGB")


def _on_black(image: Image.Image) -> Image.Image:
    """With its transparent pixels; a large image strip by strip, for each step takes a copy."""
    rows = max(1, LARGE_PIXELS // image.width)
    if image.height > rows:
        whole = Image.new("RGB", image.size)
        for top in range(0, image.height, rows):
            strip = image.crop((0, top, image.width, min(top + rows, image.height)))
            whole.paste(_on_black(strip), (0, top))
        return whole
    layered = image.convert("RGBA")
    black = Image.new("RGBA", layered.size, (0, 0, 0, 255))
    return Image.alpha_composite(black, layered).convert("RGB")


def check_values(image: Image.Image) -> None:
    """Refuse pixels of which nobody knows what is white; 16 bits are scaled to 8.

    Raises:
        InputError: floats, or numbers of more than 16 bits.
    """
    fix = "save it with 8 or 16 bits a channel."
    if image.mode == "F":
        raise InputError("its pixels are floats of unknown range", fix)
    if image.mode == "I":
        low, high = cast("tuple[int, int]", image.getextrema())
        if low < 0 or high > LARGEST_16_BIT:
            raise InputError(f"its pixels are 32-bit numbers from {low} to {high}", fix)


def to_colours(image: Image.Image, spec: InputSpec) -> Image.Image:
    """An image as `to_rgb` has it; where the network sees luminance only, in grey."""
    image = to_rgb(image)
    return image.convert("L").convert("RGB") if spec.channels == "gray" else image


def in_order(pixels: NDArray[np.uint8], spec: InputSpec) -> NDArray[np.uint8]:
    """(…, 3) RGB in the order of the network's channels."""
    return np.ascontiguousarray(pixels[..., ::-1]) if spec.channels == "bgr" else pixels


def resized_to(spec: InputSpec, width: int, height: int) -> tuple[int, int]:
    """Width and height that an image gets before the centre is cut out of it.

    Args:
        spec: says how. Where it does not: from 128 px up shorter side to ``round(N * 256 / 224)``;
            below, the whole image to N x N.
        width: of the image.
        height: of the image.
    """
    side, resize = spec.image_size, spec.resize
    if spec.crop_ratio is not None:
        # Rounded as timm rounds, whose networks come with such a number.
        side = floor(side / spec.crop_ratio)
    elif resize is None and side >= CROP_FROM:
        side = round(side * CROP_RATIO)
    elif resize is None:
        resize = SQUASH
    if resize == SQUASH:
        return side, side
    shorter = side if resize is None else resize
    # Rounded as torchvision rounds, whose weights were measured so.
    return shorter * width // min(width, height), shorter * height // min(width, height)


def crop_start(spec: InputSpec, length: int) -> int:
    """The first pixel of the centre of so many, across or down."""
    spare = length - spec.image_size
    return spare // 2 if spec.crop_rounding == "down" else round(spare / 2)


def to_pixels(image: Image.Image, spec: InputSpec) -> NDArray[np.uint8]:
    """Resize and crop one image to the network's size, with antialiasing.

    Returns:
        (N, N, 3) uint8, in the order of the network's channels.

    Raises:
        InputError: the image has floats or 32-bit numbers.
    """
    size, filtered = spec.image_size, INTERPOLATIONS[spec.interpolation]
    image = to_colours(image, spec)
    width, height = resized_to(spec, *image.size)
    left, top = crop_start(spec, width), crop_start(spec, height)
    if width * height > MOST_RESIZED:
        across, down = image.width / width, image.height / height
        box = (left * across, top * down, (left + size) * across, (top + size) * down)
        image = image.resize((size, size), filtered, box=box)
    else:
        image = image.resize((width, height), filtered)
        if image.size != (size, size):
            image = image.crop((left, top, left + size, top + size))
    return in_order(np.array(image, dtype=np.uint8), spec)


def affine(spec: InputSpec) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Scale and offset, (3,) float32 each: normalized = pixel * scale + offset."""
    std = np.array(spec.std, np.float64)
    scale = (1 / (255 * std)).astype(np.float32)
    return scale, (-np.array(spec.mean, np.float64) / std).astype(np.float32)


def normalize(
    pixels: NDArray[np.uint8], spec: InputSpec, *, channels_last: bool = False
) -> NDArray[np.float32]:
    """Pixels to the network's input, float32 ``pixel * scale + offset``.

    Args:
        pixels: (n, H, W, 3) uint8, in the order of the network's channels.
        spec: gives mean and std.
        channels_last: the layout stays as it is.

    Returns:
        (n, 3, H, W) float32, contiguous; (n, H, W, 3) for ``channels_last``.
    """
    scale, offset = affine(spec)
    # 256 values a channel: looking them up is faster than computing, and exactly as precise.
    table = np.arange(256, dtype=np.float32)[:, None] * scale + offset
    n, height, width, _ = pixels.shape
    if channels_last:
        kept = np.empty((n, height, width, 3), np.float32)
        for channel in range(3):
            kept[..., channel] = table[:, channel][pixels[..., channel]]
        return kept
    result = np.empty((n, 3, height, width), np.float32)
    for channel in range(3):
        np.take(table[:, channel], pixels[..., channel], out=result[:, channel])
    return result


def to_input(
    pixels: NDArray[np.uint8], spec: InputSpec, *, raw: bool, channels_last: bool
) -> NDArray[Any]:
    """Pixels as a model takes them.

    Args:
        pixels: (n, H, W, 3) uint8, in the order of the network's channels.
        spec: gives mean and std.
        raw: the model normalizes by itself, and takes uint8.
        channels_last: it takes (n, H, W, 3), and else (n, 3, H, W).
    """
    if not raw:
        return normalize(pixels, spec, channels_last=channels_last)
    return pixels if channels_last else np.ascontiguousarray(pixels.transpose(0, 3, 1, 2))
