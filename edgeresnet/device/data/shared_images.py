"""Images that are measured on and were learned from too, found by their content."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.data.content_hashes import image_hashes, image_sizes
from edgeresnet.device.data.dataset import drawn_by_name
from edgeresnet.device.data.folder import FolderDataset
from edgeresnet.device.data.shards.dataset import ShardDataset

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset

# Of more images than these a draw is looked at: what one in 500 has, it finds in 98 of 100 cases.
MOST_MEASURED = 2000
OfFiles = FolderDataset | ShardDataset


def shared_images(measured: OfFiles, learned: OfFiles) -> list[tuple[int, int]]:
    """Which images of two data sets are the same, bit by bit, as pairs of their places.

    Only those files are read whose size some file of the other has too.

    Raises:
        InputError: a file is gone or cannot be read.
    """
    sizes, others = image_sizes(measured), image_sizes(learned)
    left = np.flatnonzero(np.isin(sizes, others))
    right = np.flatnonzero(np.isin(others, sizes))
    contents = list(image_hashes(measured, left))
    wanted, where = set(contents), dict[bytes, int]()
    for content, place in zip(image_hashes(learned, right), right, strict=True):
        if content in wanted:
            where[content] = int(place)
    pairs = zip(contents, left.tolist(), strict=True)
    return [(place, where[content]) for content, place in pairs if content in where]


def shared_line(measured: Dataset, learned: Dataset, how: str) -> str | None:
    """Says how many of the images that are measured on were learned from; None: none that is known.

    Image files alone are looked at: what belongs to which part of a standard data set, its makers
    say. Of very many a draw is, which is the same every time.

    Args:
        measured: on which a network is judged.
        learned: what it was trained or calibrated on.
        how: what it did with these: "training" or "calibration".

    Raises:
        InputError: a file is gone or cannot be read.
    """
    if not (isinstance(measured, OfFiles) and isinstance(learned, OfFiles)):
        return None
    drawn = drawn_by_name(measured, MOST_MEASURED, seed=0)
    assert isinstance(drawn, OfFiles)
    pairs = shared_images(drawn, learned)
    if not pairs:
        return None
    first, its = pairs[0]
    return (
        f"{len(pairs)} of {len(drawn)} images to measure on are among the {len(learned)} for "
        f"{how} too, bit by bit (the first: {drawn.file_name(first)} is {learned.file_name(its)}): "
        "what a network knows by heart says little of new images; take them out of one of the two"
    )
