"""Images to arrays: the only evaluation preprocessing, host and device (Pillow + numpy)."""

from __future__ import annotations

import hashlib
import heapq
import unicodedata
from collections import deque
from collections.abc import Iterator, Sequence
from concurrent.futures import Future, ThreadPoolExecutor
from typing import TYPE_CHECKING, Any, Literal, Protocol

import numpy as np
from PIL import Image

from edgeresnet.device.data.decoding import turn
from edgeresnet.device.data.preprocess import normalize, to_pixels
from edgeresnet.device.machine.cpu import default_threads
from edgeresnet.errors import InputError
from edgeresnet.settings.inputs import InputSpec

if TYPE_CHECKING:
    from numpy.typing import NDArray

Split = Literal["train", "val"]
# Of data that comes without a split of its own.
VALIDATION_SHARE = 0.2
# The label of an image that has none.
UNLABELLED = -1


class Dataset(Protocol):
    """Images in a fixed order, labelled or not.

    Attributes:
        name: the DATA SPEC it was opened by.
        classes: class names; ``labels`` index them. Empty: the images have no labels.
        labels: (n,) int64; `UNLABELLED` each where there are no classes.
        skipped: broken files that were left out.
        notes: what the user should know of how the images were found, line by line.
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
    @property
    def notes(self) -> tuple[str, ...]: ...

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

    def relabelled(self, classes: tuple[str, ...], labels: NDArray[np.int64]) -> Dataset:
        """The same images, with these labels of these classes."""
        ...


def is_labelled(dataset: Dataset) -> bool:
    """Whether somebody says which class each image shows."""
    return len(dataset.classes) > 0


def check_labelled(dataset: Dataset) -> None:
    """Refuse images without labels where each must have one.

    Raises:
        InputError: they have none.
    """
    if not is_labelled(dataset):
        raise InputError(
            f"data {dataset.name} has no labels: nothing says which class an image shows",
            "put the images of each class in DIR/CLASS/, or give a CSV or JSON of path and label; "
            "images without labels are for quantize, export and compare.",
        )


def pixels_of(dataset: Dataset, index: int, spec: InputSpec) -> NDArray[np.uint8]:
    """One image as `edgeresnet.device.data.preprocess.to_pixels` makes it; InputError names it."""
    with turn():
        image = dataset.image(index)
        try:
            return to_pixels(image, spec)
        except InputError as error:
            raise InputError(f"{dataset.file_name(index)}: {error.cause}", error.fix) from error
        finally:
            del image  # within its turn


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
            return pixels_of(dataset, index, spec)

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
    return dataset.subset(sorted(balanced_order(dataset, seed)[:limit].tolist()))


def balanced_order(dataset: Dataset, seed: int) -> NDArray[np.int64]:
    """All images in an order drawn with ``seed``, each beginning of which is balanced.

    Returns:
        (n,) places: the k-th image of every class before the k+1-th of any.
    """
    generator = np.random.default_rng(seed)
    order = generator.permutation(len(dataset))
    # Images without labels are all of one kind, in the only place that -1 leads to.
    seen = np.zeros(max(1, len(dataset.classes)), np.int64)
    rank = np.empty(len(dataset), np.int64)
    for index in order:
        label = dataset.labels[index]
        rank[index] = seen[label]
        seen[label] += 1
    return order[np.argsort(rank[order], kind="stable")]


def drawn_by_name(dataset: Dataset, limit: int, seed: int) -> Dataset:
    """``limit`` images drawn by a hash of name and seed, each as likely as any other.

    They are the same on every machine that has the images, and their classes are in expectation
    as frequent as in the whole, so that top-1 is an estimate of the whole's.
    """
    if limit >= len(dataset):
        return dataset
    return dataset.subset(places_drawn_by_name(dataset, limit, seed))


def places_drawn_by_name(dataset: Dataset, limit: int, seed: int) -> Sequence[int]:
    """Where in the data set the images of `drawn_by_name` are, in its order."""
    if limit >= len(dataset):
        return range(len(dataset))
    # Of the others nothing stays in memory.
    drawn = heapq.nsmallest(
        limit, range(len(dataset)), key=lambda index: _draw_key(dataset.file_name(index), seed)
    )
    return sorted(drawn)


def _draw_key(name: str, seed: int) -> bytes:
    # File systems differ in case and in how an umlaut is written; the images are the same.
    plain = unicodedata.normalize("NFC", name).casefold()
    return hashlib.sha256(f"{seed}:{plain}".encode(errors="surrogateescape")).digest()


def fingerprint(dataset: Dataset) -> str:
    """Which images with which labels, in 16 hex digits; for provenance."""
    digest = hashlib.sha256("\n".join(dataset.classes).encode(errors="surrogateescape"))
    digest.update(np.ascontiguousarray(dataset.labels).tobytes())
    for index in range(len(dataset)):
        digest.update(dataset.file_name(index).encode(errors="surrogateescape"))
    return digest.hexdigest()[:16]
