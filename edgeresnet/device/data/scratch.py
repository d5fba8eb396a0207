"""Bytes of a data set that are not kept in memory: what lies in a temporary file."""

from __future__ import annotations

import os
import threading
import weakref
from pathlib import Path
from tempfile import TemporaryDirectory
from typing import Any

from edgeresnet.closing import temporary_folder
from edgeresnet.errors import MissingError

# Of each scratch, so that small data sets need no disk.
MOST_IN_MEMORY = 1 << 20


class Scratch:
    """Bytes that are appended first, and then read from any place, by any thread.

    The last of them, `MOST_IN_MEMORY` at most, are in memory, the others in a temporary file.
    Where there is no place for that, all are in memory. A copy in another process (pickled) reads
    the same file, which is removed with the first one.
    """

    def __init__(self) -> None:
        self._path: Path | None = None
        self._on_disk = 0
        self._last = bytearray()
        self._lock = threading.Lock()
        self._descriptor: int | None = None
        self._disk_takes = True

    def __len__(self) -> int:
        return self._on_disk + len(self._last)

    def __getstate__(self) -> dict[str, Any]:
        own = {"_lock": None, "_descriptor": None, "_disk_takes": False}
        return {**self.__dict__, **own}

    def __setstate__(self, state: dict[str, Any]) -> None:
        self.__dict__.update(state)
        self._lock = threading.Lock()

    def append(self, content: bytes) -> None:
        """Put more behind what is there."""
        self._last += content
        if len(self._last) > MOST_IN_MEMORY and self._disk_takes:
            try:
                self._move_to_disk()
            except OSError:
                # No folder for it, or it is full: what lies there is read, the rest stays here.
                self._disk_takes = False

    def read(self, start: int, size: int) -> bytes:
        """So many bytes from a place on; fewer where they end before.

        Raises:
            MissingError: the temporary file is gone, or cut off.
        """
        stop = min(start + size, len(self))
        content = b""
        if start < self._on_disk:
            content = self._from_disk(start, min(stop, self._on_disk) - start)
        first, last = max(start, self._on_disk), max(stop, self._on_disk)
        return content + self._last[first - self._on_disk : last - self._on_disk]

    def _move_to_disk(self) -> None:
        if self._path is None:
            folder = temporary_folder()
            weakref.finalize(self, _remove, folder, os.getpid())
            self._path = Path(folder.name) / "records"
            self._path.touch()
        with self._path.open("r+b") as file:
            # Over what a full disk may have left half written.
            file.seek(self._on_disk)
            file.write(self._last)
        self._on_disk += len(self._last)
        self._last.clear()

    def _from_disk(self, start: int, size: int) -> bytes:
        try:
            with self._lock:
                # Open from the first time on: whoever tidies up does not take it away.
                if self._descriptor is None:
                    assert self._path is not None
                    self._descriptor = os.open(self._path, os.O_RDONLY | getattr(os, "O_BINARY", 0))
                    weakref.finalize(self, os.close, self._descriptor)
                if not hasattr(os, "pread"):
                    os.lseek(self._descriptor, start, os.SEEK_SET)
                    content = os.read(self._descriptor, size)
            if hasattr(os, "pread"):
                # A copy of this process has the same place in the file, so none is used.
                content = os.pread(self._descriptor, size, start)
        except OSError as error:
            raise _gone(self._path, error.strerror) from error
        if len(content) < size:
            raise _gone(self._path, "it is cut off")
        return content


def _remove(folder: TemporaryDirectory[str], owner: int) -> None:
    # A process that was forked leaves it to the first one.
    if os.getpid() == owner:
        folder.cleanup()


def _gone(path: Path | None, reason: str | None) -> MissingError:
    return MissingError(
        f"temporary file {path} cannot be read: {reason}",
        "repeat the command, and leave the temporary folder as it is meanwhile.",
    )
