"""What can go wrong and be mended by the user.

::

    EdgeResNetError          exit 2   base: one message, the cause, then the fix
    ├── InputError           exit 2   a path, file, option, recipe or data set is not usable
    ├── MissingError         exit 3   a package, driver or device is not here
    └── CheckError           exit 1   a budget was missed, or a proof failed (logits, kernels)

Everything else is a bug and keeps its traceback.
"""

from __future__ import annotations


class EdgeResNetError(Exception):
    """An error that the user can mend.

    Args:
        cause: what is wrong, naming the file, option or layer.
        fix: what to do about it, as an instruction.
    """

    exit_code = 2

    def __init__(self, cause: str, fix: str) -> None:
        super().__init__(f"{cause}\n{fix}")
        self.cause = cause
        self.fix = fix


class InputError(EdgeResNetError):
    """A path, file, option, recipe or data set is not usable."""

    exit_code = 2


class MissingError(EdgeResNetError):
    """A package, driver or device is not here."""

    exit_code = 3


class CheckError(EdgeResNetError):
    """A budget was missed, or a proof failed."""

    exit_code = 1
