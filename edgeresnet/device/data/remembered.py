"""Data that a model remembers: a place, and by what it is known again."""

from __future__ import annotations

import hashlib
import unicodedata

from edgeresnet.device.data.dataset import Dataset
from edgeresnet.device.data.open import SOURCES, is_here, open_source
from edgeresnet.errors import InputError
from edgeresnet.files.places import from_home


def placed(spec: str | None) -> str | None:
    """A DATA SPEC that holds wherever one works on this machine: its path from the root."""
    return spec if spec is None or spec in SOURCES else str(from_home(spec).resolve())


def known_by(spec: str | None) -> str | None:
    """By what an image folder is known again, in 16 hex digits: its validation images' names.

    Those are what a device has too, and reading them takes no time. None for a standard data set,
    which is the same everywhere.

    Raises:
        InputError: the data is not there or not usable.
    """
    if spec is None or spec in SOURCES:
        return None
    return names_fingerprint(open_source(spec, "val", 0))


def names_fingerprint(dataset: Dataset) -> str:
    """Which images these are by their names, whatever their order, in 16 hex digits."""
    # Without case and Unicode form, in which copies on other file systems differ.
    names = sorted(
        unicodedata.normalize("NFC", dataset.file_name(i)).casefold() for i in range(len(dataset))
    )
    text = "\0".join(names).encode(errors="surrogateescape")
    return hashlib.sha256(text).hexdigest()[:16]


def check_remembered(spec: str, fingerprint: str | None, model: str) -> None:
    """Refuse another folder in the place of the one that a model remembers.

    Args:
        spec: that it remembers.
        fingerprint: of `known_by`; None (of older files): whatever is there is taken.
        model: what to call it in a message.

    Raises:
        InputError: the folder is not here, or has other validation images.
    """
    if fingerprint is None or spec in SOURCES:
        return
    fix = "give --data, the images to take."
    if not is_here(spec):
        raise InputError(f"{model} was trained on {spec}, which is not here", fix)
    if known_by(spec) != fingerprint:
        raise InputError(
            f"{from_home(spec).resolve()} is not, or no longer, the data that {model} was trained "
            "on: its validation images have other names",
            fix,
        )
