"""Where images come from: embedded, standard and users' own data sets."""

from __future__ import annotations

from collections.abc import Callable, Sequence
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from edgeresnet.device.data.conversions import Conversions
from edgeresnet.device.data.dataset import (
    Dataset,
    Split,
    balanced_subset,
    check_labelled,
    drawn_by_name,
)
from edgeresnet.device.data.folder import FolderDataset, open_folder
from edgeresnet.device.data.labels_file import SUFFIXES, open_labels
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


def open_source(spec: str, split: Split, seed: int) -> Dataset:
    """The whole split of a DATA SPEC; see `edgeresnet.device.data.open.open_dataset`."""
    if spec in SOURCES:
        return SOURCES[spec](split, seed)
    path = from_home(spec)
    try:
        is_folder = path.is_dir()
    except OSError as error:
        raise InputError(
            f"data {shortened(path)} cannot be read: {error.strerror}", "check the path."
        ) from error
    if is_folder:
        return open_folder(spec, path, split, seed)
    fix = (
        f"give a folder of class folders, a CSV or JSON of path and label, or {', '.join(SOURCES)}."
    )
    if not path.exists():
        raise InputError(f"data {spec} does not exist", fix)
    if path.suffix.lower() in SUFFIXES:
        return open_labels(spec, path, split, seed)
    raise InputError(f"data {spec} is a file of another kind", fix)


def without_broken(dataset: Dataset) -> Dataset:
    """Decode everything once and leave out what cannot be read."""
    if not isinstance(dataset, FolderDataset):
        return dataset

    def readable(index: int) -> bool:
        try:
            dataset.image(index)
        except InputError:
            return False
        return True

    with ThreadPoolExecutor(default_threads()) as pool:
        fine = list(pool.map(readable, range(len(dataset))))
    broken = tuple(dataset.file_name(i) for i, ok in enumerate(fine) if not ok)
    if len(broken) == len(dataset):
        raise InputError(f"data {dataset.name}: no image is readable", "give another folder.")
    return replace(dataset.subset([i for i, ok in enumerate(fine) if ok]), skipped=broken)


def conversions_of(datasets: Sequence[Dataset]) -> Conversions:
    """How images of these were converted when they were read, in this process."""
    folders = [dataset for dataset in datasets if isinstance(dataset, FolderDataset)]
    return Conversions().with_all(folder.conversions for folder in folders)


def converted(dataset: Dataset, index: int) -> tuple[str, ...]:
    """How one image was converted when it was read, in this process."""
    if not isinstance(dataset, FolderDataset):
        return ()
    return dataset.conversions.of(dataset.paths[index])


def take_converted(dataset: Dataset, index: int, kinds: tuple[str, ...]) -> None:
    """Count what `converted` told in another process."""
    if isinstance(dataset, FolderDataset):
        dataset.conversions.take(dataset.paths[index], kinds)


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
        spec: ``digits``, ``fashion-mnist``, ``cifar10``, an image folder, or a CSV or JSON file of
            path and label; or a folder, CSV or JSON of images alone.
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
