"""The width step of a target's kernels on this machine: measured once, then remembered."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeresnet.device.machine.environment import fingerprint
from edgeresnet.errors import InputError
from edgeresnet.files.locks import locked
from edgeresnet.files.places import cache_dir
from edgeresnet.files.writing import write_text
from edgeresnet.untrusted import read_record

# 16 channels on every x86 processor that was measured; wider vectors want more.
DEFAULT_STEP = 16
Step = Annotated[int, Field(ge=1, le=65_536)]


def width_step(target: str, device: str) -> int:
    """What was measured here for a target and device, else 16."""
    return known_steps().get(f"{target} {device}", DEFAULT_STEP)


def known_steps() -> dict[str, int]:
    """Every measured step of this machine, by ``target device``."""
    if not (path := _path()).exists():
        return {}
    try:
        return read_record(path, dict[str, Step], "width steps", "measure them again.")
    except InputError:
        # The file is damaged: measuring writes it anew.
        return {}


def remember_step(target: str, device: str, step: int) -> Path:
    """Keep a measured step, until a processor or a runtime's version changes."""
    path = _path()
    # Another process may be adding the step of another target.
    with locked(path):
        steps = {**known_steps(), f"{target} {device}": step}
        write_text(json.dumps(steps, indent=2) + "\n", path, sync=False)
    return path


def _path() -> Path:
    return cache_dir() / "width-steps" / f"{fingerprint()}.json"
