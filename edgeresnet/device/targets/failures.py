"""Exceptions that are no bug of ours: of a file system, of memory, of an encoding or a runtime."""

from __future__ import annotations

import errno
import struct
import zlib
from pathlib import Path
from types import TracebackType

from edgeresnet.errors import EdgeResNetError, InputError, MissingError
from edgeresnet.files.places import shortened
from edgeresnet.files.writing import NO_ROOM, write_fault

OURS = Path(__file__).parents[2]
# What decodes and computes for us: an exception that it raises is about a file or this machine.
# PyTorch, onnx and numpy raise such ones on wrong calls of ours too, so they are none of these.
FOREIGN = ("onnxruntime", "openvino", "tensorrt", "tensorrt_rtx", "cuda", "PIL", "safetensors")
# OpenVINO's exceptions are Python's own, raised where it is called.
OPENVINO_SAYS = "Exception from src/"
MEMORY = ("out of memory", "can't allocate memory", "bad alloc", "bad_alloc", "not enough memory")
FIXES = {
    errno.ENOSPC: "make room on that disk, then repeat.",
    errno.EFBIG: "let files grow larger there (ulimit -f unlimited), then repeat.",
    errno.EDQUOT: "make room within your quota, then repeat.",
    errno.EROFS: "give a place on a disk that can be written.",
    errno.EACCES: "change its permissions, or give another place.",
    errno.EPERM: "change its permissions, or give another place.",
    errno.ENAMETOOLONG: "give a shorter name.",
    errno.EMFILE: "let this process open more files: ulimit -n 4096.",
    errno.EIO: "the disk or its connection is at fault: copy the files elsewhere.",
}
# What a disk says that takes no more, or fails: nothing that was given is wrong.
LACKING = (*NO_ROOM, errno.EROFS, errno.EIO)
# Of Python, where none of the places for temporary files takes one.
NO_TEMPORARY = "No usable temporary directory"
OTHERWISE = "see that it is there, stays there, and may be read and written; then repeat."


def mendable(error: BaseException) -> EdgeResNetError | None:
    """The message that a user can act on; None for a bug of ours."""
    if isinstance(error, EdgeResNetError):
        return error
    if _is_of_memory(error):
        return InputError(
            f"memory ran out: {_first_line(error)}",
            "give a smaller batch, image size or --limit, or end what else runs here.",
        )
    if isinstance(error, OSError):
        return _of_files(error)
    if isinstance(error, RuntimeError) and (told := write_fault(error)) is not None:
        return _of_files(told)
    if isinstance(error, UnicodeError):
        return InputError(
            f"a text or a name is in another encoding than was expected: {error}",
            "save the file in UTF-8, or rename it; PYTHONUTF8=1 makes UTF-8 the usual one.",
        )
    if (origin := _raised_in(error)) is not None:
        return InputError(
            f"{origin} failed: {_first_line(error)}",
            "see that the file is whole and of a kind and a version that it reads.",
        )
    return None


def _of_files(error: OSError) -> EdgeResNetError | None:
    named = [str(name) for name in (error.filename, error.filename2) if name is not None]
    if any(Path(name).is_relative_to(OURS) for name in named):
        return None
    if NO_TEMPORARY in str(error):
        return MissingError(
            f"no temporary file can be made: {error.strerror}",
            "make room there, or set TMPDIR to a folder on a disk with room.",
        )
    where = f"{shortened(' and '.join(named))}: " if named else ""
    return (MissingError if error.errno in LACKING else InputError)(
        f"{where}{error.strerror or _first_line(error)}", FIXES.get(error.errno or 0, OTHERWISE)
    )


def _is_of_memory(error: BaseException) -> bool:
    if isinstance(error, MemoryError) or getattr(error, "errno", None) == errno.ENOMEM:
        return True
    text = str(error).lower()
    return isinstance(error, RuntimeError) and any(words in text for words in MEMORY)


def _raised_in(error: BaseException) -> str | None:
    """The package that decodes or computes for us, whose own this exception is."""
    if isinstance(error, (zlib.error, struct.error)):
        return "reading a file"
    if isinstance(error, RuntimeError) and OPENVINO_SAYS in str(error):
        return "OpenVINO"
    modules = [type(error).__module__, _innermost(error.__traceback__)]
    roots = [module.partition(".")[0] for module in modules]
    return next((root for root in roots if root in FOREIGN), None)


def _innermost(traceback: TracebackType | None) -> str:
    """The module of the frame that raised."""
    if traceback is None:
        return ""
    while traceback.tb_next is not None:
        traceback = traceback.tb_next
    return str(traceback.tb_frame.f_globals.get("__name__", ""))


def _first_line(error: BaseException) -> str:
    return (str(error).strip().splitlines() or [type(error).__name__])[0]
