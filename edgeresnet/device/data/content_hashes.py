"""What is in the images of a data set, as one hash; each file is read once and then remembered.

What may be reused (a stage of a run, a resume file) is decided by content: names and labels stay
the same when somebody replaces the images. No path is in the hash, so a folder may move.
"""

from __future__ import annotations

import hashlib
import os
import sqlite3
import time
from collections.abc import Callable, Iterator, Sequence
from concurrent.futures import ThreadPoolExecutor
from contextlib import closing, suppress
from pathlib import Path
from typing import TYPE_CHECKING, TypeVar

import numpy as np

from edgeresnet.device.data.folder import FolderDataset
from edgeresnet.device.data.shards.dataset import ShardDataset
from edgeresnet.device.data.standard import ArrayDataset
from edgeresnet.device.machine.cpu import usable_cores
from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_file
from edgeresnet.files.places import cache_dir
from edgeresnet.progress import OnStep, silent

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.data.dataset import Dataset

T = TypeVar("T")
CACHE = "content-hashes.sqlite"
TABLE = (
    "CREATE TABLE IF NOT EXISTS hashes (path BLOB PRIMARY KEY, size INTEGER, mtime_ns INTEGER, "
    "sha256 BLOB) WITHOUT ROWID"
)
# Files in one query (SQLite takes 999 values, whatever its version) and in one thread's task.
CHUNK = 500
# A file that is written again within the clock's step keeps its time, so the newest ones are not
# remembered. FAT has the coarsest clock.
CLOCK_STEP_NS = 2_000_000_000
MANY = 1000


def content_fingerprint(dataset: Dataset, on_step: OnStep = silent) -> str:
    """Which images with which labels and class names, in their order; 64 hex digits.

    Args:
        dataset: image files are hashed as they lie on the disk, and read again only if their path,
            size or time differs from what the user's cache remembers; arrays are hashed whole; of
            anything else the decoded images are.
        on_step: told when many files have to be read.

    Raises:
        InputError: a file is gone or cannot be read.
    """
    digest = hashlib.sha256()
    for name in dataset.classes:
        digest.update(hashlib.sha256(os.fsencode(name)).digest())
    digest.update(np.ascontiguousarray(dataset.labels, np.int64).tobytes())
    if isinstance(dataset, FolderDataset):
        for content in file_hashes(dataset.paths, on_step):
            digest.update(content)
    elif isinstance(dataset, ShardDataset):
        for content in _shard_contents(dataset, on_step):
            digest.update(content)
    elif isinstance(dataset, ArrayDataset):
        digest.update(str(dataset.pixels.shape).encode())
        digest.update(np.ascontiguousarray(dataset.pixels).tobytes())
    else:
        for index in range(len(dataset)):
            pixels = np.asarray(dataset.image(index))
            digest.update(str(pixels.shape).encode())
            digest.update(pixels.tobytes())
    return digest.hexdigest()


def _shard_contents(dataset: ShardDataset, on_step: OnStep) -> Iterator[bytes]:
    """What tells the images of shards: of ours each image's hash, as of a folder's files.

    Of shards without an index: those of whole shards, and where the images lie in them.
    """
    if dataset.checked:
        yield from (dataset.image_sha256(index) for index in range(len(dataset)))
        return
    yield from file_hashes(dataset.files, on_step)
    for table in dataset.tables():
        yield table.tobytes()


def image_hashes(
    dataset: FolderDataset | ShardDataset, places: Sequence[int] | NDArray[np.int64]
) -> Iterator[bytes]:
    """SHA-256 of some images as they lie on the disk, 32 bytes each.

    Raises:
        InputError: a file is gone or cannot be read.
    """
    if isinstance(dataset, ShardDataset):
        return (dataset.image_sha256(place) for place in places)
    return iter(file_hashes(dataset.paths.take(places)))


def image_sizes(dataset: FolderDataset | ShardDataset) -> NDArray[np.int64]:
    """Size of each image as it lies on the disk, in bytes: (n,).

    Raises:
        InputError: a file is gone.
    """
    if isinstance(dataset, ShardDataset):
        return np.concatenate([table["size"].astype(np.int64) for table in dataset.tables()])
    return np.array(file_sizes(dataset.paths), np.int64)


def file_hashes(paths: Sequence[Path], on_step: OnStep = silent) -> list[bytes]:
    """SHA-256 of each file, 32 bytes; those that are not remembered are read by parallel threads.

    Raises:
        InputError: a file is gone or cannot be read.
    """
    keys = [os.fsencode(path.absolute()) for path in paths]
    states = _in_parallel(_state, paths)
    known = _remembered(keys)
    wanted = [i for i, key in enumerate(keys) if known.get(key, ())[:2] != states[i]]
    if len(wanted) > MANY:
        on_step(f"reading {len(wanted)} images once, to know if they ever change")
    settled = time.time_ns() - CLOCK_STEP_NS
    contents = _in_parallel(_sha256, [paths[i] for i in wanted])
    after = _in_parallel(_state, [paths[i] for i in wanted])
    read = dict(zip(wanted, contents, strict=True))
    # What changed while it was read, or a moment before, may change again unseen.
    _remember([
        (keys[i], *states[i], read[i])
        for i, state in zip(wanted, after, strict=True)
        if state == states[i] and state[1] < settled
    ])  # fmt: skip
    return [read[i] if i in read else known[key][2] for i, key in enumerate(keys)]


def file_sizes(paths: Sequence[Path]) -> list[int]:
    """Size of each file in bytes.

    Raises:
        InputError: a file is gone.
    """
    return [size for size, _ in _in_parallel(_state, paths)]


def _parts(items: Sequence[T]) -> list[Sequence[T]]:
    return [items[start : start + CHUNK] for start in range(0, len(items), CHUNK)]


def _in_parallel(function: Callable[[Path], T], paths: Sequence[Path]) -> list[T]:
    """A call for each path, in parallel threads; some hundred calls are one task."""
    with ThreadPoolExecutor(usable_cores()) as pool:
        parts = pool.map(lambda part: [function(path) for path in part], _parts(paths))
        return [result for part in parts for result in part]


def _state(path: Path) -> tuple[int, int]:
    """(size in bytes, time of the last change in ns)."""
    try:
        status = path.stat()
    except OSError as error:
        raise _unreadable(path, error) from error
    return status.st_size, status.st_mtime_ns


def _sha256(path: Path) -> bytes:
    try:
        return bytes.fromhex(sha256_file(path))
    except OSError as error:
        raise _unreadable(path, error) from error


def _unreadable(path: Path, error: OSError) -> InputError:
    return InputError(
        f"{path} cannot be read: {error.strerror}", "mend or remove the file, then repeat."
    )


def _in_cache(work: Callable[[sqlite3.Connection], T], otherwise: T) -> T:
    """What ``work`` gives on the opened cache; ``otherwise`` where there can be none.

    The files are then read again. A damaged cache is removed. Two processes may use it at once:
    SQLite lets one wait for the other.
    """
    path = cache_dir() / CACHE
    try:
        path.parent.mkdir(parents=True, exist_ok=True)
        with closing(sqlite3.connect(path, timeout=30)) as cache, cache:
            cache.execute(TABLE)
            return work(cache)
    except (OSError, sqlite3.OperationalError):
        # A read-only home folder, a full disk, or another process that holds it for long.
        return otherwise
    except sqlite3.DatabaseError:
        # On a disk that takes no change the files are read again each time.
        with suppress(OSError):
            for suffix in ("", "-journal"):
                path.with_name(path.name + suffix).unlink(missing_ok=True)
        return otherwise


def _remembered(keys: Sequence[bytes]) -> dict[bytes, tuple[int, int, bytes]]:
    """(size, time, hash) of the files that the cache has."""

    def work(cache: sqlite3.Connection) -> dict[bytes, tuple[int, int, bytes]]:
        known: dict[bytes, tuple[int, int, bytes]] = {}
        for part in _parts(keys):
            marks = ",".join("?" * len(part))
            query = f"SELECT path, size, mtime_ns, sha256 FROM hashes WHERE path IN ({marks})"  # noqa: S608 - only question marks are put in
            for path, size, mtime_ns, sha256 in cache.execute(query, part):
                known[path] = size, mtime_ns, sha256
        return known

    return _in_cache(work, {})


def _remember(entries: Sequence[tuple[bytes, int, int, bytes]]) -> None:
    def work(cache: sqlite3.Connection) -> None:
        cache.executemany("INSERT OR REPLACE INTO hashes VALUES (?, ?, ?, ?)", entries)

    if entries:
        _in_cache(work, None)
