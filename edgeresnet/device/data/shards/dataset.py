"""Images in tar shards: each is read from its place, and only labels are in memory."""

from __future__ import annotations

import hashlib
import zlib
from collections.abc import Iterator, Sequence
from dataclasses import dataclass, field, replace
from io import BytesIO
from pathlib import Path, PurePath
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgeresnet.device.data.conversions import Conversions, kinds_of
from edgeresnet.device.data.dataset import Split
from edgeresnet.device.data.decoding import decode_open, telling_which, turn
from edgeresnet.device.data.shards.records import ShardRecords
from edgeresnet.errors import InputError
from edgeresnet.untrusted import read_at, short

if TYPE_CHECKING:
    from numpy.typing import NDArray

DAMAGED_FIX = (
    "copy the shard again, or repeat edgeresnet shard, which writes anew what is damaged; "
    "--skip-broken leaves such images out."
)


@dataclass(frozen=True, eq=False)
class ShardDataset:
    """Images of tar shards, in any order: where each lies is read from the disk too.

    Attributes:
        records: of the shards' images.
        root: folder of the shards.
        places: (n,) int32, of the images among the records; None: they are all of them.
    """

    name: str
    split: Split
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    records: ShardRecords
    root: Path
    places: NDArray[np.int32] | None = None
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()
    # Of all that were read, of its subsets too.
    conversions: Conversions = field(default_factory=Conversions)

    @classmethod
    def of(
        cls,
        spec: str,
        split: Split,
        classes: tuple[str, ...],
        records: ShardRecords,
        root: Path,
    ) -> ShardDataset:
        """The images of some shards."""
        return cls(spec, split, classes, records.labels, records, root, notes=records.left_out)

    def __len__(self) -> int:
        return len(self.labels)

    @property
    def files(self) -> tuple[Path, ...]:
        """The shards."""
        return self.records.files

    @property
    def checked(self) -> bool:
        """Whether there are checksums, by which each image is checked as it is read."""
        return self.records.checked

    def image(self, index: int) -> Image.Image:
        """Decode one image; InputError names its shard and it if that fails."""
        with turn():
            content = BytesIO(self.content(index))
            with telling_which(lambda: self._where(index)):
                return decode_open(content, lambda image: self._look(index, image))

    def content(self, index: int) -> bytes:
        """One image as it lies in its shard.

        Raises:
            InputError: the shard cannot be read, ends before, or is damaged there.
        """
        record = self._record(index)
        path, start = self.files[record["shard"]], int(record["start"])
        whole = read_at(path, "shard", start, int(record["bytes"]), follow=False)
        first = int(record["offset"]) - start
        content = whole[first : first + int(record["size"])]
        if len(content) < record["size"] or len(whole) < record["bytes"]:
            raise InputError(f"{self._where(index)}: the shard ends before it", DAMAGED_FIX)
        if self.checked and (
            zlib.crc32(whole) != record["crc32"]
            or hashlib.sha256(content).digest() != record["sha256"].tobytes()
        ):
            end = start + int(record["bytes"])
            raise InputError(
                f"{self._where(index)} is damaged: bytes {start} to {end} of the shard are not "
                "what was written",
                DAMAGED_FIX,
            )
        return content

    def image_sha256(self, index: int) -> bytes:
        """SHA-256 of one image as it lies in its shard, 32 bytes."""
        if self.checked:
            return bytes(self._record(index)["sha256"].tobytes())
        return hashlib.sha256(self.content(index)).digest()

    def path(self, index: int) -> PurePath:
        """By what an image is told from all others: no file is called so."""
        return PurePath(self._file(index), self.file_name(index))

    def file_name(self, index: int) -> str:
        """As it was called in the folder that was sharded, else shard and key."""
        return self.records.rows.name(self._place(index))

    def tables(self) -> Iterator[NDArray[Any]]:
        """What is known of each image: arrays of `RECORD`, of some images each."""
        return self.records.rows.records(self.places)

    def subset(self, indices: Sequence[int]) -> ShardDataset:
        """Only these images."""
        chosen = np.asarray(indices, np.int64)
        own = np.arange(len(self), dtype=np.int32) if self.places is None else self.places
        return replace(self, labels=self.labels[chosen], places=own[chosen])

    def relabelled(self, classes: tuple[str, ...], labels: NDArray[np.int64]) -> ShardDataset:
        """The same images, with these labels of these classes."""
        return replace(self, classes=classes, labels=labels)

    def _place(self, index: int) -> int:
        """Of an image among the records."""
        own = range(len(self))[index]
        return own if self.places is None else int(self.places[own])

    def _record(self, index: int) -> Any:
        return self.records.rows.record(self._place(index))

    def _file(self, index: int) -> Path:
        return self.files[int(self._record(index)["shard"])]

    def _look(self, index: int, image: Image.Image) -> None:
        # Few are converted: the others need no path.
        if kinds := tuple(kinds_of(image)):
            self.conversions.take(self.path(index), kinds)

    def _where(self, index: int) -> str:
        path, name = self._file(index), self.file_name(index)
        # Where nobody says how it was called, its name begins with the shard's.
        return f"{path}: {short(name.removeprefix(f'{path.name}/'))}"
