"""Which folders are the training and validation parts of a data set, by their names."""

from __future__ import annotations

import re
from collections.abc import Mapping, Sequence
from pathlib import Path

from edgeresnet.device.data.dataset import Split

# Whatever their case; the first that is there is taken.
PARTS: dict[Split, tuple[str, ...]] = {
    "train": ("train", "training"),
    "val": ("val", "valid", "validation", "dev", "test", "testing", "eval", "evaluation"),
}
_SHORT: dict[Split, tuple[str, ...]] = {"train": ("trn",), "val": ("tst",)}


def parts_among(folders: Mapping[str, Path]) -> dict[Split, list[Path]]:
    """The folders of each part, the one to take first.

    Where none has such a name: those that are named after both parts and are otherwise alike, as
    ``seg_train`` beside ``seg_test``. Two classes are not.
    """
    parts = {part: _candidates(folders, names) for part, names in PARTS.items()}
    return parts if any(parts.values()) else _alike(folders)


def _candidates(folders: Mapping[str, Path], names: Sequence[str]) -> list[Path]:
    """Folders of these names in any case, in their order; the one in lower case first."""
    return [
        folders[found]
        for name in names
        for found in sorted(folders, reverse=True)
        if found.lower() == name
    ]


def _alike(folders: Mapping[str, Path]) -> dict[Split, list[Path]]:
    pairs: dict[str, dict[Split, list[Path]]] = {}
    for part, names in PARTS.items():
        for name in (*names, *_SHORT[part]):
            # The word on its own, or before "set" and numbers: no part of another word.
            word = re.compile(rf"(?<![a-z]){name}(?=set|data|[^a-z]|$)")
            for folder, path in folders.items():
                rest, found = word.subn("*", folder.lower(), count=1)
                if found:
                    pairs.setdefault(rest, {"train": [], "val": []})[part].append(path)
    whole = [pair for pair in pairs.values() if all(pair.values())]
    return whole[0] if whole else {"train": [], "val": []}
