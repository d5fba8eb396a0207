"""`golden.npz`: what it must hold is known from the manifest, and nothing else is unpacked."""

from __future__ import annotations

import zipfile
import zlib
from collections.abc import Iterator
from contextlib import contextmanager
from pathlib import Path
from tokenize import TokenError
from typing import TYPE_CHECKING, Any, BinaryIO

import numpy as np

from edgeresnet.errors import InputError
from edgeresnet.untrusted import opened

if TYPE_CHECKING:
    from numpy.typing import NDArray

# Of all arrays: 3,500 images of 224 px, or 10 of the largest size.
MOST_BYTES = 512 << 20
# What a zip file of few members ends with: its directory, and where that is.
END, END_BYTES, LOCATOR, LOCATOR_BYTES = b"PK\x05\x06", 22, b"PK\x06\x07", 20
MOST_OF_DIRECTORY, MOST_OF_HEADER = 1024, 512
NUMBERS = ("no", "one", "two", "three", "four")
# What Python's reader of zip files and numpy's of headers raise for other content.
UNREADABLE = (
    zipfile.BadZipFile, zlib.error, EOFError, NotImplementedError, RuntimeError, ValueError, OSError
)  # fmt: skip


def read_golden(
    path: Path, image_size: int, classes: int, columns: int = 0
) -> tuple[NDArray[np.uint8], NDArray[np.float32]]:
    """Images (n, H, W, 3) uint8 and the logits (n, classes) float32 they must give.

    Args:
        path: of the file.
        image_size: H and W.
        classes: how many there are; 0: the bundle gives no logits.
        columns: of the features' values, which `read_features` reads; 0: there are none.

    Raises:
        InputError: it is no such file.
    """
    with _stored(path, classes, columns) as stored:
        images = _array(stored, "images", (image_size, image_size, 3), "uint8")
        if not classes:
            return images, np.zeros((len(images), 0), np.float32)
        logits = _array(stored, "logits", (classes,), "float32")
        if len(images) != len(logits):
            raise ValueError(f"it has {len(images)} images and logits of {len(logits)}")
        if not np.isfinite(logits).all():
            raise ValueError("its logits are not all finite")
    return images, logits


def read_features(
    path: Path, images: int, classes: int, columns: int
) -> tuple[NDArray[np.float32], NDArray[np.float32]]:
    """Values (n, columns) and their bounds (columns,), both float32.

    Args:
        path: of the file.
        images: how many it has.
        classes: as in `read_golden`.
        columns: as in `read_golden`.

    Raises:
        InputError: it is no such file.
    """
    with _stored(path, classes, columns) as stored:
        values = _array(stored, "features", (columns,), "float32")
        bounds = _array(stored, "bounds", (columns,), "float32")
        if len(values) != images or len(bounds) != 1:
            raise ValueError(f"it has {images} images and features of {len(values)}")
        if not (np.isfinite(values).all() and np.isfinite(bounds).all() and (bounds >= 0).all()):
            raise ValueError("its features, or their bounds, are not all finite")
    return values, bounds[0]


@contextmanager
def _stored(path: Path, classes: int, columns: int) -> Iterator[zipfile.ZipFile]:
    """The file, opened; what goes wrong in the block is told as its damage."""
    try:
        with opened(path, "golden file", follow=False) as file:
            _check_directory(file, 1 + bool(classes) + 2 * bool(columns))
            with zipfile.ZipFile(file) as stored:
                yield stored
    except UNREADABLE as error:
        raise InputError(f"{path} is damaged: {error}", "copy the bundle again.") from error


def _check_directory(file: BinaryIO, members: int) -> None:
    """Refuse a zip file with other members than these, before all their names are read."""
    file.seek(0, 2)
    size = file.tell()
    if size > MOST_BYTES:
        raise ValueError(f"it is larger than {MOST_BYTES >> 20} MiB")
    file.seek(max(0, size - END_BYTES - LOCATOR_BYTES))
    tail = file.read()
    end = tail[-END_BYTES:]
    large = tail[:-END_BYTES].startswith(LOCATOR)
    count, length = (int.from_bytes(end[at : at + n], "little") for at, n in ((10, 2), (12, 4)))
    if not end.startswith(END) or large or count != members or length > MOST_OF_DIRECTORY:
        raise ValueError(f"it is no zip file of {NUMBERS[members]} arrays")
    file.seek(0)


def _array(stored: zipfile.ZipFile, name: str, shape: tuple[int, ...], dtype: str) -> NDArray[Any]:
    """One array of any length, of which all but its content is looked at first."""
    try:
        info = stored.getinfo(f"{name}.npy")
    except KeyError:
        raise ValueError(f"it has no {name}") from None
    if info.compress_type not in (zipfile.ZIP_STORED, zipfile.ZIP_DEFLATED):
        raise ValueError(f"its {name} are packed in a way that no export packs them")
    with stored.open(info) as member:
        told = _header(member, name)
        if told[1:] != (False, np.dtype(dtype)) or told[0][1:] != shape or not told[0][0]:
            raise ValueError(
                f"its {name} are {told[2]} of shape {told[0]}, not {dtype} of (n, "
                f"{', '.join(map(str, shape))})"
            )
        size = np.dtype(dtype).itemsize * int(np.prod(told[0], dtype=object))
        if size > MOST_BYTES or info.file_size != member.tell() + size:
            raise ValueError(f"its {name} of shape {told[0]} are not {info.file_size} bytes")
        content = member.read(size)
        # At the end the checksum is looked at.
        if len(content) != size or member.read(1):
            raise ValueError(f"its {name} end too early")
    return np.frombuffer(content, dtype).reshape(told[0])


def _header(member: Any, name: str) -> tuple[tuple[int, ...], bool, np.dtype[Any]]:
    """Shape, whether it is in Fortran's order, and type."""
    readers: dict[tuple[int, int], Any] = {
        (1, 0): np.lib.format.read_array_header_1_0, (2, 0): np.lib.format.read_array_header_2_0,
    }  # fmt: skip
    version = np.lib.format.read_magic(member)
    if version not in readers:
        raise ValueError(f"its {name} have a header of version {version}")
    try:
        told: tuple[tuple[int, ...], bool, np.dtype[Any]] = readers[version](
            member, max_header_size=MOST_OF_HEADER
        )
    # numpy reads Python 2's headers by Python's own words.
    except (TypeError, RecursionError, MemoryError, SyntaxError, TokenError) as error:
        raise ValueError(f"its {name} have a header that is none: {error}") from error
    return told
