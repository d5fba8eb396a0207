"""Which files of a folder are images; what systems leave behind is none, links are followed."""

from __future__ import annotations

import os
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import dataclass, field
from pathlib import Path

from edgeresnet.errors import InputError

IMAGE_SUFFIXES = (
    ".jpg", ".jpeg", ".jpe", ".jfif", ".png", ".bmp", ".webp", ".tif", ".tiff", ".gif", ".ppm",
    ".pgm", ".avif",
)  # fmt: skip
# Pictures that are not read: told of, so that nobody wonders where they are.
OTHER_PICTURES = (
    ".heic", ".heif", ".jxl", ".jp2", ".j2k", ".jpx", ".svg", ".eps", ".psd", ".tga", ".ico",
    ".exr", ".hdr", ".dds", ".pcx", ".dcm", ".raw", ".dng", ".cr2", ".cr3", ".nef", ".arw", ".orf",
    ".rw2", ".pbm", ".pnm", ".pfm", ".xcf", ".npy",
)  # fmt: skip
# Of Synology, QNAP, macOS and Windows; what begins with a dot is hidden anyway.
JUNK = frozenset({
    "@eadir", "@recycle", "@recently-snapshot", "#recycle", "#snapshot", "__macosx", "thumbs.db",
    "desktop.ini", "$recycle.bin", "system volume information", "lost+found", "__pycache__",
})  # fmt: skip
# In bytes, on every file system of today.
LONGEST_FOLDER = 255
# Device and number of a folder on it.
Place = tuple[int, int]


@contextmanager
def telling_unreadable(path: Path) -> Iterator[None]:
    """A block that lists and opens what is below a path: what cannot be read is an InputError."""
    try:
        yield
    except OSError as error:
        raise InputError(
            f"{error.filename or path} cannot be read: {error.strerror}",
            "make folders and files readable for you.",
        ) from error


@dataclass
class LeftOut:
    """What looks like an image and is not taken, by why; paths below the folder."""

    by_reason: dict[str, list[str]] = field(default_factory=dict)

    def add(self, reason: str, name: str) -> None:
        self.by_reason.setdefault(reason, []).append(name)

    def lines(self) -> list[str]:
        """For each reason how many, and the first few."""
        return [
            f"left out {len(names)} {reason}: {', '.join(names[:3])}"
            + (" …" if len(names) > 3 else "")
            for reason, names in self.by_reason.items()
        ]


def suffix_of(name: str) -> str:
    """With its dot, in lower case; empty if there is none."""
    dot = name.rfind(".")
    return name[dot:].lower() if dot > 0 else ""


def is_junk(name: str) -> bool:
    """Whether a file or folder of this name is hidden, or left behind by a system."""
    return name.startswith(".") or name.lower() in JUNK


def is_folder_name(name: str) -> bool:
    """Whether a folder of this name is looked into, and stands for a class."""
    named = name not in ("", ".", "..") and not {"/", "\0"} & {*name}
    return (
        named
        and len(name.encode(errors="surrogatepass")) <= LONGEST_FOLDER
        and not _is_left_out(name)
    )


def is_image_path(path: str) -> bool:
    """Whether what has this path below a folder is found there, and taken for an image."""
    *folders, name = path.split("/")
    found = all(map(is_folder_name, folders)) and not is_junk(name)
    return found and suffix_of(name) in IMAGE_SUFFIXES


def _is_left_out(name: str) -> bool:
    """Whether a folder is junk, or has an image's name, as a store of thumbnails has them."""
    return is_junk(name) or suffix_of(name) in IMAGE_SUFFIXES


def sub_folders(folder: Path) -> dict[str, Path]:
    """Folders directly in ``folder``, links to such included, by name and in its order.

    Left out are junk, what has an image's name, and links that lead back to a folder around them.
    """
    around = places_around(folder)
    with os.scandir(folder) as entries:
        names = [
            entry.name
            for entry in entries
            if not _is_left_out(entry.name)
            and _is_dir(entry)
            and not (entry.is_symlink() and _place(entry.path) in around)
        ]
    return {name: folder / name for name in sorted(names)}


def images_beside(folder: Path) -> list[str]:
    """Names of the images directly in ``folder``, in order."""
    with os.scandir(folder) as entries:
        return sorted(
            entry.name
            for entry in entries
            if not is_junk(entry.name)
            and suffix_of(entry.name) in IMAGE_SUFFIXES
            and _is_file(entry)
        )


def places_around(folder: Path) -> frozenset[Place]:
    """Where a folder and all folders around it lie: a link to one of these leads in a circle."""
    real = folder.resolve()
    return frozenset(_place(str(one)) for one in (real, *real.parents))


def images_in(folder: Path, around: frozenset[Place], left_out: LeftOut) -> list[str]:
    """Paths of the images at any depth below ``folder``, relative to it, in order of their parts.

    Args:
        folder: a link in it is followed, but not one that leads back to a folder around it.
        around: places of the folders that lie around it.
        left_out: gets what looks like an image and is not taken.
    """
    found: list[str] = []
    _collect(str(folder), "", around, found, left_out)
    # By the parts of the path, as older versions had it: the order is part of what may be reused.
    if any("/" in name for name in found):
        return sorted(found, key=lambda name: name.split("/"))
    return sorted(found)


def _collect(
    folder: str, prefix: str, around: frozenset[Place], found: list[str], left_out: LeftOut
) -> None:
    inside: list[os.DirEntry[str]] = []
    with os.scandir(folder) as entries:
        for entry in entries:
            name = entry.name
            if name[0] == ".":
                continue
            suffix = suffix_of(name)
            # Asked first, and with little ado: there may be millions.
            if suffix in IMAGE_SUFFIXES and _is_file(entry):
                found.append(prefix + name)
            elif _is_dir(entry):
                if suffix in IMAGE_SUFFIXES:
                    left_out.add("folders with an image's name", prefix + name)
                elif not is_junk(name):
                    inside.append(entry)
            elif suffix in IMAGE_SUFFIXES:
                left_out.add("links that lead nowhere", prefix + name)
            elif suffix in OTHER_PICTURES:
                left_out.add(f"files of a format that is not read ({suffix})", prefix + name)
    if not inside:
        return
    here = around | {_place(folder)}
    for entry in inside:
        if not (entry.is_symlink() and _place(entry.path) in here):
            _collect(entry.path, f"{prefix}{entry.name}/", here, found, left_out)


def _place(path: str) -> Place:
    """Of what a link leads to, where it is one."""
    status = Path(path).stat()
    return status.st_dev, status.st_ino


def _is_dir(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_dir()
    except OSError:
        # A link to itself.
        return False


def _is_file(entry: os.DirEntry[str]) -> bool:
    try:
        return entry.is_file()
    except OSError:
        return False
