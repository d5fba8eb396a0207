"""Files: where they are and may be kept, written whole or not at all, locked, and their hashes."""

from __future__ import annotations

import errno
import hashlib
import json
import math
import os
import re
import secrets
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any, BinaryIO

import platformdirs

from edgeresnet.errors import InputError

MOST_SHOWN = 120
# Of a file that is read piece by piece.
CHUNK_BYTES = 1 << 20
# Of a file that is not whole yet, and when it is taken for one whose writer was killed.
PARTIAL, LEFT_AFTER_S = ".partial", 3600


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
    with path.open("rb") as file:
        return sha256_open(file)


def sha256_open(file: BinaryIO) -> str:
    """SHA-256 of what is left to read of an open file, 64 hex digits."""
    digest = hashlib.sha256()
    while chunk := file.read(CHUNK_BYTES):
        digest.update(chunk)
    return digest.hexdigest()


def sha256_bytes(content: bytes) -> str:
    """SHA-256 of some bytes, 64 hex digits."""
    return hashlib.sha256(content).hexdigest()


def in_place(path: Path) -> Path:
    """Where a file or folder of this name lies: a link's target, which is written and not the link.

    Raises:
        InputError: the link leads nowhere.
        OSError: it leads in a circle.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path} is a link to {path.readlink()}, which is not there", "remove the link."
        )
    return Path(os.path.realpath(path)) if path.is_symlink() else path


@contextmanager
def atomic(path: Path, *, follow: bool = True) -> Iterator[Path]:
    """Lets a file be written whole or not at all.

    Args:
        path: of the file.
        follow: False replaces a link and leaves alone what it leads to, as in a stranger's folder.

    Yields:
        A path beside ``path`` to write to, of a name that nobody knows before: an empty file, made
        just now, through no link. At the end of the block what lies there takes the place of
        ``path``, or of what it links to; when the block raises it is removed, and ``path`` is as it
        was.
    """
    place = in_place(path) if follow else path
    _remove_left(place)
    partial = place.with_name(f".{place.name}.{secrets.token_hex(4)}{PARTIAL}")
    # Windows has no such links as could be followed here, and lacks the flag.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(partial, flags, 0o666))
    try:
        yield partial
        partial.replace(place)
    finally:
        partial.unlink(missing_ok=True)


def _remove_left(place: Path) -> None:
    """Remove what killed processes left of this file long ago."""
    ours = re.compile(rf"\.{re.escape(place.name)}(\.[0-9a-f]{{8}})?{re.escape(PARTIAL)}")
    # Whoever writes the file is told what is wrong with its folder.
    with suppress(OSError), os.scandir(place.parent) as entries:
        for entry in [entry for entry in entries if ours.fullmatch(entry.name)]:
            if entry.stat(follow_symlinks=False).st_mtime < time.time() - LEFT_AFTER_S:
                Path(entry.path).unlink()


def write_bytes(content: bytes, path: Path, *, follow: bool = True) -> None:
    """Write a file whole or not at all; see `atomic`."""
    with atomic(path, follow=follow) as partial:
        partial.write_bytes(content)


def write_text(text: str, path: Path, *, follow: bool = True) -> None:
    """Write a file, in UTF-8, whole or not at all; see `atomic`.

    A file name's byte that is no UTF-8 stands as ``\\udc..``, which JSON reads back.
    """
    with atomic(path, follow=follow) as partial:
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
    to_stdout = str(target) == "-"
    # As JSON's own escapes stand what another encoding lacks, and what would steer a terminal.
    plain = to_stdout and (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    text = json.dumps(_finite(result), indent=2, ensure_ascii=plain) + "\n"
    signs = (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    text = "".join(signs).replace("\x7f", "\\u007f")
    if to_stdout:
        sys.stdout.write(text)
        return
    path = from_home(target)
    with writing(path, "--json"):
        if is_stream(path):
            path.write_text(text, encoding="utf-8")
            return
        path.parent.mkdir(parents=True, exist_ok=True)
        write_text(text, path)


def _finite(value: Any) -> Any:
    """JSON knows no NaN: what has no value is null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value


@contextmanager
def writing(path: Path, option: str = "-o") -> Iterator[None]:
    """Say what a file system has against writing there, as an `InputError`.

    Args:
        path: where the block writes.
        option: by which the user gives another place.
    """
    try:
        yield
    # A path with a NUL is a ValueError.
    except (OSError, ValueError) as error:
        reason = getattr(error, "strerror", None) or str(error)
        fixes = {
            errno.ENAMETOOLONG: "give a shorter name.",
            errno.ENOSPC: f"make room there, or give another {option}.",
            errno.EDQUOT: f"make room there, or give another {option}.",
        }
        raise InputError(
            f"{option} {shortened(path)} cannot be written: {reason}",
            fixes.get(getattr(error, "errno", 0), f"give another {option}, where you may write."),
        ) from error


def shortened(path: str | Path) -> str:
    """A path for a message, which nobody reads to the end of 4,000 characters."""
    text = str(path)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def is_stream(path: Path) -> bool:
    """Whether this is a device or a pipe, such as /dev/null: written into, and never replaced."""
    try:
        regular = path.is_file() or path.is_dir()
        return path.exists() and (not regular or path.is_relative_to("/dev"))
    except (OSError, ValueError):
        return False


def check_output_file(path: Path, option: str, example: str) -> None:
    """Refuse an output file before the work, not after it: tried out, and nothing is left of it.

    Args:
        path: the file, which need not exist, nor its folder.
        option: by which it was given.
        example: of such a file, for the message.

    Raises:
        InputError: it cannot be written, or something else than a file is there.
    """
    with writing(path, option):
        place = in_place(path)
        if place.is_dir():
            raise InputError(f"{option} {path} is a folder", f"give a file, such as {example}.")
        if place.exists() and not place.is_file():
            raise InputError(f"{option} {path} is no regular file", f"give one, such as {example}.")
        _try_out(place, option)


def check_output_folder(path: Path, option: str) -> None:
    """Refuse an output folder before the work, not after it.

    Raises:
        InputError: it cannot be made or replaced, or a file is there.
    """
    with writing(path, option):
        place = in_place(path)
        if place.exists() and not place.is_dir():
            raise InputError(f"{option} {path} is a file", "give a folder, or a new name.")
        here = Path.cwd()
        if place.exists() and Path(os.path.realpath(place)) in (here, *here.parents):
            raise InputError(
                f"{option} {path} holds the folder that you are in", "give a folder of its own."
            )
        if os.path.ismount(place):
            raise InputError(
                f"{option} {path} is where a file system is mounted, and cannot be replaced",
                f"give a folder in it, such as {option} {path / 'new'}.",
            )
        _try_out(place, option)


def _try_out(place: Path, option: str) -> None:
    """Make the folders of a file, and a file with the longest name that will stand beside it."""
    parents = place.absolute().parents
    if (beneath := next((p for p in parents if p.exists()), None)) and not beneath.is_dir():
        raise InputError(
            f"{option} {shortened(place)}: {beneath} is a file", f"give another {option}."
        )
    made: list[Path] = []
    # As a resume file of this output that is being written.
    trial = place.with_name(f"..{place.name}.resume.{secrets.token_hex(4)}{PARTIAL}")
    try:
        for folder in reversed(parents):
            if not folder.exists():
                folder.mkdir()
                made.append(folder)
        trial.touch(exist_ok=False)
        trial.unlink()
    finally:
        for folder in reversed(made):
            folder.rmdir()
