"""Where labelled images come from: embedded, standard and users' own data sets."""

from __future__ import annotations

from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import replace

from edgeresnet.cpu import default_threads
from edgeresnet.dataset import Dataset, Split
from edgeresnet.errors import InputError
from edgeresnet.image_folders import FolderDataset, open_folder
from edgeresnet.places import from_home
from edgeresnet.standard_data import cifar10, digits, fashion_mnist

SOURCES: dict[str, Callable[[Split, int], Dataset]] = {
    "digits": digits,
    "fashion-mnist": fashion_mnist,
    "cifar10": cifar10,
}


def open_source(spec: str, split: Split, seed: int) -> Dataset:
    """The whole split of a DATA SPEC; see `edgeresnet.dataset.open_dataset`."""
    if spec in SOURCES:
        return SOURCES[spec](split, seed)
    path = from_home(spec)
    if path.is_dir():
        return open_folder(spec, path, split, seed)
    known = ", ".join(SOURCES)
    if path.exists():
        raise InputError(f"data {spec} is a file", f"give a folder of class folders, or {known}.")
    raise InputError(f"data {spec} does not exist", f"give a folder of class folders, or {known}.")


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
