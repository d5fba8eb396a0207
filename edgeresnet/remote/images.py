"""Which images travel to a device, and how they lie there."""

from __future__ import annotations

from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.data.folder import FolderDataset
from edgeresnet.device.data.listing import IMAGE_SUFFIXES, is_folder_name, is_image_path, suffix_of
from edgeresnet.device.data.open import SOURCES, open_dataset
from edgeresnet.device.data.shards.dataset import ShardDataset
from edgeresnet.device.data.shards.index import record_path
from edgeresnet.device.data.shards.naming import INDEX, is_range
from edgeresnet.device.data.standard import standard_files
from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.files.places import from_home, shortened
from edgeresnet.remote.transfer import Parcel, key_of
from edgeresnet.untrusted import short


def told_outside(parcel: Parcel, spec: str) -> str | None:
    """Which of the images lie elsewhere, as links and lists may name them; None: none.

    Raises:
        InputError: one of them is not called an image, and so would be sent for nothing.
    """
    if spec in SOURCES:
        return None
    given = from_home(spec).resolve()
    root = given if given.is_dir() else given.parent
    outside = [p for p in (path.resolve() for path in parcel.files.values())
               if not p.is_relative_to(root)]  # fmt: skip
    for path in outside:
        if path.suffix.lower() not in IMAGE_SUFFIXES:
            raise InputError(
                f"{shortened(path)} is not sent: it lies outside of data {spec}, which names it, "
                "and is not called an image",
                "remove it from the data.",
            )
    if not outside:
        return None
    return f"{len(outside)} images lie outside of {root}, and are sent too: {shortened(outside[0])}"


def data_parcel(
    spec: str, limit: int | None, *, unlabelled: bool = False
) -> tuple[Parcel, str | None]:
    """The validation images of a DATA SPEC, and no more of them than are looked at.

    Args:
        spec: DATA SPEC here.
        limit: images at most.
        unlabelled: images without labels will do.

    Returns:
        (parcel, what to give as DATA SPEC in it; None for a standard data set).

    Raises:
        InputError: the data is not there or not usable.
    """
    if spec in SOURCES:
        return Parcel("data/standard", standard_files(spec, "val"), exact=False), None
    dataset = open_dataset(spec, "val", limit=limit, unlabelled=unlabelled)
    if isinstance(dataset, ShardDataset):
        return _shards_parcel(spec, dataset)
    assert isinstance(dataset, FolderDataset)
    if odd := [name for name in dataset.classes if not is_folder_name(name)]:
        raise InputError(
            f"data {spec} has a class that cannot be the name of a folder: {short(odd[0])}",
            "call it otherwise, or copy model and data there and measure there.",
        )
    root = from_home(spec)
    name = root.resolve().name
    # Laid out by class whatever it is here; class folders of a training part, without images, say
    # which classes there are, for those that the limit has left without.
    files = {
        f"{name}/val/{_below_val(dataset, index)}": dataset.paths[index]
        for index in range(len(dataset))
    }
    folders = tuple(f"{name}/train/{c}" for c in dataset.classes)
    return Parcel(f"data/{key_of(root)}", files, folders), name


def _shards_parcel(spec: str, dataset: ShardDataset) -> tuple[Parcel, str]:
    """The shards of the part for validation, whole, with what says what is in them."""
    path = from_home(spec)
    name = dataset.root.resolve().name
    beside = [dataset.root / INDEX, *map(record_path, dataset.files)] if dataset.checked else []
    files = {f"{name}/{one.name}": one for one in (*dataset.files, *beside)}
    # Those that are named, where they are of this part: the index knows of more.
    inside = f"{name}/{path.name}" if is_range(path) or path in dataset.files else name
    return Parcel(f"data/{key_of(dataset.root)}", files), inside


def _below_val(dataset: FolderDataset, index: int) -> str:
    """Path in the part for validation: a folder in it would be a class."""
    inside = _inside(dataset, index)
    if is_labelled(dataset):
        return f"{dataset.classes[dataset.labels[index]]}/{inside}"
    if "/" not in inside:
        return inside
    return f"{_digest(inside)}{suffix_of(inside)}"


def _inside(dataset: FolderDataset, index: int) -> str:
    """Path in the folder of its class, where the device takes it for an image.

    A file of labels may name what lies elsewhere, and images of any name.
    """
    name = dataset.file_name(index)
    if is_image_path(name):
        return name
    suffix = suffix_of(name) if suffix_of(name) in IMAGE_SUFFIXES else ".png"
    return f"{_digest(name)}{suffix}"


def _digest(name: str) -> str:
    return sha256_bytes(name.encode(errors="surrogateescape"))[:16]
