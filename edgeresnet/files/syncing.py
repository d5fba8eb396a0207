"""What is written reaches the disk before anything is told to be there."""

from __future__ import annotations

import errno
import os
from pathlib import Path

# Of file systems, and of Windows, that sync no folder.
_NO_SYNC = (errno.EINVAL, errno.ENOTSUP, errno.EACCES, errno.EPERM, errno.EBADF)


def sync_file(path: Path) -> None:
    """Wait until the disk has a file's content.

    Raises:
        OSError: it never will: the disk is full, or failing.
    """
    # Windows syncs only what may be written.
    number = os.open(path, os.O_RDWR | getattr(os, "O_BINARY", 0))
    try:
        os.fsync(number)
    finally:
        os.close(number)


def sync_folder(path: Path) -> None:
    """Wait until the disk has the names in a folder, where the system can.

    Raises:
        OSError: the disk is failing.
    """
    if not hasattr(os, "O_DIRECTORY"):
        return
    try:
        number = os.open(path, os.O_RDONLY | os.O_DIRECTORY)
    except PermissionError:
        # A folder that may be written and not listed.
        return
    try:
        os.fsync(number)
    except OSError as error:
        if error.errno not in _NO_SYNC:
            raise
    finally:
        os.close(number)


def sync_tree(path: Path) -> None:
    """Wait until the disk has all files and names below a folder.

    Raises:
        OSError: it never will: the disk is full, or failing.
    """
    for folder, _, names in os.walk(path):
        for name in names:
            sync_file(Path(folder, name))
        sync_folder(Path(folder))
