"""Where each image lies in its shard, how it is called, and by what it is known to be whole."""

from __future__ import annotations

import os
from collections.abc import Iterable, Iterator, Sequence
from dataclasses import dataclass
from functools import lru_cache, partial
from pathlib import Path
from typing import TYPE_CHECKING, Any, NamedTuple

import numpy as np

from edgeresnet.device.data.scratch import Scratch

if TYPE_CHECKING:
    from numpy.typing import NDArray

# A tar consists of these: a header is one, and what a file has is filled up to whole ones.
BLOCK = 512
# Names of classes are made up to the largest label; ImageNet-21k has 21,841.
MOST_CLASSES = 100_000
RECORD = np.dtype([
    ("shard", "<u4"),  # its place among the files
    ("start", "<u8"),  # first byte of the record: its header, the image, and what follows it
    ("bytes", "<u8"),  # of the whole record
    ("offset", "<u8"),  # first byte of the image, in the shard
    ("size", "<u4"),  # of the image, in bytes
    ("crc32", "<u4"),  # of the whole record, as zlib counts it
    ("sha256", "u1", (32,)),  # of the image
])  # fmt: skip
# Where the letters of the name end; they begin where those of the image before end.
ROW = np.dtype([("record", RECORD), ("end", "<u8")])
# Read at once; so many times these are remembered.
ROWS, REMEMBERED = 64, 16


@dataclass(frozen=True, eq=False)
class ShardContent:
    """The images of one shard.

    Attributes:
        path: of the shard.
        table: (n,) of `RECORD`.
        labels: (n,) int64; `edgeresnet.device.data.dataset.UNLABELLED` where there are none.
        names: what each image is called.
        left_out: lines on what is in the shard and is not read.
    """

    path: Path
    table: NDArray[Any]
    labels: NDArray[np.int64]
    names: Sequence[str]
    left_out: tuple[str, ...] = ()


class Rows:
    """What is known of each image, read from the disk when it is wanted; 76 bytes and its name."""

    def __init__(self) -> None:
        self._rows, self._letters = Scratch(), Scratch()
        self._remember()

    def __len__(self) -> int:
        return len(self._rows) // ROW.itemsize

    def __getstate__(self) -> tuple[Scratch, Scratch]:
        return self._rows, self._letters

    def __setstate__(self, state: tuple[Scratch, Scratch]) -> None:
        self._rows, self._letters = state
        self._remember()

    def append(self, table: NDArray[Any], names: Sequence[str]) -> None:
        """Put images behind those that are there."""
        letters = [os.fsencode(name) for name in names]
        rows = np.zeros(len(table), ROW)
        rows["record"] = table
        rows["end"] = len(self._letters) + np.cumsum([len(one) for one in letters])
        self._rows.append(rows.tobytes())
        self._letters.append(b"".join(letters))

    def record(self, place: int) -> Any:
        """One of `RECORD`."""
        return self._part(place // ROWS).records[place % ROWS]

    def name(self, place: int) -> str:
        """What an image is called; a byte that is no UTF-8 is a surrogate."""
        return self._part(place // ROWS).name(place % ROWS)

    def records(self, places: NDArray[np.int32] | None) -> Iterator[NDArray[Any]]:
        """Those of these places, or all, in their order: arrays of `RECORD`, of some rows each."""
        if places is None:
            for number in range(-(-len(self) // ROWS)):
                yield self._part(number).records
            return
        for first in range(0, len(places), ROWS):
            chosen = places[first : first + ROWS].tolist()
            yield np.array([self.record(place) for place in chosen], RECORD)

    def _remember(self) -> None:
        # Not by a method, which would hold these rows as long as they hold it.
        self._part = lru_cache(REMEMBERED)(partial(_read, self._rows, self._letters))


class _Part(NamedTuple):
    """Rows that follow each other; of ``ends`` there is one more."""

    records: NDArray[Any]
    ends: NDArray[np.int64]
    letters: bytes

    def name(self, row: int) -> str:
        return os.fsdecode(self.letters[self.ends[row] : self.ends[row + 1]])


def _read(whole: Scratch, letters: Scratch, number: int) -> _Part:
    """Some rows, by means of the row before them, where their letters begin."""
    start = max(0, number * ROWS - 1)
    size = (number * ROWS + ROWS - start) * ROW.itemsize
    rows = np.frombuffer(whole.read(start * ROW.itemsize, size), ROW)
    ends = rows["end"].astype(np.int64)
    if number == 0:
        ends = np.append(np.zeros(1, np.int64), ends)
    first, last = int(ends[0]), int(ends[-1])
    names = letters.read(first, last - first)
    return _Part(rows["record"][min(number, 1) :], ends - first, names)


@dataclass(frozen=True, eq=False)
class ShardRecords:
    """The images of some shards.

    Attributes:
        files: the shards.
        rows: of each image; on the disk.
        labels: (n,) int64; `edgeresnet.device.data.dataset.UNLABELLED` where there are none.
        checked: whether ``crc32`` and ``sha256`` are known.
        left_out: lines on what is in the shards and is not read.
    """

    files: tuple[Path, ...]
    rows: Rows
    labels: NDArray[np.int64]
    checked: bool
    left_out: tuple[str, ...] = ()

    @classmethod
    def of(cls, shards: Iterable[ShardContent], *, checked: bool) -> ShardRecords:
        """Put the shards together, in order, of which only one is in memory at a time."""
        files, left_out = list[Path](), list[str]()
        rows, labels = Rows(), bytearray()
        for place, shard in enumerate(shards):
            table = shard.table.copy()
            table["shard"] = place
            rows.append(table, shard.names)
            labels += np.ascontiguousarray(shard.labels, np.int64).tobytes()
            files.append(shard.path)
            left_out += shard.left_out[: 3 - len(left_out)]
        return cls(tuple(files), rows, np.frombuffer(labels, np.int64), checked, tuple(left_out))
