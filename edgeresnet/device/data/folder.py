"""Users' own data sets: image files, one folder a class, or none where nobody has sorted them."""

from __future__ import annotations

import hashlib
from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass, field, replace
from pathlib import Path
from typing import TYPE_CHECKING, Protocol, TypeVar

import numpy as np
from PIL import Image
from typing_extensions import Self

from edgeresnet.device.data.class_names import listed, match_names
from edgeresnet.device.data.conversions import Conversions
from edgeresnet.device.data.dataset import UNLABELLED, VALIDATION_SHARE, Dataset, Split
from edgeresnet.device.data.decoding import decode, telling_which
from edgeresnet.device.data.listing import (
    IMAGE_SUFFIXES,
    LeftOut,
    images_beside,
    images_in,
    places_around,
    sub_folders,
    telling_unreadable,
)
from edgeresnet.device.data.names import Names, Paths
from edgeresnet.device.data.parts import PARTS, parts_among
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

TITLES: dict[Split, str] = {"train": "training", "val": "validation"}


@dataclass(frozen=True, eq=False)
class FolderDataset:
    """Image files, one folder a class; without ``classes`` their labels are nobody's."""

    name: str
    split: Split
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    paths: Paths
    root: Path
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    # Of all that were read, of its subsets too.
    conversions: Conversions = field(default_factory=Conversions)

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image.Image:
        """Decode one file; InputError names it if that fails."""
        path = self.paths[index]
        with telling_which(lambda: path):
            return decode(path, lambda image: self.conversions.add(path, image))

    def path(self, index: int) -> Path:
        """Of one file."""
        return self.paths[index]

    def file_name(self, index: int) -> str:
        """Path under the data folder; a byte that is no UTF-8 is a surrogate, as Python has it."""
        return self.paths.below(self.root, index)

    def subset(self, indices: Sequence[int]) -> FolderDataset:
        """Only these files."""
        labels = self.labels[np.asarray(indices, np.int64)]
        return replace(self, labels=labels, paths=self.paths.take(indices))

    def relabelled(self, classes: tuple[str, ...], labels: NDArray[np.int64]) -> FolderDataset:
        """The same images, with these labels of these classes."""
        return replace(self, classes=classes, labels=labels)


def open_folder(spec: str, root: Path, split: Split, seed: int) -> FolderDataset:
    """Open a folder of train and val folders, or of class folders that are split by name.

    The part for validation needs no other beside it. Where there is one for training, that one
    says which classes there are. Images that lie where class folders would have no labels.

    Raises:
        InputError: there is no such part, the parts have other classes, or a class has no images.
    """
    with telling_unreadable(root):
        folders = sub_folders(root)
        parts = parts_among(folders)
        if not any(parts.values()):
            _check_no_parts_within(root, folders)
            return split_by_name(_read_folder(spec, root, split, folders), seed)
        if not parts[split]:
            raise _no_part(root, split, parts)
        return _read_part(spec, root, split, parts)


def parts_of(root: Path) -> tuple[Split, ...]:
    """The parts that a folder has; both where its images are split by name.

    Raises:
        OSError: it cannot be read.
    """
    parts = parts_among(sub_folders(root))
    return tuple(part for part, found in parts.items() if found) or tuple(parts)


def _no_part(root: Path, split: Split, parts: Mapping[Split, list[Path]]) -> InputError:
    other = next(iter(parts["val" if split == "train" else "train"]))
    return InputError(
        f"{root} has no {TITLES[split]} folder beside {other.name}",
        f"add {root / split}/CLASS/ with its images. ({other.name} is no class: folders called "
        f"{', '.join(PARTS['train'] + PARTS['val'])} are parts of the data.)",
    )


def _check_no_parts_within(root: Path, folders: Mapping[str, Path]) -> None:
    """Refuse parts one folder further down, which would be images of one class."""
    within: dict[Split, list[Path]] = {}
    for folder in folders.values():
        within = parts_among(sub_folders(folder))
        if not (within["train"] and within["val"]):
            return  # asked of the first alone where all is as usual: there may be many images
    if not within:
        return
    names = " and ".join(paths[0].name for paths in within.values())
    if len(folders) == 1:
        (only,) = folders
        raise InputError(f"{root} has {names} inside {only}", f"give {root / only}.")
    raise InputError(
        f"{root} has {names} inside each of its folders",
        f"lay it out as {root / 'train'}/CLASS/ and {root / 'val'}/CLASS/.",
    )


def _read_part(
    spec: str, root: Path, split: Split, parts: Mapping[Split, list[Path]]
) -> FolderDataset:
    own, *others = parts[split]
    left_out = LeftOut()
    named = " and ".join(paths[0].name for paths in parts.values() if paths)
    for name in images_beside(root):
        left_out.add(f"images beside {named}", name)
    taken = {path.name for paths in parts.values() for path in paths}
    for name in sub_folders(root):
        if name not in taken:
            left_out.add(f"folders beside {named}", name)
    notes = left_out.lines()
    if own.name != split or others:
        beside = f"; not of {', '.join(path.name for path in others)}" if others else ""
        notes.append(f"{TITLES[split]} images are those of {own}{beside}")
    folders: Mapping[str, Path | None] = sub_folders(own)
    if parts["train"] and parts["val"]:
        folders, lacking = _folders_of_classes(parts["train"][0], parts["val"][0], split)
        if lacking:
            notes.append(f"{own} has no images of {listed(lacking)}")
    dataset = _read_folder(spec, own, split, folders)
    return replace(dataset, notes=(*notes, *dataset.notes))


def _folders_of_classes(
    train_dir: Path, val_dir: Path, split: Split
) -> tuple[dict[str, Path | None], list[str]]:
    """For each class of the training part its folder in the wanted one; and which have none."""
    train, val = sub_folders(train_dir), sub_folders(val_dir)
    if bool(train) != bool(val):
        flat, other = (val_dir, train_dir) if train else (train_dir, val_dir)
        raise InputError(
            f"{flat} has no class folders, and {other} has", "give both the same, or neither any."
        )
    names, others = list(train), list(val)
    matched = match_names(others, names)
    odd = [name for i, name in enumerate(others) if i not in matched]
    lacking = [name for i, name in enumerate(names) if i not in matched.values()]
    if odd or (lacking and split == "train"):
        raise InputError(
            f"{train_dir} and {val_dir} have different classes: {listed(sorted(odd + lacking))}",
            "give both the same class folders.",
        )
    if split == "train":
        return dict(train), []
    where = {names[place]: val[others[i]] for i, place in matched.items()}
    return {name: where.get(name) for name in names}, lacking


def _read_folder(
    spec: str, folder: Path, split: Split, folders: Mapping[str, Path | None]
) -> FolderDataset:
    """The images of the class folders; a class whose folder is None has none."""
    if not folders:
        return _read_flat(spec, folder, split)
    left_out, counts = LeftOut(), np.zeros(len(folders), np.int64)
    beside = images_beside(folder)
    for name in beside:
        left_out.add("images beside the class folders", name)
    names = Names(_names_by_class(folder, folders, left_out, counts))
    if len(folders) == 1:
        raise InputError(
            f"{folder} has only one class, {next(iter(folders))}",
            "a classifier needs two or more class folders."
            + (
                " Without this folder, the images beside it are taken, without classes."
                * bool(beside)
            ),
        )
    return FolderDataset(
        spec, split, tuple(folders), np.repeat(np.arange(len(folders)), counts),
        Paths(f"{folder}/", names), folder, notes=tuple(left_out.lines()),
    )  # fmt: skip


def _names_by_class(
    folder: Path,
    folders: Mapping[str, Path | None],
    left_out: LeftOut,
    counts: NDArray[np.int64],
) -> Iterator[list[str]]:
    """Paths of the images below ``folder``, class by class; ``counts`` gets how many each has."""
    around = places_around(folder)
    for label, class_dir in enumerate(folders.values()):
        if class_dir is None:
            continue
        members = images_in(class_dir, around, left_out)
        if not members:
            raise InputError(
                f"class folder {class_dir} has no images",
                f"add images ({', '.join(IMAGE_SUFFIXES[:4])} …) or remove the folder.",
            )
        counts[label] = len(members)
        yield [f"{class_dir.name}/{member}" for member in members]


def _read_flat(spec: str, folder: Path, split: Split) -> FolderDataset:
    """The images that lie in a folder without class folders: they have no labels."""
    left_out = LeftOut()
    members = images_in(folder, places_around(folder), left_out)
    notes = left_out.lines()
    if not members:
        raise InputError(
            "; ".join([f"{folder} has no class folders, and no images", *notes]),
            f"put the images of each class in {folder}/CLASS/.",
        )
    paths = Paths(f"{folder}/", Names([members]))
    labels = np.full(len(paths), UNLABELLED, np.int64)
    return FolderDataset(spec, split, (), labels, paths, folder, notes=tuple(notes))


class _Files(Dataset, Protocol):
    """A data set of files in a folder."""

    @property
    def root(self) -> Path: ...
    def subset(self, indices: Sequence[int]) -> Self: ...


Files = TypeVar("Files", bound=_Files)


def split_by_name(dataset: Files, seed: int) -> Files:
    """Share files out by a hash of their name, so that new files do not move old ones."""
    wanted: list[int] = []
    for index in range(len(dataset)):
        name = f"{seed}:{dataset.file_name(index)}".encode(errors="surrogateescape")
        digest = hashlib.sha256(name).digest()
        in_val = int.from_bytes(digest[:4], "big") < VALIDATION_SHARE * 2**32
        if in_val == (dataset.split == "val"):
            wanted.append(index)
    chosen = dataset.subset(wanted)
    if not wanted:
        raise InputError(
            f"{dataset.root} has too few images to split: none for {TITLES[dataset.split]}",
            "add images, or make the split yourself: DIR/train and DIR/val.",
        )
    absent = sorted(set(range(len(dataset.classes))) - set(chosen.labels.tolist()))
    if absent:
        raise InputError(
            f"{dataset.root} has too few images of class {dataset.classes[absent[0]]} to split",
            "add images, or make the split yourself: DIR/train/CLASS and DIR/val/CLASS.",
        )
    return chosen
