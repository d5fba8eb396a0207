"""Users' own data sets: a CSV or JSON file that says which image has which label."""

from __future__ import annotations

import csv
import json
from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any, NamedTuple

import numpy as np

from edgeresnet.device.data.class_names import listed, natural_key
from edgeresnet.device.data.dataset import Split
from edgeresnet.device.data.file_kinds import check_is_text
from edgeresnet.device.data.folder import PARTS, FolderDataset, split_by_name
from edgeresnet.errors import InputError

SUFFIXES = (".csv", ".tsv", ".json")
PATH_KEYS = ("path", "file", "filename", "file_name", "image", "image_path")
LABEL_KEYS = ("label", "class", "class_name", "category", "target")
SPLIT_KEYS = ("split", "part", "subset")
FIX = "give lines of path,label; or a JSON list of such objects, or an object of path and label."


class Row(NamedTuple):
    """An image as the file names it."""

    path: str
    label: str
    part: str | None


def open_labels(spec: str, path: Path, split: Split, seed: int) -> FolderDataset:
    """The images that a file of labels names; shared out by name where it says no split.

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
    try:
        text = path.read_text(encoding="utf-8-sig", errors="surrogateescape")
        rows = _from_json(text) if path.suffix.lower() == ".json" else _from_table(text, path)
    except (OSError, ValueError, TypeError, csv.Error) as error:
        raise InputError(f"data {path} cannot be understood: {error}", FIX) from error
    _check(rows, path)
    classes = sorted({row.label for row in rows})
    if all(name.isdecimal() for name in classes):
        # A number in a file is an index, and no name to be sorted as text.
        classes.sort(key=natural_key)
    if len(classes) < 2:
        raise InputError(f"data {path} has only one class, {listed(classes)}", FIX)
    where = {name: i for i, name in enumerate(classes)}
    told = [row for row in rows if row.part is None or row.part in PARTS[split]]
    if not told:
        raise InputError(f"data {path} has no images of the split {split}", FIX)
    dataset = FolderDataset(
        spec,
        split,
        tuple(classes),
        np.array([where[row.label] for row in told], np.int64),
        tuple(path.parent / row.path for row in told),
        path.parent,
    )
    return split_by_name(dataset, seed) if rows[0].part is None else dataset


def _check(rows: Sequence[Row], path: Path) -> None:
    labels: dict[str, str] = {}
    for row in rows:
        if labels.setdefault(row.path, row.label) != row.label:
            raise InputError(
                f"data {path} gives {row.path} two labels, {labels[row.path]} and {row.label}",
                "leave one; an image has one class.",
            )
    absent = [name for name in labels if not (path.parent / name).is_file()]
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


def _from_table(text: str, path: Path) -> list[Row]:
    tabs = path.suffix.lower() == ".tsv"
    table = [row for row in csv.reader(text.splitlines(), delimiter="\t" if tabs else ",") if row]
    if not table:
        raise ValueError("it is empty")
    heading = [cell.strip().lower() for cell in table[0]]
    if any(key in heading for key in PATH_KEYS) and any(key in heading for key in LABEL_KEYS):
        if any(len(row) != len(heading) for row in table):
            raise ValueError("its lines have different numbers of columns")
        return [_row(dict(zip(heading, row, strict=True))) for row in table[1:]]
    if any(len(row) != 2 for row in table):
        raise ValueError("without a heading it must have two columns, path and label")
    return [Row(row[0].strip(), row[1].strip(), None) for row in table]


def _from_json(text: str) -> list[Row]:
    content = json.loads(text)
    if isinstance(content, Mapping):
        content = [{"path": path, "label": label} for path, label in content.items()]
    if not isinstance(content, list) or not content:
        raise ValueError("it is no list of images")
    return [
        _row(one) if isinstance(one, Mapping) else _row({"path": one[0], "label": one[1]})
        for one in content
    ]


def _row(values: Mapping[str, Any]) -> Row:
    """An image of named values; ValueError if path or label is missing."""
    path, label, part = (
        next((values[key] for key in keys if values.get(key) not in (None, "")), None)
        for keys in (PATH_KEYS, LABEL_KEYS, SPLIT_KEYS)
    )
    if path is None or label is None or not isinstance(label, (str, int)):
        raise ValueError(f"an image without path or label: {dict(values)}")
    return Row(str(path).strip(), str(label).strip(), part and str(part).strip().lower())
