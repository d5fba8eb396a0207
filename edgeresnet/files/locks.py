"""One process at a time.

A lock is a file that `filelock` locks by the system (``flock``), which gives it back when its
holder ends, however it ends: what a killed process leaves is no obstacle. On a file system without
such locks the file itself is the lock, and `filelock` sees by host and process that its maker has
ended.

The lock of an output lies beside it, and not in the user's cache: two users, containers or machines
that share a folder share no cache. It is removed while it is held, so nothing stays behind; whoever
has opened it meanwhile finds that what is locked has no name any more, and begins anew (`filelock`
sees to that from 3.32 on). Who holds it is written into a second file, whole: the content of the
first is the library's.
"""

from __future__ import annotations

import errno
import inspect
import os
import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager, suppress
from functools import partial, wraps
from pathlib import Path
from typing import TYPE_CHECKING, NoReturn, ParamSpec, TypeVar

from edgeresnet.closing import HALF_WRITTEN
from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.files.holders import Holder, read_holder, this_process
from edgeresnet.files.places import cache_dir, shortened
from edgeresnet.files.ranks import is_first
from edgeresnet.files.writing import write_text

if TYPE_CHECKING:
    from filelock import BaseFileLock

P = ParamSpec("P")
R = TypeVar("R")

LOCK, SOFT_LOCK, HOLDER = ".lock", ".softlock", ".holder"
# What these are called in the folder itself.
OWN = ".edgeresnet"
# Of file systems, such as some of networks, that lock nothing.
WITHOUT_LOCKS = (errno.ENOSYS, errno.ENOLCK, errno.EOPNOTSUPP)
# That a lock may be held without a word of who holds it: it is just taken, or given back.
NAMELESS_S, POLL_S = 5.0, 0.02
# Each fails where a folder that was made for a lock goes away at that very moment.
TRIES = 20


@contextmanager
def locked(path: Path) -> Iterator[None]:
    """A block in which no other process is that holds the lock of the same path; waited for.

    For what is done in a moment, in our own folders, where the lock's file stays. The folder of
    ``path`` is made.

    Raises:
        OSError: the folder cannot be written.
    """
    from filelock import FileLock

    path.parent.mkdir(parents=True, exist_ok=True)
    with FileLock(path.with_name(f".{path.name}{LOCK}")):
        yield


@contextmanager
def alone(path: Path, option: str = "-o", *, inside: str | None = None) -> Iterator[None]:
    """A block in which no other process makes the same output; the second is refused at once.

    Where nothing can be written beside the output the lock is in the user's cache; where neither
    can, and where the path is none at all, there is no lock, and the output's own checks refuse it.

    Args:
        path: of the output, whatever it is; folders that are made for the lock go with it.
        option: by which the user gives another place.
        inside: a folder in it, where the lock lies: of an output that is never replaced, and that
            a container may have without what lies beside it.

    Raises:
        InputError: another process makes it; names that process.
    """
    with ExitStack() as stack:
        # Of several processes of one task the first holds it for all.
        for place in _places(path, inside) if is_first() else ():
            try:
                stack.enter_context(_held(place, partial(_refuse, path, option, place)))
                break
            except OSError:
                continue
        yield


@contextmanager
def in_turn(name: str, on_wait: Callable[[str], object]) -> Iterator[None]:
    """A block in which no other process of this user is that names the same; the others wait.

    Without a cache that can be written nobody waits.

    Args:
        name: of what they take turns at.
        on_wait: told once for whom this one waits.
    """
    place = cache_dir() / "locks" / sha256_bytes(name.encode())[:32]
    told: list[bool] = []

    def wait(holder: Holder | None) -> None:
        if not told:
            by = holder.told() if holder else "another process"
            on_wait(f"waiting for {name}: in use by {by}")
            told.append(True)

    with ExitStack() as stack:
        with suppress(OSError):
            stack.enter_context(_held(place, wait))
        yield


def one_writer(argument: str, option: str = "-o") -> Callable[[Callable[P, R]], Callable[P, R]]:
    """A function that makes the output which one of its arguments names: `alone`."""

    def decorate(function: Callable[P, R]) -> Callable[P, R]:
        signature = inspect.signature(function)

        @wraps(function)
        def held(*args: P.args, **kwargs: P.kwargs) -> R:
            output = signature.bind(*args, **kwargs).arguments[argument]
            with alone(Path(output), option):
                return function(*args, **kwargs)

        return held

    return decorate


def _places(path: Path, inside: str | None) -> list[Path]:
    """Where the lock of an output may lie, without suffix; the first that can be written counts."""
    try:
        place = Path(os.path.realpath(path))
        if any(one.is_symlink() and not one.exists() for one in path.parents):
            return []
    except (OSError, ValueError):
        # A circle of links, or a NUL.
        return []
    if inside is not None:
        beside = place / inside / OWN
    else:
        beside = place.with_name(f".{place.name}") if place.name else place / OWN
    key = sha256_bytes(os.fsencode(place))[:32]
    # Often: who gives a lock back removes the folders that were made for it, just now perhaps.
    return [*[beside] * TRIES, cache_dir() / "locks" / key]


@contextmanager
def _held(place: Path, on_holder: Callable[[Holder | None], object]) -> Iterator[None]:
    """The lock of this name, with its holder's record beside it.

    Args:
        place: its path without suffix.
        on_holder: called while another holds it, with None where nobody knows who; refuses, or
            lets wait.
    """
    record_path = place.with_name(place.name + HOLDER)
    made = _make(place.parent)
    try:
        lock = _take(place, record_path, on_holder)
        HALF_WRITTEN.update(ours := (record_path, Path(lock.lock_file)))
        try:
            write_text(this_process().to_json(), record_path, follow=False)
            yield
        finally:
            HALF_WRITTEN.difference_update(ours)
            record_path.unlink(missing_ok=True)
            if not lock.lock_file.endswith(SOFT_LOCK):
                Path(lock.lock_file).unlink(missing_ok=True)
            lock.release()
    finally:
        # A folder inside of what is made marks it, once there is anything else of it.
        marks = place.name == OWN and place.parent in made and _others(place.parent)
        for folder in () if marks else reversed(made):
            # Somebody has put something there.
            with suppress(OSError):
                folder.rmdir()


def _others(folder: Path) -> bool:
    """Whether anything lies beside a folder."""
    return any(path != folder for path in folder.parent.iterdir())


def _make(folder: Path) -> list[Path]:
    """Make a folder with those above it; those that were not there."""
    made = [one for one in (*reversed(folder.parents), folder) if not one.exists()]
    folder.mkdir(parents=True, exist_ok=True)
    return made


def _take(
    place: Path, record_path: Path, on_holder: Callable[[Holder | None], object]
) -> BaseFileLock:
    """The lock, once it is free.

    Raises:
        OSError: it cannot be made there.
    """
    patience = time.monotonic() + NAMELESS_S
    while (lock := _try(place)) is None:
        holder = read_holder(record_path)
        # The record of one that was killed lies there until the next has written its own.
        known = holder is not None and not holder.ended()
        if known or time.monotonic() > patience:
            on_holder(holder if known else None)
        time.sleep(POLL_S)
    return lock


def _try(place: Path) -> BaseFileLock | None:
    """The lock if it is free."""
    from filelock import FileLock, SoftFileLock, Timeout

    native = place.with_name(place.name + LOCK)
    lock: BaseFileLock = FileLock(native, timeout=0, fallback_to_soft=False)
    try:
        lock.acquire()
    except Timeout:
        # It has just been given back; or the library waits for a folder that takes no files.
        os.close(os.open(native, os.O_CREAT | os.O_RDWR))
        return None
    except PermissionError:
        # Another user's, who holds it or was killed; else nobody may write here.
        if not native.exists():
            raise
        return None
    except OSError as error:
        if error.errno not in WITHOUT_LOCKS:
            raise
        native.unlink(missing_ok=True)
        lock = SoftFileLock(place.with_name(place.name + SOFT_LOCK), timeout=0)
        try:
            lock.acquire()
        except Timeout:
            return None
    return lock


def _refuse(path: Path, option: str, place: Path, holder: Holder | None) -> NoReturn:
    by, fix = "another process", "wait until it has ended"
    if holder is not None:
        by = holder.told()
    else:
        # Of another user, perhaps, who was killed: only that one's system knows.
        fix += f"; if nobody writes there, remove {shortened(place)}{LOCK}"
    if option.startswith("-"):
        fix += f"; or give another {option}"
    raise InputError(f"{option} {shortened(path)} is being written by {by}", f"{fix}.")
