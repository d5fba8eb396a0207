"""What is in a shard that anybody wrote: its headers are read, and nothing is unpacked.

Python's own tarfile reads each header. Its loop over the members is not used: that takes a damaged
header for the end.
"""

from __future__ import annotations

import os
import tarfile
from collections.abc import Iterator
from pathlib import Path
from typing import BinaryIO, NamedTuple

import numpy as np

from edgeresnet.device.data.dataset import UNLABELLED
from edgeresnet.device.data.decoding import MOST_FILE_BYTES
from edgeresnet.device.data.file_kinds import check_is_whole
from edgeresnet.device.data.listing import IMAGE_SUFFIXES, LeftOut, is_junk
from edgeresnet.device.data.shards.records import BLOCK, MOST_CLASSES, RECORD, ShardContent
from edgeresnet.errors import InputError
from edgeresnet.untrusted import MIB, opened, short

FIX = "write the shards again with edgeresnet shard, or take this one out."
# Of a long name, or what else stands in a header that takes more than a block.
MOST_HEADER_BYTES = MIB
MOST_LABEL_BYTES = 64
KINDS = {
    tarfile.LNKTYPE: "a link", tarfile.SYMTYPE: "a link", tarfile.CHRTYPE: "a device",
    tarfile.BLKTYPE: "a device", tarfile.FIFOTYPE: "a pipe",
}  # fmt: skip


class _Sample(NamedTuple):
    """One image with its label."""

    key: str
    suffix: str
    start: int
    offset: int
    size: int
    label: int


class _Bounded:
    """An open shard, of which no header is read that claims to be larger than any is."""

    def __init__(self, file: BinaryIO) -> None:
        self._file = file
        self.seek, self.tell, self.name = file.seek, file.tell, file.name

    def read(self, size: int = -1) -> bytes:
        if not 0 <= size <= MOST_HEADER_BYTES:
            raise tarfile.ReadError(f"a header claims {size} bytes")
        return self._file.read(size)


def scan(path: Path) -> ShardContent:
    """The images of one shard, in its order, called ``SHARD/KEY.jpg``.

    A key's image and its ``.cls``, the number of its class, follow each other; what else it has is
    left out, whatever its suffix: nothing is decoded but images and numbers.

    Args:
        path: an uncompressed tar.

    Raises:
        InputError: it is none, is damaged or cut off; or it has a member that is no regular file,
            that has a name out of the shard or twice the same, or claims more than there is; or a
            key has two images or no number.
    """
    check_is_whole(path, "a tar shard", "unpack it: a shard is an uncompressed tar.")
    left_out = LeftOut()
    with opened(path, "shard", follow=False) as file:
        samples = _samples(path, file, left_out)
    table = np.zeros(len(samples), RECORD)
    for name in ("start", "offset", "size"):
        table[name] = [getattr(sample, name) for sample in samples]
    table["bytes"] = table["offset"] - table["start"] + table["size"]
    labels = np.array([sample.label for sample in samples], np.int64)
    if samples and (labels == UNLABELLED).any() and (labels != UNLABELLED).any():
        odd = samples[int(np.flatnonzero(labels == UNLABELLED)[0])]
        raise _fault(path, odd.key + odd.suffix, "has no label: no .cls, as others have")
    names = [f"{path.name}/{sample.key}{sample.suffix}" for sample in samples]
    return ShardContent(path, table, labels, names, tuple(left_out.lines()))


def _samples(path: Path, file: BinaryIO, left_out: LeftOut) -> list[_Sample]:
    samples: list[_Sample] = []
    members: set[str] = set()
    ended: set[str] = set()
    key = None
    for info in _members(path, file):
        name = _checked_name(path, info)
        if name in members:
            raise _fault(path, name, "is there twice")
        members.add(name)
        folder, slash, base = name.rpartition("/")
        if is_junk(base) or "__MACOSX" in folder:
            continue
        stem, dot, rest = base.partition(".")
        own, suffix = f"{folder}{slash}{stem}", f"{dot}{rest}".lower()
        if own != key:
            if own in ended:
                raise _fault(path, name, f"comes apart from what else is of the key {short(own)}")
            ended.add(own)
            key, label, image = own, UNLABELLED, False
        if suffix == ".cls":
            label = _label(path, name, info, file)
            if image:
                samples[-1] = samples[-1]._replace(label=label)
        elif suffix in IMAGE_SUFFIXES:
            if image:
                raise _fault(path, name, "is a second image of its key")
            image = True
            samples.append(_sample(path, name, own, info, label))
        else:
            left_out.add(f"members that are not read ({short(suffix)})", f"{path.name}/{name}")
    return samples


def _sample(path: Path, name: str, key: str, info: tarfile.TarInfo, label: int) -> _Sample:
    if info.size > MOST_FILE_BYTES:
        raise _fault(path, name, f"has more than {MOST_FILE_BYTES // MIB} MiB")
    # The suffix as it is written.
    return _Sample(key, name[len(key) :], info.offset, info.offset_data, info.size, label)


def _members(path: Path, file: BinaryIO) -> Iterator[tarfile.TarInfo]:
    """The regular files in a shard.

    Raises:
        InputError: a header is damaged, a member is of another kind, or the shard is cut off.
    """
    total = os.fstat(file.fileno()).st_size
    try:
        archive = tarfile.open(fileobj=_Bounded(file), mode="r:", errorlevel=2)  # type: ignore[call-overload]  # noqa: SIM115 - the file is closed by its owner
        place = 0
        while True:
            file.seek(place)
            block = file.read(BLOCK)
            if len(block) == BLOCK and not any(block):
                return
            if len(block) < BLOCK:
                raise _cut_off(path, place)
            file.seek(place)
            archive.offset = place
            info = tarfile.TarInfo.fromtarfile(archive)
            _check_member(path, info, total)
            if info.isfile():
                yield info
            if archive.offset <= place:
                raise tarfile.ReadError("a header leads back")
            place = archive.offset
    except (tarfile.TarError, ValueError, OverflowError, RecursionError, EOFError) as error:
        raise InputError(
            f"shard {path} is damaged, or no tar: {short(str(error) or type(error).__name__)}", FIX
        ) from error


def _check_member(path: Path, info: tarfile.TarInfo, total: int) -> None:
    if info.issparse() or not (info.isfile() or info.isdir()):
        kind = KINDS.get(info.type, "no regular file")
        raise _fault(path, info.name, f"is {kind}")
    if info.size < 0 or info.offset_data + info.size > total:
        raise _fault(path, info.name, f"claims {info.size} bytes, of which the shard has fewer")


def _checked_name(path: Path, info: tarfile.TarInfo) -> str:
    """The member's name, without the ``./`` that tar puts before it.

    Raises:
        InputError: it leads out of the shard, or has signs that are in no name.
    """
    name = info.name
    while name.startswith("./"):
        name = name[2:]
    odd = not name or name.startswith("/") or {"..", ""} & {*name.split("/")}
    if odd or "\\" in name or any(ord(sign) < 32 for sign in name):
        raise _fault(path, info.name, "has a name that leads out of the shard, or is none")
    return name


def _label(path: Path, name: str, info: tarfile.TarInfo, file: BinaryIO) -> int:
    file.seek(info.offset_data)
    text = file.read(min(info.size, MOST_LABEL_BYTES + 1)).strip()
    if not (text.isdigit() and len(text) < 10):
        raise _fault(path, name, f"is no number of a class: {short(text.decode('latin-1'))}")
    label = int(text)
    if label >= MOST_CLASSES:
        raise _fault(path, name, f"is {label}, and {MOST_CLASSES} classes are the most")
    return label


def _cut_off(path: Path, place: int) -> InputError:
    return InputError(
        f"shard {path} is cut off at byte {place}: a tar ends in a block of zeros",
        "copy it again, or write the shards again with edgeresnet shard.",
    )


def _fault(path: Path, member: str, what: str) -> InputError:
    return InputError(f"shard {path}: {short(member)} {what}", FIX)
