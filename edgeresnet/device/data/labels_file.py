"""Users' own data sets: a CSV or JSON file that says which image has which label."""

from __future__ import annotations

import csv
import re
from collections.abc import Iterable, Mapping, Sequence
from os.path import normpath
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeresnet.device.data.class_names import check_lengths, listed, natural_key
from edgeresnet.device.data.dataset import UNLABELLED, Split
from edgeresnet.device.data.file_kinds import check_is_text
from edgeresnet.device.data.folder import FolderDataset, split_by_name
from edgeresnet.device.data.names import Names, Paths
from edgeresnet.device.data.parts import PARTS
from edgeresnet.errors import InputError
from edgeresnet.untrusted import MIB, parse_json, read_bytes, short

SUFFIXES = (".csv", ".tsv", ".json")
PATH_KEYS = ("path", "file", "filename", "file_name", "image", "image_path")
LABEL_KEYS = ("label", "class", "class_name", "category", "target")
SPLIT_KEYS = ("split", "part", "subset", "set", "partition", "phase")
# ImageNet-21k's list of 14 million images has about 500.
MOST_BYTES = 1024 * MIB
FIX = (
    "give lines of path,label; or a JSON list of such objects, or an object of path and label; or "
    "paths alone, where no image has a label."
)


class Row(NamedTuple):
    """An image as the file names it."""

    path: str
    label: str | None
    part: str | None


def is_list(path: Path) -> bool:
    """Whether a file of this name names images."""
    return path.suffix.lower() in SUFFIXES


def open_labels(spec: str, path: Path, split: Split, seed: int) -> FolderDataset:
    """The images that a file of labels names; shared out by name where it says no split.

    A file of paths alone names images without labels.

    Args:
        spec: the DATA SPEC.
        path: CSV with or without a heading, TSV, or JSON; paths in it are below its folder.
        split: the part to open.
        seed: of a split by name.

    Raises:
        InputError: the file is not understood, an image has two labels or is not there, or there
            is no such part.
    """
    check_is_text(path, "a list of images", FIX)
    content = read_bytes(path, "data", most_bytes=MOST_BYTES)
    try:
        text = content.decode("utf-8-sig", errors="surrogateescape")
        rows = _from_json(text) if path.suffix.lower() == ".json" else _from_table(text, path)
        check_lengths({row.label for row in rows if row.label is not None})
    except (ValueError, TypeError, LookupError, csv.Error) as error:
        raise InputError(f"data {path} cannot be understood: {error}", FIX) from error
    _check(rows, path)
    # An image counts once, however often it is named.
    rows = list({normpath(row.path): row for row in reversed(rows)}.values())[::-1]
    classes = _classes(rows, path)
    where: dict[str | None, int] = {name: i for i, name in enumerate(classes)}
    told = [row for row in rows if row.part is None or row.part in PARTS[split]]
    if not told:
        raise InputError(f"data {path} has no images of the split {split}", FIX)
    dataset = FolderDataset(
        spec,
        split,
        tuple(classes),
        np.array([where.get(row.label, UNLABELLED) for row in told], np.int64),
        Paths("", Names([(str(path.parent / row.path) for row in told)])),
        path.parent,
    )
    return split_by_name(dataset, seed) if rows[0].part is None else dataset


def _classes(rows: Sequence[Row], path: Path) -> list[str]:
    """Names of the classes in their order; none where no image has a label."""
    classes = sorted({row.label for row in rows if row.label is not None})
    if "" in classes:
        raise InputError(f"data {path} has images without a label among others", FIX)
    if all(name.isdecimal() for name in classes):
        # A number in a file is an index, and no name to be sorted as text.
        classes.sort(key=natural_key)
    if len(classes) == 1:
        raise InputError(f"data {path} has only one class, {listed(classes)}", FIX)
    return classes


def _check(rows: Sequence[Row], path: Path) -> None:
    labels: dict[str, str | None] = {}
    parts_of: dict[str, str | None] = {}
    for row in rows:
        place = normpath(row.path)
        if parts_of.setdefault(place, row.part) != row.part:
            raise InputError(
                f"data {path} gives {short(row.path)} two splits, "
                f"{short(parts_of[place])} and {short(row.part)}",
                "leave one; an image that was trained on tells nothing in validation.",
            )
        if labels.setdefault(place, row.label) != row.label:
            raise InputError(
                f"data {path} gives {short(row.path)} two labels, "
                f"{short(labels[place])} and {short(row.label)}",
                "leave one; an image has one class.",
            )
    absent = [
        name
        for name in dict.fromkeys(row.path for row in rows)
        if not _is_there(path.parent / name)
    ]
    if absent:
        raise InputError(
            f"data {path} names {len(absent)} images that are not there: {listed(absent)}",
            f"give their paths from {path.parent}.",
        )
    parts = {row.part for row in rows}
    unknown = sorted(str(part) for part in parts - {None, *PARTS["train"], *PARTS["val"]})
    if unknown or (None in parts and len(parts) > 1):
        raise InputError(
            f"data {path} has splits that are not known: {listed(unknown or ['none'])}",
            f"call them {' or '.join(PARTS)}, for every image.",
        )


def _is_there(path: Path) -> bool:
    try:
        return path.is_file()
    except (OSError, ValueError):
        # A name that no file can have.
        return False


def _from_table(text: str, path: Path) -> list[Row]:
    tabs = path.suffix.lower() == ".tsv"
    table = [row for row in csv.reader(text.splitlines(), delimiter="\t" if tabs else ",") if row]
    if not table:
        raise ValueError("it is empty")
    heading = [cell.strip().lower() for cell in table[0]]
    has_paths = any(key in heading for key in PATH_KEYS)
    labelled = any(key in heading for key in LABEL_KEYS)
    if has_paths and (labelled or _names_paths_alone(heading)):
        if any(len(row) != len(heading) for row in table):
            raise ValueError("its lines have different numbers of columns")
        named = [dict(zip(heading, row, strict=True)) for row in table[1:]]
        return [_row(values, labelled=labelled) for values in named]
    if all(len(row) == 1 for row in table):
        parted = next((sign for sign in ";\t|" if all(sign in row[0] for row in table)), None)
        if parted is not None and not (path.parent / table[-1][0]).exists():
            raise ValueError(f"its columns are parted by {parted!r}, and not by commas")
        return [Row(row[0].strip(), None, None) for row in table]
    if any(len(row) != 2 for row in table):
        raise ValueError("without a heading it must have two columns, path and label")
    return [Row(row[0].strip(), _label(row[1]), None) for row in table]


def _label(value: Any) -> str:
    """A name, or an index as a table of floats has it: 3.0 is 3."""
    text = str(value).strip()
    return text.removesuffix(".0") if re.fullmatch(r"\d+\.0", text) else text


def _names_paths_alone(keys: Iterable[str]) -> bool:
    """Whether there is no label: any other key may be one under a name of its own."""
    return all(key in PATH_KEYS + SPLIT_KEYS for key in keys)


def _from_json(text: str) -> list[Row]:
    content = parse_json(text)
    if isinstance(content, Mapping):
        content = [{"path": path, "label": label} for path, label in content.items()]
    if not isinstance(content, list) or not content:
        raise ValueError("it is no list of images")
    if all(isinstance(one, str) for one in content):
        return [Row(one.strip(), None, None) for one in content]
    named = [
        one if isinstance(one, Mapping) else {"path": one[0], "label": one[1]} for one in content
    ]
    labelled = not all(_names_paths_alone(one) for one in named)
    return [_row(one, labelled=labelled) for one in named]


def _row(values: Mapping[str, Any], *, labelled: bool) -> Row:
    """An image of named values; ValueError if its path is missing, or the label where some are."""
    path, label, part = (
        next((values[key] for key in keys if values.get(key) not in (None, "")), None)
        for keys in (PATH_KEYS, LABEL_KEYS, SPLIT_KEYS)
    )
    if path is None or (labelled and not isinstance(label, (str, int, float))):
        raise ValueError(f"an image without path or label: {short(dict(values))}")
    told = _label(label) if labelled else None
    return Row(str(path).strip(), told, part and str(part).strip().lower())
