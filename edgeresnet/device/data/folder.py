"""Users' own data sets: image files, one folder a class."""

from __future__ import annotations

import hashlib
from collections.abc import Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING

import numpy as np
from PIL import Image

from edgeresnet.device.data.dataset import VALIDATION_SHARE, Dataset, Split
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray

IMAGE_SUFFIXES = (".jpg", ".jpeg", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm", ".pgm")


@dataclass(frozen=True, eq=False)
class FolderDataset:
    """Image files, one folder a class."""

    name: str
    split: Split
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    paths: tuple[Path, ...]
    root: Path
    skipped: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.paths)

    def image(self, index: int) -> Image.Image:
        """Decode one file; InputError names it if that fails."""
        path = self.paths[index]
        try:
            with Image.open(path) as image:
                image.load()
                return image
        # Pillow raises all of these on damaged files, depending on the format.
        except (OSError, SyntaxError, ValueError, EOFError, Image.DecompressionBombError) as error:
            raise InputError(
                f"{path} is not a readable image: {error}",
                "mend or remove the file, or leave such files out with --skip-broken.",
            ) from error

    def file_name(self, index: int) -> str:
        """Path under the data folder."""
        return self.paths[index].relative_to(self.root).as_posix()

    def subset(self, indices: Sequence[int]) -> FolderDataset:
        """Only these files."""
        labels = self.labels[np.asarray(indices, np.int64)]
        return replace(self, labels=labels, paths=tuple(self.paths[i] for i in indices))

    def relabelled(self, classes: tuple[str, ...], labels: NDArray[np.int64]) -> FolderDataset:
        """The same images, with these labels of these classes."""
        return replace(self, classes=classes, labels=labels)


def open_folder(spec: str, root: Path, split: Split, seed: int) -> Dataset:
    """Open a folder of train and val folders, or of class folders that are split by name."""
    train_dir = root / "train"
    val_dir = next((d for d in (root / "val", root / "test") if d.is_dir()), None)
    if not train_dir.is_dir() or val_dir is None:
        if train_dir.is_dir() or val_dir is not None:
            lacking = "val" if train_dir.is_dir() else "train"
            raise InputError(
                f"{root} has no {lacking} folder", f"add {root / lacking}/CLASS/ with its images."
            )
        return _split_by_name(_read_folder(spec, root, split), seed)
    parts = {"train": train_dir, "val": val_dir}
    names = {key: _class_names(d) for key, d in parts.items()}
    if names["train"] != names["val"]:
        odd = sorted(set(names["train"]) ^ set(names["val"]))
        raise InputError(
            f"{train_dir} and {val_dir} have different classes: {', '.join(odd[:5])}",
            "give both the same class folders.",
        )
    return _read_folder(spec, parts[split], split)


def _class_names(folder: Path) -> tuple[str, ...]:
    return tuple(sorted(d.name for d in folder.iterdir() if d.is_dir() and d.name[0] != "."))


def _read_folder(spec: str, folder: Path, split: Split) -> FolderDataset:
    classes = _class_names(folder)
    if not classes:
        raise InputError(
            f"{folder} has no class folders", f"put the images of each class in {folder}/CLASS/."
        )
    paths: list[Path] = []
    labels: list[int] = []
    for label, name in enumerate(classes):
        members = sorted(
            p for p in (folder / name).rglob("*") if p.suffix.lower() in IMAGE_SUFFIXES
        )
        if not members:
            raise InputError(
                f"class folder {folder / name} has no images",
                f"add images ({', '.join(IMAGE_SUFFIXES[:4])} …) or remove the folder.",
            )
        paths += members
        labels += [label] * len(members)
    if len(classes) == 1:
        raise InputError(
            f"{folder} has only one class, {classes[0]}",
            "a classifier needs two or more class folders.",
        )
    return FolderDataset(spec, split, classes, np.array(labels, np.int64), tuple(paths), folder)


def _split_by_name(dataset: FolderDataset, seed: int) -> FolderDataset:
    """Share files out by a hash of their name, so that new files do not move old ones."""
    wanted: list[int] = []
    for index in range(len(dataset)):
        digest = hashlib.sha256(f"{seed}:{dataset.file_name(index)}".encode()).digest()
        in_val = int.from_bytes(digest[:4], "big") < VALIDATION_SHARE * 2**32
        if in_val == (dataset.split == "val"):
            wanted.append(index)
    chosen = dataset.subset(wanted)
    absent = sorted(set(range(len(dataset.classes))) - set(chosen.labels.tolist()))
    if absent:
        raise InputError(
            f"{dataset.root} has too few images of class {dataset.classes[absent[0]]} to split",
            "add images, or make the split yourself: DIR/train/CLASS and DIR/val/CLASS.",
        )
    return chosen
