"""A disk that fails at a chosen moment, in a process of its own: no root and no mount is needed.

Each opening of a file to write, each new folder and each renaming below a root is a moment, counted
by Python's audit events. From a chosen moment on the disk is full (a limit of the size of files,
which binds every library, in Python or not), or takes nothing at all, or cannot be synced.
"""

from __future__ import annotations

import errno
import os
import resource
import select
import signal
import sys
import tempfile
import time
from collections.abc import Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any, Literal

Kind = Literal["full", "half", "no files", "read-only", "no sync", "no power"]
OF_WRITING = os.O_WRONLY | os.O_RDWR | os.O_CREAT
EVENTS = {"open": 0, "os.mkdir": 0, "os.rename": 1}
END = b"\0moments\0"


@dataclass(frozen=True)
class Fault:
    """What fails, and from which moment on.

    Attributes:
        kind: full: files stay empty; half: they end after ``size`` bytes; no files: none can be
            made; read-only: that, and nothing is renamed; no sync: writing to the disk fails; no
            power: all ends, and what was not synced is empty.
        moment: of those that `Outcome.moments` lists.
        size: of ``half``, in bytes.
    """

    kind: Kind
    moment: int
    size: int = 0


@dataclass
class Outcome:
    """How a process ended.

    Attributes:
        code: its exit code; -9 where it was killed.
        err: what it wrote, to stdout and stderr.
        moments: the files, folders and renamings in their order, by event and path.
    """

    code: int
    err: str
    moments: list[tuple[str, str]] = field(default_factory=list)


def in_process(
    work: Callable[[], int], root: Path, fault: Fault | None = None, *, timeout_s: float = 120
) -> Outcome:
    """Do some work in a process of its own, which is a copy of this one.

    Args:
        work: gives the exit code.
        root: below which a file counts.
        fault: that befalls it; None: only counted.
        timeout_s: after which it is killed.
    """
    reading, writing = os.pipe()
    sys.stdout.flush()
    sys.stderr.flush()
    child = os.fork()
    if child == 0:
        os.close(reading)
        _work(work, root, fault, writing)
    os.close(writing)
    said = _said(reading, child, timeout_s)
    os.close(reading)
    code = os.waitstatus_to_exitcode(os.waitpid(child, 0)[1])
    text, _, told = said.partition(END)
    lines = told.decode(errors="surrogateescape").split("\0")
    moments = [(event, path) for event, _, path in (line.partition(" ") for line in lines if line)]
    return Outcome(code, text.decode(errors="replace"), moments)


def _said(reading: int, child: int, timeout_s: float) -> bytes:
    parts, end = [], time.monotonic() + timeout_s
    while True:
        if not select.select([reading], [], [], max(0.0, end - time.monotonic()))[0]:
            os.kill(child, signal.SIGKILL)
            return b"".join(parts)
        part = os.read(reading, 1 << 16)
        if not part:
            return b"".join(parts)
        parts.append(part)


def _work(work: Callable[[], int], root: Path, fault: Fault | None, writing: int) -> None:
    """Never returns: this is the copy."""
    code = 70
    try:
        for number in (1, 2):
            os.dup2(writing, number)
        sys.stdout, sys.stderr = (open(n, "w", closefd=False) for n in (1, 2))  # noqa: SIM115
        sys.dont_write_bytecode = True
        signal.signal(signal.SIGXFSZ, signal.SIG_IGN)
        tempfile.tempdir = None
        moments: list[str] = []
        sys.addaudithook(_hook(f"{root}/", fault, moments))
        try:
            code = work()
        except SystemExit as end:
            code = int(end.code or 0)
        sys.stdout.flush()
        sys.stderr.flush()
        os.write(writing, END + "\0".join(moments).encode(errors="surrogateescape"))
    except BaseException as error:
        os.write(2, f"Traceback of the test itself: {error!r}\n".encode())
    finally:
        os._exit(code)


def _hook(root: str, fault: Fault | None, moments: list[str]) -> Callable[[str, Any], None]:
    real_sync = os.fsync
    # What a try was given is on the disk.
    synced = {path.stat().st_ino for path in Path(root).rglob("*")}

    def hook(event: str, arguments: Any) -> None:
        if event not in EVENTS or not isinstance(arguments[EVENTS[event]], (str, bytes, Path)):
            return
        path = str(Path.cwd() / os.fsdecode(arguments[EVENTS[event]]))
        if not path.startswith(root) or (event == "open" and not arguments[2] & OF_WRITING):
            return
        moments.append(f"{event} {path}")
        if fault is None or len(moments) <= fault.moment:
            return
        if fault.kind == "no power":
            _lose_power(Path(root), synced)
        _befall(fault, event, path, arguments)

    def failing_sync(number: int) -> None:
        if fault is not None and fault.kind == "no sync" and len(moments) > fault.moment:
            raise OSError(errno.EIO, os.strerror(errno.EIO))
        real_sync(number)
        synced.add(os.fstat(number).st_ino)

    os.fsync = failing_sync
    return hook


def _lose_power(root: Path, synced: set[int]) -> None:
    """Empty what was made here and is not on the disk yet, and end at once."""
    for path in root.rglob("*"):
        if path.is_file() and path.stat().st_ino not in synced:
            os.truncate(path, 0)
    os._exit(-signal.SIGKILL % 256)


def _befall(fault: Fault, event: str, path: str, arguments: Any) -> None:
    if fault.kind in ("full", "half"):
        size = fault.size if fault.kind == "half" else 0
        resource.setrlimit(resource.RLIMIT_FSIZE, (size, resource.getrlimit(1)[1]))
    makes = event == "os.mkdir" or (event == "open" and arguments[2] & os.O_CREAT)
    if fault.kind == "no files" and makes and not Path(path).exists():
        raise OSError(errno.ENOSPC, os.strerror(errno.ENOSPC), path)
    if fault.kind == "read-only":
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), path)
