"""One shard: a plain tar that webdataset reads, and the file beside it that says what is in it."""

from __future__ import annotations

import hashlib
import json
import os
import tarfile
import time
import zlib
from dataclasses import dataclass
from pathlib import Path
from typing import BinaryIO

from edgeresnet.device.data.content_hashes import CLOCK_STEP_NS
from edgeresnet.device.data.dataset import UNLABELLED
from edgeresnet.device.data.decoding import MOST_FILE_BYTES
from edgeresnet.device.data.folder import FolderDataset
from edgeresnet.device.data.listing import suffix_of
from edgeresnet.device.data.shards.index import (
    MOST_RECORD_BYTES,
    ShardEntry,
    ShardFile,
    check_record,
    record_path,
)
from edgeresnet.errors import EdgeResNetError, InputError
from edgeresnet.files.hashes import sha256_bytes, sha256_file
from edgeresnet.files.writing import atomic, write_text
from edgeresnet.untrusted import MIB, opened, parse_record, read_bytes


@dataclass(frozen=True)
class ShardPlan:
    """What one shard will have.

    Attributes:
        path: of the tar.
        dataset: all images of its part.
        first: place of its first image among them, after which the keys count on.
        images: how many it has.
    """

    path: Path
    dataset: FolderDataset
    first: int
    images: int

    @property
    def places(self) -> range:
        """Of its images in the data set."""
        return range(self.first, self.first + self.images)

    @property
    def names(self) -> list[str]:
        """What its images are called in the folder."""
        return [self.dataset.file_name(place) for place in self.places]

    @property
    def labels(self) -> list[int]:
        """Of its images."""
        return [int(self.dataset.labels[place]) for place in self.places]


class _Checked:
    """A file that counts while it is written: SHA-256 of the whole, CRC of each record."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.sha256 = hashlib.sha256()
        self.crc32: list[int] = []
        self.bytes = 0

    def begin_record(self) -> int:
        """From here on, until the next record, one CRC is counted; its place is given back."""
        self.crc32.append(0)
        return self.bytes

    def write(self, content: bytes) -> None:
        self.sha256.update(content)
        self.crc32[-1] = zlib.crc32(content, self.crc32[-1])
        self.bytes += len(content)
        self._file.write(content)


def write_shard(plan: ShardPlan) -> ShardEntry:
    """Write a shard and the file beside it, each whole or not at all.

    Each image is there byte for byte as in the folder, as ``000000123.jpg``, and the number of its
    class as ``000000123.cls``. Owner and time are left out: the same images make the same shard.

    Raises:
        InputError: an image cannot be read, or is larger than any that is.
        OSError: the disk takes no more.
    """
    with atomic(plan.path) as partial:
        with partial.open("wb") as file:
            record = _written(plan, _Checked(file))
        # Before the shard has its name: none of ours ever lies there without.
        write_text(json.dumps(record) + "\n", record_path(plan.path))
    return _entry(plan, record)


def _written(plan: ShardPlan, file: _Checked) -> ShardFile:
    """Write what is in a shard, and tell it."""
    record: ShardFile = {
        "schema": 1, "sha256": "", "bytes": 0, "names": plan.names, "labels": plan.labels,
        "offsets": [], "sizes": [], "crc32": file.crc32, "images_sha256": [], "modified_ns": [],
    }  # fmt: skip
    for place, name, label in zip(plan.places, plan.names, plan.labels, strict=True):
        start = file.begin_record()
        content, modified_ns = _read(plan.dataset.paths[place])
        _add(file, f"{place:09d}{suffix_of(name)}", content)
        if label != UNLABELLED:
            _add(file, f"{place:09d}.cls", str(label).encode())
        record["offsets"].append(start + tarfile.BLOCKSIZE)
        record["sizes"].append(len(content))
        record["images_sha256"].append(sha256_bytes(content))
        record["modified_ns"].append(modified_ns)
    # A tar ends in two blocks of zeros, and in a whole record of twenty.
    ending = 2 * tarfile.BLOCKSIZE
    file.write(bytes(ending + -(file.bytes + ending) % tarfile.RECORDSIZE))
    return {**record, "sha256": file.sha256.hexdigest(), "bytes": file.bytes}


def kept_shard(plan: ShardPlan) -> ShardEntry | str:
    """The shard that lies there already, where it is whole and of these very images; else why not.

    An image counts as the same while its file has the size and time that it was read with.
    """
    try:
        content = read_bytes(record_path(plan.path), "index", most_bytes=MOST_RECORD_BYTES)
        record = parse_record(content, ShardFile)
        check_record(record, len(plan.dataset.classes))
        if not _is_whole(plan.path, record):
            return "is damaged: its checksum is another"
        if not _is_of(plan, record):
            return "is of other images, or of some that were changed as it was written"
    except (OSError, ValueError, EdgeResNetError):
        return "is not there, or what lies beside it is damaged"
    return _entry(plan, record)


def _is_of(plan: ShardPlan, record: ShardFile) -> bool:
    """Whether a shard was written of these images, as they are now."""
    if record["names"] != plan.names or record["labels"] != plan.labels:
        return False
    states = (plan.dataset.paths[place].stat() for place in plan.places)
    then = zip(record["sizes"], record["modified_ns"], strict=True)
    return [(state.st_size, state.st_mtime_ns) for state in states] == list(then)


def _is_whole(path: Path, record: ShardFile) -> bool:
    if path.is_symlink() or path.stat().st_size != record["bytes"]:
        return False
    return sha256_file(path) == record["sha256"]


def _read(path: Path) -> tuple[bytes, int | None]:
    """An image as it lies on the disk, and when it was changed last; None: too lately to know."""
    with opened(path, "image") as file:
        before = os.fstat(file.fileno())
        if before.st_size > MOST_FILE_BYTES:
            raise InputError(
                f"image {path} has more than {MOST_FILE_BYTES // MIB} MiB", "make it smaller."
            )
        content = file.read(before.st_size + 1)
        after = os.fstat(file.fileno())
    settled = before.st_mtime_ns < time.time_ns() - CLOCK_STEP_NS
    if len(content) != after.st_size or before.st_mtime_ns != after.st_mtime_ns:
        raise InputError(f"image {path} changes while it is read", "wait until it is written.")
    return content, before.st_mtime_ns if settled else None


def _add(checked: _Checked, name: str, content: bytes) -> None:
    info = tarfile.TarInfo(name)
    info.size = len(content)
    checked.write(info.tobuf(tarfile.USTAR_FORMAT))
    checked.write(content)
    checked.write(bytes(-len(content) % tarfile.BLOCKSIZE))


def _entry(plan: ShardPlan, record: ShardFile) -> ShardEntry:
    return {
        "name": plan.path.name,
        "sha256": record["sha256"],
        "bytes": record["bytes"],
        "images": plan.images,
        "record_sha256": sha256_file(record_path(plan.path)),
    }
