"""What a far end prints: found behind a marker, bounded, and read by a schema."""

from __future__ import annotations

import secrets
import subprocess
import threading
from collections.abc import Callable, Sequence
from typing import IO, Annotated, Any, TypeVar

from pydantic import AfterValidator, Field
from typing_extensions import NotRequired, TypedDict

from edgeresnet.errors import MissingError
from edgeresnet.results.evaluated import EvaluateResults
from edgeresnet.results.measured import CompareResults, ProfileResults
from edgeresnet.untrusted import MIB, parse_record, short

T = TypeVar("T")
# Per-class figures of 21,841 classes have about 2 MiB, hashes of a million images 100.
MOST_OUTPUT = 256 * MIB
# A login may print what it likes before ours begins.
MOST_NOISE = MIB
# Bytes of a line that are read at once, signs of it that are shown, and lines that are kept.
MOST_LINE, MOST_SHOWN, MOST_LINES = 4096, 1000, 1000
# On stderr, where each line costs its time: one of progress a second makes this much in a day.
MOST_ERRORS, LINE_BYTES = 16 * MIB, 100
# For a far end that has sent something wrong to end by itself.
GRACE_S = 5.0
# Stands around what is ours, whatever the shell there prints before and after. The exit code stays.
_SCRIPT = r"""printf '\n%s\n' "$0"; "$@"; code=$?; printf '\n%s\n' "$0"; exit $code"""
ENERGY = ("energy_with_idle_mj", "power_w", "idle_power_w", "power_sensor")
Hash = Annotated[str, Field(pattern=r"^[0-9a-f]{64}$")]


class Probed(TypedDict):
    """What a machine says of itself."""

    version: Annotated[list[int], Field(min_length=2, max_length=2)]
    # It becomes a part of commands and of rsync's address.
    root: Annotated[str, Field(pattern=r"^/[^\x00-\x1f\x7f]{1,1000}$")]
    rsync: bool
    interpreter: Annotated[str, Field(pattern=r"^/[^\x00-\x20\x7f]{1,1000}$")] | None


class _NoEngine(TypedDict):
    target: str
    device: str
    engine: None


class _Engine(TypedDict):
    target: str
    device: str
    engine: Annotated[str, Field(pattern=r"^engines/[\w][\w.+-]{0,200}$")]
    size_bytes: Annotated[int, Field(ge=0, le=1 << 62)]


# What ``build --json`` says.
BuildAnswer: Any = _NoEngine | _Engine


class _Share(TypedDict):
    unit: str
    precision: str
    layers: int
    layers_share: float
    macs_share: float | None


def _with_all_energy(row: _Row) -> _Row:
    if "energy_mj" in row and not {*ENERGY} <= row.keys():
        raise ValueError(f"has energy_mj without all of {', '.join(ENERGY)}")
    return row


class _Row(TypedDict):
    placement: NotRequired[list[_Share]]
    energy_mj: NotRequired[float]


class _ShownProfile(TypedDict):
    batches: Annotated[list[Annotated[_Row, AfterValidator(_with_all_energy)]], Field(min_length=1)]


class _ShownEvaluate(TypedDict):
    top1_interval: Annotated[list[float], Field(min_length=2, max_length=2)]
    placement: NotRequired[list[_Share]]


# The results, and what is more to them where a table takes them apart.
RESULTS: dict[str, tuple[Any, ...]] = {
    "profile": (ProfileResults, _ShownProfile),
    "evaluate": (EvaluateResults, _ShownEvaluate),
    "compare": (CompareResults,),
    "build": (BuildAnswer,),
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


def read_answer(stream: IO[bytes]) -> bytes:
    """All of an answer; what is more than one may have stays unread."""
    return stream.read(MOST_OUTPUT)


def listen(
    process: subprocess.Popen[bytes],
    who: object,
    on_line: Callable[[str], object],
    take: Callable[[IO[bytes]], T],
    feed: Callable[[IO[bytes]], object] | None = None,
) -> T:
    """Follow a process to its end, whichever of its streams it uses first.

    Args:
        process: with pipes for all three streams.
        who: it is, for a message.
        on_line: called with each line of its stderr, cut, as it comes.
        take: reads its stdout; what it leaves is noise. It closes it where it gives up.
        feed: writes its stdin, which ends then; None: it stays open.

    Returns:
        What ``take`` does.

    Raises:
        MissingError: it prints more than `MOST_OUTPUT`, or `MOST_ERRORS`.
        OSError: ``feed`` could not read what it writes.
    """
    assert process.stdout is not None
    endless = threading.Event()
    failed: list[OSError] = []

    def end() -> None:
        endless.set()
        process.kill()

    threads = [threading.Thread(target=_follow, args=(process, on_line, end), daemon=True)]
    if feed is not None:
        threads.append(threading.Thread(target=_feed, args=(process, feed, failed), daemon=True))
    for thread in threads:
        thread.start()
    taken = take(process.stdout)
    if process.stdout.closed:
        _leave(process)
    elif len(process.stdout.read(MOST_NOISE + 1)) > MOST_NOISE:
        end()
    process.wait()
    for thread in threads:
        thread.join()
    if failed:
        raise failed[0]
    if endless.is_set():
        raise MissingError(
            f"{who} prints more than {MOST_OUTPUT // MIB} MiB, or {MOST_ERRORS // MIB} MiB of "
            "errors, which no answer has",
            "log in there by hand and look at what it prints.",
        )
    return taken


def _leave(process: subprocess.Popen[bytes]) -> None:
    """The end of a cut connection tells of itself; what goes on talking is not waited for."""
    try:
        process.wait(GRACE_S)
    except subprocess.TimeoutExpired:
        process.kill()


def _follow(
    process: subprocess.Popen[bytes],
    on_line: Callable[[str], object],
    end: Callable[[], object],
) -> None:
    assert process.stderr is not None
    left = MOST_ERRORS
    while line := process.stderr.readline(MOST_LINE):
        left -= len(line) + LINE_BYTES
        if left < 0:
            end()
            break
        on_line(line.decode(errors="replace").rstrip()[:MOST_SHOWN])


def _feed(
    process: subprocess.Popen[bytes], feed: Callable[[IO[bytes]], object], failed: list[OSError]
) -> None:
    assert process.stdin is not None
    try:
        feed(process.stdin)
        process.stdin.close()
    except BrokenPipeError:
        # How the other end failed is in its exit code.
        pass
    except OSError as error:
        failed.append(error)
        process.kill()
