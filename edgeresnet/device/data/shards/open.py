"""Opens tar shards, ours by their index and others' by their headers."""

from __future__ import annotations

from collections.abc import Iterable, Iterator, Sequence
from functools import lru_cache
from pathlib import Path
from typing import NamedTuple

from edgeresnet.device.data.dataset import UNLABELLED, Split
from edgeresnet.device.data.folder import split_by_name
from edgeresnet.device.data.listing import telling_unreadable
from edgeresnet.device.data.shards.dataset import ShardDataset
from edgeresnet.device.data.shards.index import ShardIndex, read_index, read_shards
from edgeresnet.device.data.shards.naming import INDEX, Named, beside, in_folder, named, part_of
from edgeresnet.device.data.shards.records import ShardContent, ShardRecords
from edgeresnet.device.data.shards.scan import scan
from edgeresnet.errors import InputError
from edgeresnet.untrusted import short

# Both parts of two data sets.
REMEMBERED = 4
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
    states = tuple(_state(which.folder / name) for name in names)
    records = _read(states)
    if not len(records.labels):
        raise InputError(
            "; ".join([f"the shards of data {spec} have no images", *records.left_out]), FIX
        )
    count = int(records.labels.max()) + 1
    if count == 1:
        raise InputError(f"the shards of data {spec} have only one class, 0", FIX)
    classes = tuple(str(number) for number in range(count))
    dataset = ShardDataset.of(spec, split, classes, records, which.folder)
    return dataset if parted else split_by_name(dataset, seed)


class _State(NamedTuple):
    """A shard as it was at some time."""

    path: Path
    size: int
    changed_ns: int


def _state(path: Path) -> _State:
    if path.is_symlink():
        raise InputError(f"shard {path} is a link", "put the file itself in its place.")
    try:
        status = path.stat()
    except OSError as error:
        raise InputError(
            f"shard {path} cannot be read: {error.strerror}", "check the path."
        ) from error
    return _State(path, status.st_size, status.st_mtime_ns)


@lru_cache(REMEMBERED)
def _read(shards: tuple[_State, ...]) -> ShardRecords:
    """Within one command the same shards are opened several times."""
    return ShardRecords.of(_of_one_kind(scan(one.path) for one in shards), checked=False)


def _of_one_kind(shards: Iterable[ShardContent]) -> Iterator[ShardContent]:
    """Refuse shards with labels beside shards without."""
    bare: Path | None = None
    labelled = False
    for shard in shards:
        if len(shard.labels):
            labelled |= shard.labels[0] != UNLABELLED
            bare = bare or (shard.path if shard.labels[0] == UNLABELLED else None)
        if labelled and bare:
            raise InputError(f"shard {bare} has no labels, and others have", FIX)
        yield shard


def _listed(names: Sequence[str]) -> str:
    return f"{short(names[0])} to {short(names[-1])}" if names else "none"
