"""Files written whole or not at all."""

from __future__ import annotations

import errno
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
from typing import Any

from edgeresnet.errors import InputError
from edgeresnet.files.places import from_home, in_place, is_stream, shortened

# Of a file that is not whole yet, and when it is taken for one whose writer was killed.
PARTIAL, LEFT_AFTER_S = ".partial", 3600


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
