"""Where files are and may be kept, and how their places are told."""

from __future__ import annotations

import os
from pathlib import Path

import platformdirs

from edgeresnet.errors import InputError

MOST_SHOWN = 120


def cache_dir() -> Path:
    """The folder of ours in the user's cache; whoever writes into it makes it.

    On Linux ``$XDG_CACHE_HOME/edgeresnet``, or ``~/.cache/edgeresnet``; elsewhere where the system
    has its caches.
    """
    return platformdirs.user_cache_path("edgeresnet", appauthor=False)


def from_home(path: str | Path) -> Path:
    """The path with a leading ``~`` as the home folder.

    Raises:
        InputError: ``~NAME``, and there is no such user here.
    """
    try:
        return Path(path).expanduser()
    except RuntimeError as error:
        raise InputError(
            f"{path} begins with the home folder of a user who is not here",
            "give the path from the root.",
        ) from error


def in_place(path: Path) -> Path:
    """Where a file or folder of this name lies: a link's target, which is written and not the link.

    Raises:
        InputError: the link leads nowhere.
        OSError: it leads in a circle.
    """
    if path.is_symlink() and not path.exists():
        raise InputError(
            f"{path} is a link to {path.readlink()}, which is not there", "remove the link."
        )
    return Path(os.path.realpath(path)) if path.is_symlink() else path


def shortened(path: str | Path) -> str:
    """A path for a message, which nobody reads to the end of 4,000 characters."""
    text = str(path)
    return text if len(text) <= MOST_SHOWN else f"{text[:MOST_SHOWN]}…"


def is_stream(path: Path) -> bool:
    """Whether this is a device or a pipe, such as /dev/null: written into, and never replaced."""
    try:
        regular = path.is_file() or path.is_dir()
        return path.exists() and (not regular or path.is_relative_to("/dev"))
    except (OSError, ValueError):
        return False
