"""Folders written whole or not at all, and restored where a crash came between two renamings."""

from __future__ import annotations

import ctypes
import errno
import os
import shutil
import sys
from collections.abc import Iterator
from contextlib import contextmanager, suppress
from pathlib import Path

from edgeresnet.closing import HALF_WRITTEN
from edgeresnet.files.places import in_place
from edgeresnet.files.syncing import sync_folder, sync_tree
from edgeresnet.files.writing import partial_of, remove_left

# From Linux's <linux/fcntl.h> and <linux/fs.h>.
_AT_FDCWD, _RENAME_EXCHANGE = -100, 2
# What a system or a file system says that cannot exchange; a sandbox may say EPERM.
_CANNOT = (errno.ENOSYS, errno.EINVAL, errno.ENOTSUP, errno.EPERM)


@contextmanager
def atomic_folder(path: Path) -> Iterator[Path]:
    """Lets a folder be written whole or not at all, through a loss of power too.

    Args:
        path: of the folder; what is there already is replaced.

    Yields:
        An empty folder beside ``path``, of a name that nobody knows before. At the end of the block
        it takes the place of ``path``, or of what it links to; when the block raises it is removed,
        and ``path`` is as it was.
    """
    place = in_place(path)
    place.parent.mkdir(parents=True, exist_ok=True)
    remove_left(place)
    partial = partial_of(place)
    partial.mkdir()
    HALF_WRITTEN.add(partial)
    try:
        yield partial
        replace_folder(partial, place)
    finally:
        shutil.rmtree(partial, ignore_errors=True)
        HALF_WRITTEN.discard(partial)


def replace_folder(new: Path, place: Path) -> None:
    """Move the folder ``new`` to ``place``; what was there goes only when the new one stands.

    Raises:
        OSError: it cannot; ``place`` is as it was.
    """
    restore_folder(place)
    sync_tree(new)
    old = _old_of(place)
    # What a crash left behind the last renaming.
    shutil.rmtree(old, ignore_errors=True)
    if place.exists() and _exchanged(new, place):
        # The old one has the new one's name now: killed here, it is removed by its age.
        sync_folder(place.parent)
        shutil.rmtree(new, ignore_errors=True)
        return
    if place.exists():
        place.rename(old)
    try:
        new.rename(place)
        sync_folder(place.parent)
    except OSError:
        if old.exists() and not place.exists():
            old.rename(place)
        raise
    shutil.rmtree(old, ignore_errors=True)


def restore_folder(place: Path) -> None:
    """Where a crash came between moving an old folder away and the new one there: the old one.

    Whoever opens or writes the place, or what it links to, calls this first. Where it cannot be
    moved back, the place stays missing, and its reader says so.
    """
    place = Path(os.path.realpath(place))
    if os.path.lexists(place):
        return
    old = _old_of(place)
    with suppress(OSError):
        if old.is_dir() and not old.is_symlink():
            old.rename(place)


def _old_of(place: Path) -> Path:
    return place.with_name(f".{place.name}.old")


def _exchanged(one: Path, other: Path) -> bool:
    """Exchange two folders in one step; False, and nothing has changed, where that cannot be.

    Raises:
        OSError: the file system refuses more than the exchange.
    """
    if sys.platform != "linux":
        return False
    exchange = getattr(ctypes.CDLL(None, use_errno=True), "renameat2", None)
    if exchange is None:
        return False
    names = os.fsencode(one), os.fsencode(other)
    if not exchange(_AT_FDCWD, names[0], _AT_FDCWD, names[1], ctypes.c_uint(_RENAME_EXCHANGE)):
        return True
    number = ctypes.get_errno()
    if number in _CANNOT:
        return False
    raise OSError(number, os.strerror(number), str(one), None, str(other))
