"""Where images come from: embedded, standard and users' own data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass, replace
from pathlib import Path

import numpy as np

from edgeresnet.device.data.conversions import Conversions
from edgeresnet.device.data.dataset import (
    Dataset,
    Split,
    balanced_subset,
    check_labelled,
    drawn_by_name,
)
from edgeresnet.device.data.folder import FolderDataset, open_folder
from edgeresnet.device.data.labels_file import is_list, open_labels
from edgeresnet.device.data.shards.dataset import ShardDataset
from edgeresnet.device.data.shards.naming import check_is_local, is_range, is_shards
from edgeresnet.device.data.shards.open import open_shards
from edgeresnet.device.data.standard import cifar10, digits, fashion_mnist
from edgeresnet.device.machine.cpu import default_threads
from edgeresnet.errors import InputError
from edgeresnet.files.places import from_home, shortened
from edgeresnet.progress import OnStep

SOURCES: dict[str, Callable[[Split, int], Dataset]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
}


@dataclass(frozen=True)
class PlaceSource:
    """A kind of data that lies where the user says.

    Attributes:
        takes: whether a path is of this kind.
        open: opens a part of it, given DATA SPEC, path, split and seed.
    """

    takes: Callable[[Path], bool]
    open: Callable[[str, Path, Split, int], Dataset]


# The first that takes a path opens it.
PLACES: dict[str, PlaceSource] = {
    "tar shards": PlaceSource(is_shards, open_shards),
    "a folder of class folders": PlaceSource(Path.is_dir, open_folder),
    "a CSV or JSON of path and label": PlaceSource(is_list, open_labels),
}
# Data sets whose images lie in files, of which each is known by its path.
FILES = (FolderDataset, ShardDataset)
# Images that are looked at in one go.
CHUNK = 5000


def open_source(spec: str, split: Split, seed: int) -> Dataset:
    """The whole split of a DATA SPEC; see `edgeresnet.device.data.open.open_dataset`."""
    if spec in SOURCES:
        return SOURCES[spec](split, seed)
    check_is_local(spec)
    path = from_home(spec)
    try:
        source = next((source for source in PLACES.values() if source.takes(path)), None)
        is_there = is_here(spec)
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"data {shortened(path)} cannot be read: {reason}", "check the path."
        ) from error
    fix = f"give {', '.join(PLACES)}, or {', '.join(SOURCES)}."
    if not is_there:
        raise InputError(f"data {spec} does not exist", fix)
    if source is None:
        raise InputError(f"data {spec} is a file of another kind", fix)
    return source.open(spec, path, split, seed)


def is_here(spec: str) -> bool:
    """Whether something lies where a DATA SPEC says; of a range of shards, their folder."""
    path = from_home(spec)
    return spec in SOURCES or (path.parent if is_range(path) else path).exists()


def without_broken(dataset: Dataset) -> Dataset:
    """Decode everything once and leave out what cannot be read."""
    if not isinstance(dataset, FILES):
        return dataset

    def readable(index: int) -> bool:
        try:
            dataset.image(index)
        except InputError:
            return False
        return True

    fine = np.zeros(len(dataset), bool)
    with ThreadPoolExecutor(default_threads()) as pool:
        # Not all at once: what waits takes memory.
        for start in range(0, len(dataset), CHUNK):
            part = range(start, min(start + CHUNK, len(dataset)))
            fine[part.start : part.stop] = list(pool.map(readable, part))
    broken = tuple(dataset.file_name(index) for index in np.flatnonzero(~fine).tolist())
    if len(broken) == len(dataset):
        raise InputError(f"data {dataset.name}: no image is readable", "give another folder.")
    return replace(dataset.subset(np.flatnonzero(fine).tolist()), skipped=broken)


def conversions_of(datasets: Sequence[Dataset]) -> Conversions:
    """How images of these were converted when they were read, in this process."""
    folders = [dataset for dataset in datasets if isinstance(dataset, FILES)]
    return Conversions().with_all(folder.conversions for folder in folders)


def converted(dataset: Dataset, index: int) -> tuple[str, ...]:
    """How one image was converted when it was read, in this process."""
    if not isinstance(dataset, FILES):
        return ()
    return dataset.conversions.of(dataset.path(index))


def take_converted(dataset: Dataset, index: int, kinds: tuple[str, ...]) -> None:
    """Count what `converted` told in another process."""
    if isinstance(dataset, FILES):
        dataset.conversions.take(dataset.path(index), kinds)


def say_conversions(datasets: Sequence[Dataset], on_step: OnStep) -> dict[str, int]:
    """Tell how the images were made RGB where that is a choice; their numbers for the results."""
    conversions = conversions_of(datasets)
    for line in conversions.lines():
        on_step(line)
    return conversions.counts()


def open_dataset(
    spec: str,
    split: Split,
    *,
    limit: int | None = None,
    seed: int = 0,
    skip_broken: bool = False,
    unlabelled: bool = False,
) -> Dataset:
    """Open a DATA SPEC.

    Args:
        spec: ``digits``, ``fashion-mnist``, ``cifar10``, an image folder, tar shards (their folder,
            or as ``train-{000000..000009}.tar``), or a CSV or JSON file of path and label; or a
            folder, shards, CSV or JSON of images alone.
        split: training or validation part.
        limit: take only so many images: for validation drawn by a hash of name and ``seed``, each
            as likely as any other; for training drawn with ``seed``, even over the classes, so
            that the rarest is learned too.
        seed: of the draw and of a split by file name.
        skip_broken: check every image first and leave the unreadable ones out.
        unlabelled: images without labels will do; left out, they are refused.

    Raises:
        InputError: the data is not there or not usable, or it needs labels and has none.
        MissingError: a package that reads it is not installed.
    """

    dataset = open_source(spec, split, seed)
    if not unlabelled:
        check_labelled(dataset)
    if limit is not None:
        if limit < 1:
            raise InputError(f"limit {limit} leaves no image", "give --limit of 1 or more.")
        draw = balanced_subset if split == "train" else drawn_by_name
        dataset = draw(dataset, limit, seed)
    return without_broken(dataset) if skip_broken else dataset
