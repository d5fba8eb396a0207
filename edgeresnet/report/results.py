"""Results as JSON, to a file or to stdout."""

from __future__ import annotations

import json
import math
import sys
from pathlib import Path
from typing import Any

from edgeresnet.errors import InputError
from edgeresnet.places import from_home


def write_json(result: dict[str, Any], target: str | Path) -> None:
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
