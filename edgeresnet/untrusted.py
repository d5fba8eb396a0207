"""Files and lines that strangers wrote: read whole, bounded in size and depth, by one schema."""

from __future__ import annotations

import json
import os
import stat
from collections import Counter
from collections.abc import Iterator
from contextlib import contextmanager
from functools import cache
from pathlib import Path
from typing import TYPE_CHECKING, Any, BinaryIO, NoReturn, TypeVar, cast

from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened

if TYPE_CHECKING:
    from pydantic import TypeAdapter, ValidationError

T = TypeVar("T")
MIB = 1 << 20
# The manifest of a ResNet-152 with 21,841 class names has under 2 MiB.
MOST_BYTES = 16 * MIB
MOST_DEPTH = 64
# Of a value that stands in a message.
MOST_SHOWN = 60


@contextmanager
def opened(path: Path, what: str, *, follow: bool = True) -> Iterator[BinaryIO]:
    """A regular file, open for reading: a pipe would wait for a writer, a device has no end.

    Args:
        path: of the file.
        what: it should be, for the message: ``manifest``.
        follow: False refuses a link too.

    Raises:
        InputError: it is no regular file, is a link that is not followed, or cannot be opened.
    """
    with os.fdopen(_descriptor(path, what, follow=follow), "rb") as file:
        yield file


def read_at(path: Path, what: str, start: int, size: int, *, follow: bool = True) -> bytes:
    """So many bytes of a regular file from a place on; fewer where it ends before.

    Raises:
        InputError: as `opened`.
    """
    number = _descriptor(path, what, follow=follow)
    try:
        os.lseek(number, start, os.SEEK_SET)
        content = os.read(number, size)
        # The system gives no more than 2 GiB at once.
        while len(content) < size and (more := os.read(number, size - len(content))):
            content += more
        return content
    finally:
        os.close(number)


def _descriptor(path: Path, what: str, *, follow: bool) -> int:
    """Of a file as `opened` has it."""
    # Systems that lack these have no pipes among their files, or are asked about links below.
    flags = os.O_RDONLY | getattr(os, "O_NONBLOCK", 0) | getattr(os, "O_BINARY", 0)
    no_link = 0 if follow else getattr(os, "O_NOFOLLOW", 0)
    if not follow and not no_link:
        _check_no_link(path, what)
    try:
        number = os.open(path, flags | no_link)
    except (OSError, ValueError) as error:
        if no_link and isinstance(error, OSError):
            _check_no_link(path, what)
        reason = getattr(error, "strerror", None) or str(error)
        raise InputError(
            f"{what} {shortened(path)} cannot be read: {reason}",
            "check the path, and that it may be read.",
        ) from error
    if not stat.S_ISREG(os.fstat(number).st_mode):
        os.close(number)
        raise InputError(f"{what} {shortened(path)} is no regular file", "put a file in its place.")
    return number


def _check_no_link(path: Path, what: str) -> None:
    if path.is_symlink():
        raise InputError(f"{what} {shortened(path)} is a link", "put the file itself in its place.")


def read_bytes(
    path: Path, what: str, *, most_bytes: int = MOST_BYTES, follow: bool = True
) -> bytes:
    """The content of a regular file that is no larger than it may be.

    Raises:
        InputError: as `opened`, or it is larger.
    """
    with opened(path, what, follow=follow) as file:
        # A hole of any size is known before it is read; what is of no size is read.
        size = os.fstat(file.fileno()).st_size
        # As much as is asked for is taken from memory at once.
        asked = (size or min(most_bytes, MOST_BYTES)) + 1
        content = file.read(asked) if size <= most_bytes else b""
    if max(size, len(content)) > most_bytes:
        raise InputError(
            f"{what} {shortened(path)} is larger than {most_bytes / MIB:g} MiB, which none is",
            "give the file that was written.",
        )
    return content


def parse_json(content: bytes | str) -> Any:
    """JSON of which each key stands once, with finite numbers and little depth.

    Raises:
        ValueError: it is none; the message says why in one line.
    """
    text = content if isinstance(content, str) else content.decode("utf-8")
    try:
        value = json.loads(text, parse_constant=_no_number, object_pairs_hook=_unique)
    except RecursionError as error:
        raise ValueError(f"its values lie more than {MOST_DEPTH} deep in each other") from error
    _check_depth(value)
    return value


def parse_record(content: bytes | str, kind: type[T]) -> T:
    """JSON by a strict schema: a TypedDict, a model of pydantic, or a type of plain values.

    Raises:
        ValueError: it is no JSON, or a value is not what the schema says; names each key.
    """
    return checked(parse_json(content), kind)


def checked(value: object, kind: type[T]) -> T:
    """Plain values by a strict schema: nothing is converted.

    Raises:
        ValueError: a value is not what the schema says; names each key.
    """
    from pydantic import ValidationError

    try:
        made: T = _adapter(cast(Any, kind)).validate_python(value, strict=True)
    except ValidationError as error:
        raise ValueError(_faults(error)) from None
    return made


def read_record(path: Path, kind: type[T], what: str, fix: str, *, follow: bool = True) -> T:
    """A JSON file by a strict schema.

    Raises:
        InputError: it cannot be read, is too large, no JSON, or not by the schema.
    """
    content = read_bytes(path, what, follow=follow)
    try:
        return parse_record(content, kind)
    except ValueError as error:
        raise InputError(f"{what} {shortened(path)} is damaged: {error}", fix) from error


def short(value: object) -> str:
    """A stranger's value for a message: on one line, and cut."""
    text = value if isinstance(value, str) else _repr(value)
    text = text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"
    return visible(text, kept="")


def visible(text: str, *, kept: str = "\n\t") -> str:
    """A text as a terminal may show it: what would steer it, or turn its lines round, is escaped.

    Args:
        text: in which names of strangers may be.
        kept: signs that stay though they are not printable.
    """
    if text.isprintable():
        return text
    return "".join(c if c.isprintable() or c in kept else _escaped(c) for c in text)


# Of megabytes of a far end's zeros, each is escaped.
@cache
def _escaped(sign: str) -> str:
    return sign.encode("unicode_escape").decode()


def _repr(value: object) -> str:
    # Python does not write integers of more than 4,300 digits.
    try:
        return repr(value)
    except (ValueError, RecursionError):
        return f"{type(value).__name__} too large to show"


@cache
def _adapter(kind: Any) -> TypeAdapter[Any]:
    from pydantic import TypeAdapter

    return TypeAdapter(kind)


def _no_number(name: str) -> NoReturn:
    raise ValueError(f"{name} is no number of JSON")


def _unique(pairs: list[tuple[str, Any]]) -> dict[str, Any]:
    values = dict(pairs)
    if len(values) < len(pairs):
        (twice, _), *_ = Counter(name for name, _ in pairs).most_common(1)
        raise ValueError(f"its key {short(twice)} stands there twice")
    return values


def _check_depth(value: Any) -> None:
    level, depth = [value], 0
    while level:
        if depth > MOST_DEPTH:
            raise ValueError(f"its values lie more than {MOST_DEPTH} deep in each other")
        inner = [one.values() if isinstance(one, dict) else one for one in level
                 if isinstance(one, (dict, list))]  # fmt: skip
        level, depth = [one for values in inner for one in values], depth + 1


def _faults(error: ValidationError) -> str:
    lines = error.errors(include_url=False, include_context=False)
    told = [
        f"{short('.'.join(map(str, line['loc'])) or 'it')}: {line['msg']} "
        f"(here: {short(line['input'])})"
        for line in lines[:3]
    ]
    more = f"; and {len(lines) - 3} more" if len(lines) > 3 else ""
    return "; ".join(told) + more
