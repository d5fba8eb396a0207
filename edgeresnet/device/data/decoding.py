"""Image files to pixels: a few formats, bounded in size, and one large image at a time."""

from __future__ import annotations

import os
import threading
from collections.abc import Callable, Iterator
from contextlib import contextmanager
from functools import cache
from io import BytesIO
from pathlib import Path
from typing import Any, BinaryIO

from PIL import Image, ImageOps, UnidentifiedImageError

from edgeresnet.device.data.preprocess import LARGE_PIXELS, check_values
from edgeresnet.errors import InputError
from edgeresnet.untrusted import MIB, opened, visible

# Pillow reads more, and goes by the content: what calls itself .jpg could start Ghostscript.
FORMATS = ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM", "AVIF")
# The largest camera has 151 million; of so many Pillow and the steps behind it take 1.3 GiB.
MOST_PIXELS = 160_000_000
# Some decoders read the whole file first.
MOST_FILE_BYTES = 1024 * MIB
READ_WHOLE = 4 * MIB
ORIENTATION = 0x0112

_large = threading.Lock()


class _Turn(threading.local):
    """What this thread holds."""

    blocks = 0
    large = False


_turn = _Turn()


@contextmanager
def turn() -> Iterator[None]:
    """A block that decodes an image and is done with it: of large ones only one is in memory.

    Many threads decode at once; as many bombs as there are threads would take all memory.
    """
    _turn.blocks += 1
    try:
        yield
    finally:
        _turn.blocks -= 1
        if not _turn.blocks and _turn.large:
            _turn.large = False
            _large.release()


def decode(path: Path, look: Callable[[Image.Image], None]) -> Image.Image:
    """The first frame of a file, upright as its EXIF says.

    Args:
        path: of a regular file.
        look: is shown the image as it lies in the file.

    Raises:
        InputError: it is none of `FORMATS`, damaged, too large, or of pixels that nobody knows.
    """
    with turn(), opened(path, "image") as file:
        size = os.fstat(file.fileno()).st_size
        if size > MOST_FILE_BYTES:
            raise InputError(f"it has more than {MOST_FILE_BYTES // MIB} MiB", "make it smaller.")
        # Photographs are read in one go: piece by piece takes a tenth of the decoding more.
        return decode_open(BytesIO(file.read(size)) if size <= READ_WHOLE else file, look)


def decode_open(file: BinaryIO, look: Callable[[Image.Image], None]) -> Image.Image:
    """`decode`, of what lies in a file that is open, or in memory; within its caller's `turn`.

    Raises:
        InputError: as `decode`.
    """
    with _refused_if_damaged(), Image.open(file, formats=formats()) as image:
        _check_size(image)
        image.load()
        check_values(image)
        look(image)
        rotated = image.getexif().get(ORIENTATION, 1) not in (0, 1)
        return ImageOps.exif_transpose(image) if rotated else image


@contextmanager
def telling_which(where: Callable[[], object]) -> Iterator[None]:
    """A block that decodes: its errors say which image is not readable, and how to go on.

    Args:
        where: the image lies; asked only then.
    """
    try:
        yield
    except InputError as error:
        raise InputError(
            f"{where()} is not a readable image: {error.cause}",
            f"{error.fix.rstrip('.')}, or leave such files out with --skip-broken.",
        ) from error


def _check_size(image: Image.Image) -> None:
    """Before memory is taken for what a few bytes may declare."""
    pixels = image.width * image.height
    if pixels > MOST_PIXELS:
        raise InputError(
            f"it is {image.width} x {image.height}, more than {MOST_PIXELS // 1_000_000} million "
            "pixels",
            "make it smaller.",
        )
    if pixels > LARGE_PIXELS and not _turn.large:
        _large.acquire()
        _turn.large = True
        _use_large_blocks()


@cache
def _use_large_blocks() -> None:
    """Have what a large image took given back to the system.

    Pieces of 1 MiB, Pillow's usual ones, stay with the thread that took them; from 32 MiB up the C
    library takes each piece from the system, and returns it.
    """
    core: Any = vars(Image)["core"]  # it has no types
    core.set_block_size(64 * MIB)


@contextmanager
def _refused_if_damaged() -> Iterator[None]:
    """The one place where what Pillow raises of a damaged file becomes a message.

    Its decoders raise whatever their code runs into: a list of types was never whole.
    """
    try:
        yield
    except InputError:
        raise
    except UnidentifiedImageError as error:
        raise InputError(
            f"it is none of {', '.join(FORMATS)}", "mend or remove the file."
        ) from error
    except Exception as error:
        cause = (str(error).splitlines() or [type(error).__name__])[0]
        told = visible(cause, kept="") or type(error).__name__
        raise InputError(told, "mend or remove the file.") from error


@cache
def formats() -> tuple[str, ...]:
    """Those of `FORMATS` that this Pillow knows."""
    Image.init()
    return tuple(name for name in FORMATS if name in Image.OPEN)
