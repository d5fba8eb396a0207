"""Files written whole or not at all."""

from __future__ import annotations

import errno
import json
import math
import os
import re
import secrets
import shutil
import sys
import time
from collections.abc import Iterator, Mapping
from contextlib import contextmanager, suppress
from pathlib import Path
from typing import Any

from edgeresnet.closing import HALF_WRITTEN
from edgeresnet.errors import EdgeResNetError, InputError, MissingError
from edgeresnet.files.places import from_home, in_place, is_stream, shortened
from edgeresnet.files.syncing import sync_file, sync_folder

# Of a file that is not whole yet, and when it is taken for one whose writer was killed.
PARTIAL, LEFT_AFTER_S = ".partial", 3600
# What a file system says of a disk, or a user's part of it, that takes no more.
NO_ROOM = (errno.ENOSPC, errno.EDQUOT, errno.EFBIG)
# What torch's archives tell of a write that failed, where they drop the file system's own error.
_TORCH_SAYS = ("PytorchStreamWriter", "unexpected pos", "inline_container", "file write failed")


@contextmanager
def atomic(path: Path, *, follow: bool = True, sync: bool = True) -> Iterator[Path]:
    """Lets a file be written whole or not at all, through a loss of power too.

    Args:
        path: of the file.
        follow: False replaces a link and leaves alone what it leads to, as in a stranger's folder.
        sync: False for what is made again where it is damaged: it is not waited for until the disk
            has it.

    Yields:
        A path beside ``path`` to write to, of a name that nobody knows before: an empty file, made
        just now, through no link. At the end of the block what lies there takes the place of
        ``path``, or of what it links to; when the block raises it is removed, and ``path`` is as it
        was.
    """
    place = in_place(path) if follow else path
    remove_left(place)
    partial = partial_of(place)
    # Windows has no such links as could be followed here, and lacks the flag.
    flags = os.O_WRONLY | os.O_CREAT | os.O_EXCL | getattr(os, "O_NOFOLLOW", 0)
    os.close(os.open(partial, flags, 0o666))
    HALF_WRITTEN.add(partial)
    try:
        yield partial
        if sync:
            sync_file(partial)
        partial.replace(place)
        if sync:
            sync_folder(place.parent)
    finally:
        partial.unlink(missing_ok=True)
        HALF_WRITTEN.discard(partial)


def partial_of(place: Path) -> Path:
    """A name beside ``place``, that nobody knows before, for what is not whole yet."""
    return place.with_name(f".{place.name}.{secrets.token_hex(4)}{PARTIAL}")


def remove_left(place: Path) -> None:
    """Remove what killed processes left of this file or folder long ago."""
    ours = re.compile(rf"\.{re.escape(place.name)}(\.[0-9a-f]{{8}})?{re.escape(PARTIAL)}")
    # Whoever writes the file is told what is wrong with its folder.
    with suppress(OSError), os.scandir(place.parent) as entries:
        for entry in [entry for entry in entries if ours.fullmatch(entry.name)]:
            if entry.stat(follow_symlinks=False).st_mtime < time.time() - LEFT_AFTER_S:
                if entry.is_dir(follow_symlinks=False):
                    shutil.rmtree(entry.path)
                else:
                    Path(entry.path).unlink()


def write_bytes(content: bytes, path: Path, *, follow: bool = True) -> None:
    """Write a file whole or not at all; see `atomic`."""
    with atomic(path, follow=follow) as partial:
        partial.write_bytes(content)


def write_text(text: str, path: Path, *, follow: bool = True, sync: bool = True) -> None:
    """Write a file, in UTF-8, whole or not at all; see `atomic`.

    A file name's byte that is no UTF-8 stands as ``\\udc..``, which JSON reads back.
    """
    with atomic(path, follow=follow, sync=sync) as partial:
        partial.write_text(text, encoding="utf-8", errors="backslashreplace")


def write_json(result: Mapping[str, Any], target: str | Path, option: str = "-o") -> None:
    """Write a result whole or not at all; ``-`` is stdout, and ``~`` the home folder.

    What has no finite value is null.

    Args:
        result: plain values.
        target: file to write.
        option: by which the user gives another place.

    Raises:
        InputError: the file cannot be written.
    """
    to_stdout = str(target) == "-"
    # As JSON's own escapes stand what another encoding lacks, and what would steer a terminal.
    plain = to_stdout and (sys.stdout.encoding or "").lower() not in ("utf-8", "utf8")
    text = json.dumps(_finite(result), indent=2, ensure_ascii=plain) + "\n"
    # Thousands of raw samples on as many lines would hide the rest from whoever opens the file.
    text = re.sub(r'"samples_ms": \[[^\]]*\]', lambda match: " ".join(match[0].split()), text)
    signs = (c if c.isprintable() or c == "\n" else json.dumps(c)[1:-1] for c in text)
    text = "".join(signs).replace("\x7f", "\\u007f")
    if to_stdout:
        sys.stdout.write(text)
        return
    path = from_home(target)
    with writing(path, option):
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
def writing(path: Path, option: str = "-o", *, begun: bool = True) -> Iterator[None]:
    """Say what a file system has against writing there, or a library that ran into it.

    Args:
        path: where the block writes.
        option: by which the user gives another place.
        begun: False before the work, when a place that was wrong from the start is told from a
            disk that failed.

    Raises:
        InputError: the place cannot be written, and nothing was begun.
        MissingError: there is no room, or what was begun cannot be written.
    """
    try:
        yield
    except EdgeResNetError:
        raise
    # A path with a NUL is a ValueError; torch tells of a full disk as of a fault of its own.
    except (OSError, ValueError, RuntimeError) as error:
        told = write_fault(error)
        if told is None and not isinstance(error, ValueError):
            raise
        number = getattr(told, "errno", None)
        reason = getattr(told, "strerror", None) or str(told or error)
        fixes = {errno.ENAMETOOLONG: "give a shorter name."}
        fixes |= dict.fromkeys(NO_ROOM, f"make room there, or give another {option}.")
        lacking = number in NO_ROOM or (begun and told is not None)
        raise (MissingError if lacking else InputError)(
            f"{option} {shortened(path)} cannot be written: {reason}",
            fixes.get(number or 0, f"give another {option}, where you may write."),
        ) from error


def write_fault(error: BaseException) -> OSError | None:
    """The file system's own error in what a library raised of it; None where there is none."""
    told: BaseException | None = error
    while told is not None:
        if isinstance(told, OSError):
            return told
        told = told.__cause__ or told.__context__
    if isinstance(error, RuntimeError) and any(words in str(error) for words in _TORCH_SAYS):
        return OSError(str(error).splitlines()[0])
    return None
