"""Files: where they are kept, written whole or not at all, locked, and known by their hashes."""

from __future__ import annotations

import hashlib
import json
import math
import sys
from collections.abc import Iterator, Mapping
from contextlib import contextmanager
from pathlib import Path
from typing import Any

import platformdirs

from edgeresnet.errors import InputError

# Of a file that is read piece by piece.
CHUNK_BYTES = 1 << 20


def cache_dir() -> Path:
    """The folder of ours in the user's cache; whoever writes into it makes it.

    On Linux ``$XDG_CACHE_HOME/edgeresnet``, or ``~/.cache/edgeresnet``; elsewhere where the system
    has its caches.
    """
    return platformdirs.user_cache_path("edgeresnet", appauthor=False)


def from_home(path: str | Path) -> Path:
    """The path with a leading ``~`` as the home folder.

    Raises:
        InputError: ``~NAME``, and there is no such user here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path} begins with the home folder of a user who is not here",
            "give the path from the root.",
        ) from error


def sha256_file(path: Path) -> str:
    """SHA-256 of a file's content, 64 hex digits."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(CHUNK_BYTES):
            digest.update(chunk)
    return digest.hexdigest()


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of some bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


@contextmanager
def atomic(path: Path) -> Iterator[Path]:
    """Lets a file be written whole or not at all.

    Yields:
        A path beside ``path`` to write to. At the end of the block what lies there takes the place
        of ``path``; when the block raises it is removed, and ``path`` is as it was.
    """
    partial = path.with_name(f".{path.name}.partial")
    try:
        yield partial
        partial.replace(path)
    finally:
        partial.unlink(missing_ok=True)


def write_bytes(content: bytes, path: Path) -> None:
    """Write a file whole or not at all."""
    with atomic(path) as partial:
        partial.write_bytes(content)


def write_text(text: str, path: Path) -> None:
    """Write a file, in UTF-8, whole or not at all.

    A file name's byte that is no UTF-8 stands as ``\\udc..``, which JSON reads back.
    """
    with atomic(path) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A block in which no other process is that holds the lock of the same path.

    The lock is a file beside ``path``, whose folder is made; it is free again when its holder ends,
    however it ends.

    Raises:
        OSError: the folder cannot be written.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}.lock")):
        yield


def write_json(result: Mapping[str, Any], target: str | Path) -> None:
    """Write a result whole or not at all; ``-`` is stdout, and ``~`` the home folder.

    What has no finite value is null.

    Raises:
        InputError: the file cannot be written.
    """
    text = json.dumps(_finite(result), indent=2, ensure_ascii=False) + "\n"
    if str(target) == "-":
        sys.stdout.write(text.encode(errors="backslashreplace").decode())
        return
    path = from_home(target)
    try:
        write_text(text, path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", "give another --json."
        ) from error


def _finite(value: Any) -> Any:
    """JSON knows no NaN: what has no value is null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
