"""What is closed on leaving a ``with`` block, and removed when a process is ended at once."""

from __future__ import annotations

from collections.abc import Callable
from types import TracebackType
from typing import TYPE_CHECKING, NoReturn
from weakref import WeakSet

from typing_extensions import Self

if TYPE_CHECKING:
    from tempfile import TemporaryDirectory

End = Callable[[Exception], NoReturn]
_folders: WeakSet[TemporaryDirectory[str]] = WeakSet()
_end: End | None = None


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
    """A folder of ours, removed on leaving its block, by its ``cleanup``, or by `end_now`."""
    from tempfile import TemporaryDirectory

    made = TemporaryDirectory(prefix="edgeresnet-")
    _folders.add(made)
    return made


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
    """Remove temporary folders, tell the error and end the process, if somebody has said how."""
    if _end is None:
        return
    for folder in list(_folders):
        folder.cleanup()
    _end(error)
