"""Opens tar shards, ours by their index and others' by their headers."""

from __future__ import annotations

from collections.abc import Sequence
from pathlib import Path

import numpy as np

from edgeresnet.device.data.dataset import UNLABELLED, Split
from edgeresnet.device.data.folder import split_by_name
from edgeresnet.device.data.listing import telling_unreadable
from edgeresnet.device.data.names import Names
from edgeresnet.device.data.shards.dataset import ShardDataset
from edgeresnet.device.data.shards.index import ShardIndex, read_index, read_shards
from edgeresnet.device.data.shards.naming import INDEX, Named, beside, in_folder, named, part_of
from edgeresnet.device.data.shards.records import ShardRecords
from edgeresnet.device.data.shards.scan import scan
from edgeresnet.errors import InputError
from edgeresnet.untrusted import short

FIX = "give shards with images (KEY.jpg) and labels (KEY.cls), or write some with edgeresnet shard."


def open_shards(spec: str, path: Path, split: Split, seed: int) -> ShardDataset:
    """Open a part of tar shards: those that are named, those beside them, or those in a folder.

    Args:
        spec: the DATA SPEC.
        path: a folder of shards, one shard, or a range as ``train-{000000..000009}.tar``.
        split: the part to open. Shards whose names say no part are split by name.
        seed: of such a split.

    Raises:
        InputError: there are no such shards, or one is damaged or not as shards are.
    """
    with telling_unreadable(path):
        which = named(path)
        index = read_index(which.folder)
        if index is not None:
            return _indexed(spec, which, index, split)
        return _scanned(spec, which, split, seed)


def _indexed(spec: str, which: Named, index: ShardIndex, split: Split) -> ShardDataset:
    """Those that the index has; of the part that is named, only those that are."""
    entries = {entry["name"]: entry for entry in index["parts"].get(split, [])}
    wanted = list(entries)
    if which.files is not None and part_of(which.files[0]) in (None, split):
        wanted = list(which.files)
    if unknown := [name for name in wanted if name not in entries]:
        raise InputError(
            f"shard {which.folder / unknown[0]} is not in {INDEX}, which has "
            f"{_listed(list(entries))} for {split}",
            "give shards that it has, or the folder.",
        )
    if not wanted:
        raise InputError(
            f"{which.folder} has no {split} shards: {INDEX} has {', '.join(index['parts'])}",
            "give a folder with both parts to edgeresnet shard.",
        )
    records = read_shards(which.folder, [entries[name] for name in wanted], len(index["classes"]))
    return ShardDataset.of(spec, split, tuple(index["classes"]), records, which.folder)


def _scanned(spec: str, which: Named, split: Split, seed: int) -> ShardDataset:
    """Those of other makers: read header by header, with numbers for the classes' names."""
    if which.files is None:
        names, parted = in_folder(which.folder, split)
    else:
        names, parted = beside(which.folder, which.files, split)
    shards = [scan(which.folder / name) for name in names]
    records = _together(shards)
    if not len(records.names):
        raise InputError(
            "; ".join([f"the shards of data {spec} have no images", *records.left_out]), FIX
        )
    bare = [shard for shard in shards if len(shard.labels) and shard.labels[0] == UNLABELLED]
    if bare and (records.labels != UNLABELLED).any():
        raise InputError(f"shard {bare[0].files[0]} has no labels, and others have", FIX)
    count = int(records.labels.max()) + 1
    if count == 1:
        raise InputError(f"the shards of data {spec} have only one class, 0", FIX)
    classes = tuple(str(number) for number in range(count))
    dataset = ShardDataset.of(spec, split, classes, records, which.folder)
    return dataset if parted else split_by_name(dataset, seed)


def _together(shards: Sequence[ShardRecords]) -> ShardRecords:
    tables = [shard.table.copy() for shard in shards]
    for place, table in enumerate(tables):
        table["shard"] = place
    return ShardRecords(
        tuple(path for shard in shards for path in shard.files),
        np.concatenate(tables),
        np.concatenate([shard.labels for shard in shards]),
        Names(shard.names for shard in shards),
        checked=False,
        left_out=tuple(line for shard in shards for line in shard.left_out)[:3],
    )


def _listed(names: Sequence[str]) -> str:
    return f"{short(names[0])} to {short(names[-1])}" if names else "none"
