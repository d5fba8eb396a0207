"""Where things are kept between runs, and where the paths that users give lead to."""

from __future__ import annotations

import os
from pathlib import Path

from edgeresnet.errors import InputError


def cache_dir() -> Path:
    """Ours of the user's cache; made by who writes into it."""
    return Path(os.environ.get("XDG_CACHE_HOME") or Path.home() / ".cache") / "edgeresnet"


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
