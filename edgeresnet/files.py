"""Files: where they are kept, where users' paths lead to, whole or not at all, and their hashes."""

from __future__ import annotations

import hashlib
import json
import math
import os
import sys
from collections.abc import Mapping
from pathlib import Path
from typing import Any

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


def sha256_file(path: Path) -> str:
    """Hex digest of a file."""
    digest = hashlib.sha256()
    with path.open("rb") as file:
        while chunk := file.read(1 << 20):
            digest.update(chunk)
    return digest.hexdigest()


def write_json(result: Mapping[str, Any], target: str | Path) -> None:
    """Write the result whole or not at all; ``-`` is stdout, and ``~`` the home folder."""
    text = json.dumps(_finite(result), indent=2, ensure_ascii=False) + "\n"
    if str(target) == "-":
        sys.stdout.write(text)
        return
    path = from_home(target)
    partial = path.with_name(f".{path.name}.partial")
    try:
        partial.write_text(text, encoding="utf-8")
        partial.replace(path)
    except OSError as error:
        raise InputError(
            f"cannot write {path}: {error.strerror}", "give another --json."
        ) from error


def _finite(value: Any) -> Any:
    """JSON knows no NaN: what has no value is null."""
    if isinstance(value, dict):
        return {k: _finite(v) for k, v in value.items()}
    if isinstance(value, (list, tuple)):
        return [_finite(v) for v in value]
    return None if isinstance(value, float) and not math.isfinite(value) else value
