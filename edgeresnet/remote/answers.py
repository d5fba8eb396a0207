"""What a far end prints: found behind a marker, bounded, and read by a schema."""

from __future__ import annotations

import secrets
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, Annotated, Any, TypeVar

from pydantic import Field
from typing_extensions import NotRequired, TypedDict

from edgeresnet.errors import MissingError
from edgeresnet.results import CompareResults, EvaluateResults, ProfileResults
from edgeresnet.untrusted import MIB, parse_record, short

T = TypeVar("T")
# Per-class figures of 21,841 classes have about 2 MiB, hashes of a million images 100.
MOST_OUTPUT = 256 * MIB
# A login may print what it likes before ours begins.
MOST_NOISE = MIB
MOST_LINE, MOST_LINES = 4096, 1000
# Stands around what is ours, whatever the shell there prints before and after. The exit code stays.
_SCRIPT = r"""printf '\n%s\n' "$0"; "$@"; code=$?; printf '\n%s\n' "$0"; exit $code"""
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Probed(TypedDict):
    """What a machine says of itself."""

    version: Annotated[list[int], Field(min_length=2, max_length=2)]
    # It becomes a part of commands and of rsync's address.
    root: Annotated[str, Field(pattern=r"^/[^\x00-\x1f\x7f]{1,1000}$")]
    rsync: bool
    interpreter: Annotated[str, Field(pattern=r"^/[^\x00-\x20\x7f]{1,1000}$")] | None


class BuildAnswer(TypedDict):
    """What ``build --json`` says."""

    target: str
    device: str
    engine: Annotated[str, Field(pattern=r"^engines/[\w][\w.+-]{0,200}$")] | None
    size_bytes: NotRequired[int | None]


RESULTS: dict[str, Any] = {
    "profile": ProfileResults,
    "evaluate": EvaluateResults,
    "compare": CompareResults,
    "build": BuildAnswer,
}


def marked(arguments: Sequence[str]) -> tuple[list[str], bytes]:
    """A command between two lines of a random marker, and that marker."""
    marker = secrets.token_hex(16)
    return ["sh", "-c", _SCRIPT, marker, *arguments], f"\n{marker}\n".encode()


def between(output: bytes, marker: bytes) -> bytes | None:
    """What stands between the markers; None without both."""
    _, begun, rest = output.partition(marker)
    inner, ended, _ = rest.rpartition(marker)
    return inner if begun and ended else None


def skip_to(stream: IO[bytes], marker: bytes) -> bool:
    """Read a stream up to its marker; whether it is there, within `MOST_NOISE` bytes."""
    seen = bytearray()
    while not seen.endswith(marker) and len(seen) < MOST_NOISE and (sign := stream.read(1)):
        seen += sign
    return seen.endswith(marker)


def parsed(text: bytes | str | None, kind: type[T], who: object) -> T:
    """What a far end said, by a schema; keys beyond it stay.

    Raises:
        MissingError: it is something else.
    """
    try:
        if text is None:
            raise ValueError("it did not come to its end")
        return parse_record(text, kind)
    except ValueError as error:
        raise MissingError(
            f"{who} answers what edgeresnet does not: {short(str(error))}",
            "log in there by hand and look at what it prints, and at its edgeresnet.",
        ) from error


def listen(
    process: subprocess.Popen[bytes],
    who: object,
    on_line: Callable[[str], object],
    stdin: bytes | None = None,
) -> bytes:
    """Follow a process to the end of its stdout.

    Args:
        process: with pipes for all three streams.
        who: it is, for a message.
        on_line: called with each line of its stderr, cut, as it comes.
        stdin: given to it, and then its end; None: it stays open.

    Raises:
        MissingError: it prints more than `MOST_OUTPUT`.
    """
    assert process.stdin is not None
    assert process.stdout is not None

    def follow() -> None:
        assert process.stderr is not None
        while line := process.stderr.readline(MOST_LINE):
            on_line(line.decode(errors="replace").rstrip())

    def feed() -> None:
        assert process.stdin is not None
        try:
            process.stdin.write(stdin or b"")
            process.stdin.close()
        except BrokenPipeError:
            # How the other end failed is in its exit code.
            pass

    threads = [threading.Thread(target=follow, daemon=True)]
    threads += [threading.Thread(target=feed, daemon=True)] if stdin is not None else []
    for thread in threads:
        thread.start()
    output = process.stdout.read(MOST_OUTPUT + 1)
    if len(output) > MOST_OUTPUT:
        process.kill()
    process.wait()
    for thread in threads:
        thread.join()
    if len(output) > MOST_OUTPUT:
        raise MissingError(
            f"{who} prints more than {MOST_OUTPUT // MIB} MiB, which no answer has",
            "log in there by hand and look at what it prints.",
        )
    return output
