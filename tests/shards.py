"""Image folders of known time, shards of them, and tars of any kind."""

from __future__ import annotations

import io
import os
import tarfile
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgeresnet.api.shard import shard
from edgeresnet.settings.sharding import ShardOptions

OLD = (1_000_000_000, 1_000_000_001)
Member = tuple[str | tarfile.TarInfo, bytes]


def photos(root: Path, *, train: int = 5, val: int = 3, size: int = 12) -> Path:
    """``root/train|val/cat|dog/N.png``: noise, so that each image has content of its own."""
    rng = np.random.default_rng(0)
    for part, count in (("train", train), ("val", val)):
        for name in ("cat", "dog"):
            folder = root / part / name
            folder.mkdir(parents=True)
            for i in range(count):
                pixels = rng.integers(0, 256, (size, size, 3), dtype=np.uint8)
                Image.fromarray(pixels).save(folder / f"{i}.png")
                os.utime(folder / f"{i}.png", OLD)
    return root


def sharded(root: Path, output: Path, *, each: int = 4) -> Path:
    """The folder as shards of so many images."""
    shard(output, root, ShardOptions(images_per_shard=each, threads=2))
    return output


def png(value: int = 0) -> bytes:
    """A small image in one grey."""
    file = io.BytesIO()
    Image.new("RGB", (8, 8), (value,) * 3).save(file, "PNG")
    return file.getvalue()


def samples(count: int, first: int = 0) -> list[Member]:
    """So many images of two classes, as webdataset has them."""
    return [
        member
        for i in range(first, first + count)
        for member in ((f"{i:04d}.png", png(i)), (f"{i:04d}.cls", str(i % 2).encode()))
    ]


def write_tar(path: Path, members: Sequence[Member], *, mode: str = "w") -> Path:
    """A tar of these names, or headers, and contents."""
    path.parent.mkdir(parents=True, exist_ok=True)
    with tarfile.open(path, mode) as archive:  # type: ignore[call-overload]
        for name, content in members:
            info = tarfile.TarInfo(name) if isinstance(name, str) else name
            if isinstance(name, str):
                info.size = len(content)
            # Of a header on its own nothing follows, whatever it claims.
            archive.addfile(info, io.BytesIO(content) if isinstance(name, str) else None)
    return path


def of_type(name: str, kind: bytes, to: str = "") -> Member:
    """A member that is no regular file."""
    info = tarfile.TarInfo(name)
    info.type, info.linkname = kind, to
    return info, b""
