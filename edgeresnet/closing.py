"""How a process ends: what is closed on leaving a block, on a signal, and where nothing can raise.

A signal raises `Interrupted` in the main thread, which leaves every block as an error would. Where
that thread is in native code, which may take minutes and sees no signal, or is held up in what it
closes, another thread ends the process: it removes what `end_now` removes, and says the same.
"""

from __future__ import annotations

import os
import select
import shutil
import signal
import sys
import threading
import time
from collections.abc import Callable, Iterator
from contextlib import contextmanager, suppress
from pathlib import Path
from types import FrameType, TracebackType
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakKeyDictionary, WeakSet

from typing_extensions import Self

if TYPE_CHECKING:
    import subprocess
    from tempfile import TemporaryDirectory

    from filelock import BaseFileLock

End = Callable[[Exception], NoReturn]
# Ctrl-C; a service that is stopped, a batch job whose time is over; a terminal that is closed.
ENDING = ("SIGINT", "SIGTERM", "SIGHUP")
# That the main thread has to leave its blocks.
PATIENCE_S = 2.0
# Of temporary folders; each holds a lock, as long as it is in use, which a killed process holds no
# more. Older versions made none, and one that is made just now has none yet.
PREFIX, LOCK, LOCKLESS_S = "edgeresnet-", ".lock", 86_400
_folders: WeakKeyDictionary[TemporaryDirectory[str], BaseFileLock | None] = WeakKeyDictionary()
_swept: set[str] = set()
_children: WeakSet[subprocess.Popen[bytes]] = WeakSet()
# Files and folders that are being written: whoever adds one takes it out, too.
HALF_WRITTEN: set[Path] = set()
_came: list[int] = []
_end: End | None = None


class Interrupted(BaseException):
    """A signal asked this process to end; no `Exception`, so that nothing takes it for a fault."""

    def __init__(self, number: int) -> None:
        super().__init__(signal.Signals(number).name)
        self.number = number

    @property
    def exit_code(self) -> int:
        """As shells have it: 130, 143, 129."""
        return 128 + self.number


class Closing:
    """A context manager that is closed by `close`, which a sub-class has."""

    def close(self) -> None:
        """Give back what is held; called once."""
        raise NotImplementedError

    def __enter__(self) -> Self:
        return self

    def __exit__(
        self,
        exc_type: type[BaseException] | None,
        exc: BaseException | None,
        traceback: TracebackType | None,
    ) -> None:
        self.close()


def temporary_folder() -> TemporaryDirectory[str]:
    """A folder of ours, removed on leaving its block, by its ``cleanup``, or by `end_now`.

    There is a file ``.lock`` in it. With the first one those are removed that killed processes of
    this user left.
    """
    from tempfile import TemporaryDirectory, gettempdir

    from filelock import FileLock, Timeout

    _sweep(gettempdir())
    while True:
        made = TemporaryDirectory(prefix=PREFIX)
        lock = FileLock(Path(made.name) / LOCK, timeout=0, fallback_to_soft=False)
        try:
            lock.acquire()
            _folders[made] = lock
        except Timeout:
            # Taken for a left one in this very moment.
            made.cleanup()
            continue
        except OSError:
            # A file system without locks: nobody can tell whether it is in use, so it stays.
            (Path(made.name) / LOCK).unlink(missing_ok=True)
            _folders[made] = None
        return made


def _sweep(place: str) -> None:
    """Remove the temporary folders of killed processes of this user, once in a process."""
    if place in _swept or sys.platform == "win32":
        return
    _swept.add(place)
    with suppress(OSError), os.scandir(place) as entries:
        for entry in entries:
            if entry.name.startswith(PREFIX) and entry.is_dir(follow_symlinks=False):
                state = entry.stat(follow_symlinks=False)
                if state.st_uid == os.getuid():
                    _remove_left(Path(entry.path), state.st_mtime)


def _remove_left(folder: Path, changed: float) -> None:
    """Remove one of these folders unless a process, of whatever container, holds its lock."""
    from filelock import FileLock, Timeout

    if not (folder / LOCK).exists():
        if changed < time.time() - LOCKLESS_S:
            with suppress(OSError):
                # Fails where there is anything in it.
                folder.rmdir()
        return
    lock = FileLock(folder / LOCK, timeout=0, fallback_to_soft=False)
    with suppress(Timeout, OSError), lock:
        shutil.rmtree(folder, ignore_errors=True)


def ends_with_us(child: subprocess.Popen[bytes]) -> None:
    """A child process that `end_now` kills, as it does those of ``multiprocessing``."""
    _children.add(child)


def is_ending() -> bool:
    """Whether a signal has come: what is closed now is not waited for."""
    return bool(_came)


def end_with(end: End) -> None:
    """Say how this process ends where the main thread cannot raise: it is in native code.

    Args:
        end: tells the error, and ends the process; called by any thread.
    """
    global _end
    _end = end


def may_end() -> bool:
    """Whether anybody has said how; nobody has in a program that imports edgeresnet."""
    return _end is not None


def end_now(error: Exception) -> None:
    """Remove what is not whole, tell the error and end the process, if somebody has said how."""
    if _end is None:
        return
    _remove_all()
    _end(error)


def _remove_all() -> None:
    """Child processes, temporary folders and what is half written."""
    module = sys.modules.get("multiprocessing")
    for child in [*_children, *(module.active_children() if module else ())]:
        # It has ended just now.
        with suppress(OSError, ValueError):
            child.kill()
    for folder in list(_folders):
        # The main thread removes it too.
        with suppress(OSError):
            folder.cleanup()
    for path in list(HALF_WRITTEN):
        with suppress(OSError):
            if path.is_dir() and not path.is_symlink():
                shutil.rmtree(path)
            else:
                path.unlink()


@contextmanager
def ending_on_signals(tell: Callable[[Interrupted], object]) -> Iterator[None]:
    """A block in which a signal ends this process within 3 s, and a second one at once.

    What ignores a signal, as under ``nohup``, goes on doing so. The handlers from before are back
    behind the block, unless a signal has come: then the process is ending.

    Args:
        tell: says what was interrupted, where the block cannot end by `Interrupted`.
    """
    names = [name for name in ENDING if hasattr(signal, name)]
    main = threading.current_thread() is threading.main_thread()
    numbers = [n for n in (getattr(signal, name) for name in names)
               if main and signal.getsignal(n) != signal.SIG_IGN]  # fmt: skip
    # Windows knows only the first of them, and wakes no pipe.
    if not numbers or sys.platform == "win32":
        yield
        return
    reader, writer = os.pipe()
    os.set_blocking(writer, False)
    watcher = threading.Thread(target=_watch, args=(reader, numbers, tell), daemon=True)

    def handle(number: int, frame: FrameType | None) -> None:
        _came.append(number)
        # A second one must not break off what the first one closes: the watcher ends it.
        if len(_came) == 1:
            raise Interrupted(number)

    # The system's own handler writes the number there at once, whatever the main thread does.
    woken = signal.set_wakeup_fd(writer, warn_on_full_buffer=False)
    before = {number: signal.signal(number, handle) for number in numbers}
    watcher.start()
    try:
        yield
    finally:
        if not _came:
            signal.set_wakeup_fd(woken)
            for number, handler in before.items():
                signal.signal(number, handler)
            os.close(writer)
            watcher.join()


def _watch(reader: int, numbers: list[int], tell: Callable[[Interrupted], object]) -> None:
    """End the process where the main thread has not done so `PATIENCE_S` behind a signal."""
    first = _next(reader, numbers, None)
    if first is None:
        os.close(reader)
        return
    _next(reader, numbers, time.monotonic() + PATIENCE_S)
    leave(Interrupted(first), tell)


def leave(interrupted: Interrupted, tell: Callable[[Interrupted], object]) -> NoReturn:
    """End the process now, whichever thread this is.

    Not by the interpreter's own end: with torch in it that takes seconds, in which the watcher's
    thread does not run any more.
    """
    _remove_all()
    tell(interrupted)
    os._exit(interrupted.exit_code)


def _next(reader: int, numbers: list[int], until: float | None) -> int | None:
    """The next of these signals; None behind the last one, or when the time is over."""
    while True:
        left = None if until is None else max(0.0, until - time.monotonic())
        if not select.select([reader], [], [], left)[0] or not (came := os.read(reader, 1)):
            return None
        # torch's workers have a handler too, for processes that end.
        if came[0] in numbers:
            return came[0]
