"""What results and bundles say of where they were made: names of files and folders, no places.

Only keys that are known to hold a path, or a text with one, are looked at: a class or a layer may
be called like a path, and keeps its name.
"""

from __future__ import annotations

import getpass
import os
import platform
import re
import shlex
from collections.abc import Callable, Mapping
from pathlib import Path, PurePath, PurePosixPath, PureWindowsPath
from typing import Any

from edgeresnet.files.writing import write_json

# Stands in a command where a folder is left out; to be replaced by the reader.
PLACE = "PATH"
# A path from the root in a text of somebody else's, such as what an import failed of.
_PLACES = re.compile(r"""(?<![\w.~/\\])(?:~[/\\]|[A-Za-z]:[/\\]|/)[^\s'"()<>:;,]*""")
_ENVIRONMENT = "environment"


def name_of(path: str) -> str:
    """The name of a file or folder without the place where it lies, of either kind of system."""
    pure = _pure(path)
    # A home folder's own name is that of its user.
    if str(pure) == _home() or re.fullmatch(r"~[^/]*", str(pure)):
        return "~"
    return pure.name or path


def shareable(record: Mapping[str, Any], *, record_host: bool = False) -> dict[str, Any]:
    """A result or manifest as it may be given to others.

    Args:
        record: with paths in it.
        record_host: leave them, and add ``host`` and ``user`` to every ``environment``, except
            where they stand: those of a far end.
    """
    return {key: _shareable(key, value, record_host) for key, value in record.items()}


def write_result(
    result: Mapping[str, Any],
    target: str | Path,
    *,
    record_host: bool = False,
    option: str = "-o",
) -> None:
    """Write a result as JSON, as `shareable` has it; all that is read elsewhere is written here.

    Args:
        result: with paths in it.
        target: file to write; ``-`` is stdout.
        record_host: see `shareable`.
        option: by which the user gives another place.

    Raises:
        InputError: the file cannot be written.
    """
    write_json(shareable(result, record_host=record_host), target, option)


def host_and_user() -> dict[str, str | None]:
    """Who made a result, and where; None: nobody of a name."""
    try:
        user: str | None = getpass.getuser()
    except (ImportError, KeyError, OSError):  # of a number without a name, as in containers
        user = None
    return {"host": platform.node() or None, "user": user}


def _shareable(key: str, value: Any, record_host: bool) -> Any:
    if isinstance(value, Mapping):
        inner = shareable(value, record_host=record_host)
        return {**host_and_user(), **inner} if record_host and key == _ENVIRONMENT else inner
    if isinstance(value, (list, tuple)):
        return [_shareable(key, one, record_host) for one in value]
    if record_host or not isinstance(value, str) or key not in _KINDS:
        return value
    return _KINDS[key](value)


def _inside(path: str) -> str:
    """A path that says where in a folder something lies; of one that leads elsewhere the name."""
    return name_of(path) if _leads_away(path) else path


def _command(line: str) -> str:
    """A command line with the paths that lead elsewhere cut to ``PATH/NAME``."""
    words = shlex.split(line)
    return shlex.join(f"{PLACE}/{name_of(w)}" if _leads_away(w) else w for w in words)


def _text(text: str) -> str:
    """A text with each path that it names cut to a name."""
    home = _home()
    # It may have spaces, at which a path in a text else ends.
    known = text if len(home) < 2 else text.replace(home + os.sep, f"~{os.sep}")
    return _PLACES.sub(lambda found: name_of(found[0]), known)


def _leads_away(path: str) -> bool:
    pure = _pure(path)
    return pure.is_absolute() or ".." in pure.parts or path.startswith("~")


def _pure(path: str) -> PurePath:
    windows = PureWindowsPath(path)
    return windows if windows.drive else PurePosixPath(path)


def _home() -> str:
    try:
        return str(Path.home())
    except RuntimeError:  # of a user without one
        return "~"


# By key, what is done with a text there, or with each of a list.
_KINDS: Mapping[str, Callable[[str], str]] = {
    "data": name_of,
    "weights": name_of,
    "source": name_of,
    "engine": _inside,
    "skipped": _inside,
    "image": _inside,
    "device_commands": _command,
    "export_command": _command,
    "notes": _text,
    "reason": _text,
    "warnings": _text,
    "message": _text,
    "text": _text,
    "doubts": _text,
    "traceback": _text,
}
