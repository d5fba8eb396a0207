"""Where each image lies in its shard, and by what it is known to be whole: 68 bytes an image."""

from __future__ import annotations

from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.data.names import Names

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


@dataclass(frozen=True, eq=False)
class ShardRecords:
    """The images of one shard, or of several.

    Attributes:
        files: the shards.
        table: (n,) of `RECORD`.
        labels: (n,) int64; `edgeresnet.device.data.dataset.UNLABELLED` where there are none.
        names: what each image is called.
        checked: whether ``crc32`` and ``sha256`` are known.
        left_out: lines on what is in the shards and is not read.
    """

    files: tuple[Path, ...]
    table: NDArray[Any]
    labels: NDArray[np.int64]
    names: Names
    checked: bool
    left_out: tuple[str, ...] = ()
