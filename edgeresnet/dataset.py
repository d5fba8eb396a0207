"""Images to arrays: the only evaluation preprocessing, host and device (Pillow + numpy)."""

from __future__ import annotations

import hashlib
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image, ImageOps

from edgeresnet.cpu import default_threads
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

Split = Literal["train", "val"]
IMAGENET_MEAN = (0.485, 0.456, 0.406)
IMAGENET_STD = (0.229, 0.224, 0.225)
SMALLEST_IMAGE = 8
# Of data that comes without a split of its own.
VALIDATION_SHARE = 0.2
# From this size up images are photographs whose border may go; below, every pixel counts.
CROP_FROM = 128
CROP_RATIO = 256 / 224


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


class Dataset(Protocol):
    """Labelled images in a fixed order.

    Attributes:
        name: the DATA SPEC it was opened by.
        classes: class names; ``labels`` index them.
        labels: (n,) int64.
        skipped: broken files that were left out.
    """

    @property
    def name(self) -> str: ...
    @property
    def split(self) -> Split: ...
    @property
    def classes(self) -> tuple[str, ...]: ...
    @property
    def labels(self) -> NDArray[np.int64]: ...
    @property
    def skipped(self) -> tuple[str, ...]: ...

    def __len__(self) -> int: ...

    def image(self, index: int) -> Image.Image:
        """Decode one image; InputError names a broken file."""
        ...

    def file_name(self, index: int) -> str:
        """What to call the image in a message."""
        ...

    def subset(self, indices: Sequence[int]) -> Dataset:
        """Only these images, in this order."""
        ...


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


def batches(
    dataset: Dataset,
    spec: InputSpec,
    batch_size: int,
    *,
    raw: bool = False,
    workers: int | None = None,
) -> Iterator[tuple[NDArray[Any], NDArray[np.int64]]]:
    """The data set in order, decoded by parallel threads a bounded way ahead.

    Args:
        dataset: what to read.
        spec: how an image becomes an input.
        batch_size: images a batch; the last one may be smaller.
        raw: leave normalization out.
        workers: threads; None takes one for each processor that the CPU quota pays for.

    Yields:
        ((n, 3, H, W) float32, or (n, H, W, 3) uint8 if ``raw``, and labels (n,) int64).
    """
    threads = workers or default_threads()
    ahead = max(2 * batch_size, 4 * threads)
    with ThreadPoolExecutor(threads) as pool:
        waiting: deque[Future[NDArray[np.uint8]]] = deque()
        upcoming = iter(range(len(dataset)))

        def decode(index: int) -> NDArray[np.uint8]:
            return to_pixels(dataset.image(index), spec)

        try:
            for start in range(0, len(dataset), batch_size):
                labels = dataset.labels[start : start + batch_size]
                while len(waiting) < ahead and (index := next(upcoming, None)) is not None:
                    waiting.append(pool.submit(decode, index))
                pixels = np.stack([waiting.popleft().result() for _ in labels])
                yield (pixels if raw else normalize(pixels, spec)), labels
        finally:
            for future in waiting:
                future.cancel()


def balanced_subset(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """``limit`` images drawn with ``seed``, as even over the classes as they come."""
    if limit >= len(dataset):
        return dataset
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(dataset))
    # Rank within the class first: the k-th image of every class before the k+1-th of any.
    seen = np.zeros(len(dataset.classes), np.int64)
    rank = np.empty(len(dataset), np.int64)
    for index in order:
        label = dataset.labels[index]
        rank[index] = seen[label]
        seen[label] += 1
    chosen = order[np.argsort(rank[order], kind="stable")][:limit]
    return dataset.subset(sorted(int(i) for i in chosen))


def fingerprint(dataset: Dataset) -> str:
    """Which images with which labels, in 16 hex digits; for provenance."""
    digest = hashlib.sha256("\n".join(dataset.classes).encode())
    digest.update(np.ascontiguousarray(dataset.labels).tobytes())
    for index in range(len(dataset)):
        digest.update(dataset.file_name(index).encode())
    return digest.hexdigest()[:16]


def check_classes(dataset: Dataset, classes: Sequence[str]) -> None:
    """Refuse data whose classes are not the network's.

    Names may differ (a foreign checkpoint has none), but then order and number must fit.

    Raises:
        InputError: numbers differ, or the same names stand in another order.
    """
    if len(dataset.classes) != len(classes):
        raise InputError(
            f"the model has {len(classes)} classes, but data {dataset.name} has "
            f"{len(dataset.classes)}",
            "give the --data that the model was trained for, or train it on this data first: "
            "edgeresnet train --weights CKPT --data DATA.",
        )
    if set(dataset.classes) == set(classes) and tuple(dataset.classes) != tuple(classes):
        raise InputError(
            f"data {dataset.name} has the model's classes in another order",
            "rename the class folders so that their sorted order is the model's.",
        )


def open_dataset(
    spec: str,
    split: Split,
    *,
    limit: int | None = None,
    seed: int = 0,
    skip_broken: bool = False,
) -> Dataset:
    """Open a DATA SPEC.

    Args:
        spec: ``digits``, ``fashion-mnist``, ``cifar10`` or an image folder.
        split: training or validation part.
        limit: take only so many images, drawn with ``seed``, even over the classes.
        seed: of the draw and of a split by file name.
        skip_broken: check every image first and leave the unreadable ones out.

    Raises:
        InputError: the data is not there or not usable.
        MissingError: a package that reads it is not installed.
    """
    from edgeresnet.sources import open_source, without_broken

    dataset = open_source(spec, split, seed)
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit {limit} leaves no image", "give --limit of 1 or more.")
        dataset = balanced_subset(dataset, limit, seed)
    return without_broken(dataset) if skip_broken else dataset
