"""What `edgeresnet shard` writes beside its shards: where each image lies, with checksums.

``index.json`` has the classes and, for each shard, its SHA-256, bytes and images. A shard's own
``train-000000.json`` has for each image name, label, place and SHA-256, and the CRC of its record:
these reach from one image's header to the next one's, so every byte of a shard is in one.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Any, Literal

import numpy as np
from pydantic import Field
from typing_extensions import TypedDict

from edgeresnet.device.data.dataset import UNLABELLED
from edgeresnet.device.data.decoding import MOST_FILE_BYTES
from edgeresnet.device.data.shards.naming import INDEX
from edgeresnet.device.data.shards.records import (
    BLOCK,
    MOST_CLASSES,
    RECORD,
    ShardContent,
    ShardRecords,
)
from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.untrusted import MIB, parse_record, read_bytes, read_record, short

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A shard of 100,000 images has under 20 MiB.
MOST_RECORD_BYTES = 256 * MIB
FIX = "copy it again, or repeat edgeresnet shard, which writes anew what is damaged."
Sha256 = Annotated[str, Field(pattern="^[0-9a-f]{64}$")]
Count = Annotated[int, Field(ge=0, lt=2**62)]


class ShardEntry(TypedDict):
    """One shard in ``index.json``; ``record_sha256`` is of the file that says what is in it."""

    name: Annotated[str, Field(pattern=r"^(train|val)-[0-9]{6,9}\.tar$")]
    sha256: Sha256
    bytes: Count
    images: Annotated[int, Field(ge=1)]
    record_sha256: Sha256


class ShardIndex(TypedDict):
    """``index.json``: the shards of a folder. ``classes`` is empty where no image has a label."""

    schema: Literal[1]
    classes: list[str]
    images_per_shard: Annotated[int, Field(ge=1)]
    parts: dict[Literal["train", "val"], list[ShardEntry]]


class ShardFile(TypedDict):
    """What is in one shard, an entry in each list for every image.

    ``modified_ns`` is when the image's file was last changed as it was read; None: too lately to
    tell whether it changed again.
    """

    schema: Literal[1]
    sha256: Sha256
    bytes: Count
    names: list[str]
    labels: list[int]
    offsets: list[Count]
    sizes: list[Annotated[int, Field(ge=0, le=MOST_FILE_BYTES)]]
    crc32: list[Annotated[int, Field(ge=0, lt=2**32)]]
    images_sha256: list[Sha256]
    modified_ns: list[int | None]


def record_path(shard: Path) -> Path:
    """Where the file lies that says what is in a shard."""
    return shard.with_suffix(".json")


def read_index(folder: Path) -> ShardIndex | None:
    """What lies in a folder of shards; None where nothing says.

    Raises:
        InputError: it is damaged, or the shards are not finished.
    """
    path = folder / INDEX
    if not path.exists() and not path.is_symlink():
        if any(record_path(one).is_file() for one in folder.glob("*.tar")):
            raise InputError(
                f"the shards in {folder} are not finished: {INDEX} is not there",
                "repeat edgeresnet shard: it goes on where it was.",
            )
        return None
    index = read_record(path, ShardIndex, "index", FIX, follow=False)
    classes = index["classes"]
    if len(set(classes)) < len(classes) or "" in classes or len(classes) > MOST_CLASSES:
        raise InputError(f"index {path} is damaged: a class is there twice, or has no name", FIX)
    return index


def read_shards(folder: Path, entries: Sequence[ShardEntry], classes: int) -> ShardRecords:
    """The images of some shards, in order.

    Args:
        folder: they lie in.
        entries: of ``index.json``.
        classes: how many there are; 0: no image has a label.

    Raises:
        InputError: a shard is not there, or not as the index says; names it.
    """

    def contents() -> Iterator[ShardContent]:
        for entry in entries:
            path = folder / entry["name"]
            record = _record(path, entry, classes)
            yield ShardContent(
                path, _table(record), np.array(record["labels"], np.int64), record["names"]
            )

    return ShardRecords.of(contents(), checked=True)


def _record(path: Path, entry: ShardEntry, classes: int) -> ShardFile:
    """What a shard's own file says, where it is the one that the index knows."""
    beside = record_path(path)
    if path.is_symlink():
        raise InputError(f"shard {path} is a link", "put the file itself in its place.")
    try:
        size = path.stat().st_size
    except OSError as error:
        raise InputError(f"shard {path} cannot be read: {error.strerror}", FIX) from error
    if size != entry["bytes"]:
        raise InputError(f"shard {path} has {size} bytes, and was written {entry['bytes']}", FIX)
    content = read_bytes(beside, "index", most_bytes=MOST_RECORD_BYTES, follow=False)
    if sha256_bytes(content) != entry["record_sha256"]:
        raise InputError(f"index {beside} is damaged, or of another writing than {INDEX}", FIX)
    try:
        record = parse_record(content, ShardFile)
        check_record(record, classes)
        if len(record["names"]) != entry["images"] or record["bytes"] != size:
            raise ValueError(f"it is not what {INDEX} says")
    except ValueError as error:
        raise InputError(f"index {beside} is damaged: {error}", FIX) from error
    return record


def check_record(record: ShardFile, classes: int) -> None:
    """Refuse what cannot be true of a shard.

    Raises:
        ValueError: says what.
    """
    columns: Mapping[str, Any] = record
    images = len(record["names"])
    if images == 0 or any(
        len(values) != images for values in columns.values() if isinstance(values, list)
    ):
        raise ValueError("its lists have different lengths")
    low, high = min(record["labels"]), max(record["labels"])
    if (low, high) != (UNLABELLED, UNLABELLED) if classes == 0 else low < 0 or high >= classes:
        raise ValueError(f"a label is none of the {classes} classes")
    for name in record["names"]:
        parts = name.split("/")
        if "" in parts or ".." in parts or "\0" in name:
            raise ValueError(f"{short(name)} is no name of an image")
    table = _table(record)
    ends = table["start"] + table["bytes"]
    inside = (table["offset"] + table["size"] <= ends).all() and (ends <= record["bytes"]).all()
    if record["offsets"][0] != BLOCK or (np.diff(table["offset"].astype(np.int64)) <= 0).any():
        inside = np.False_
    if not inside:
        raise ValueError("an image lies beyond its place")


def _table(record: ShardFile) -> NDArray[Any]:
    """(n,) of `RECORD`; the last image's reaches to the end of the shard."""
    table = np.zeros(len(record["names"]), RECORD)
    table["offset"] = record["offsets"]
    table["start"] = table["offset"] - BLOCK
    ends = np.append(table["start"][1:], np.uint64(record["bytes"]))
    table["bytes"] = ends - table["start"]
    table["size"], table["crc32"] = record["sizes"], record["crc32"]
    hexadecimal = "".join(record["images_sha256"])
    table["sha256"] = np.frombuffer(bytes.fromhex(hexadecimal), np.uint8).reshape(-1, 32)
    return table
