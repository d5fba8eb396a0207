"""How many bytes a file has, as it is and compressed."""

from __future__ import annotations

import zlib
from pathlib import Path

from edgeresnet.files.hashes import CHUNK_BYTES


def compressed_bytes(path: Path) -> int:
    """Bytes that zlib makes of a file at its usual level, as zip and gzip do; in flat memory."""
    compressor, total = zlib.compressobj(), 0
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            total += len(compressor.compress(chunk))
    return total + len(compressor.flush())
