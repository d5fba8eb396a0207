"""The width step of a target's kernels on this machine: measured once, then remembered."""

from __future__ import annotations

import json
from pathlib import Path

from edgeresnet.device.machine.environment import fingerprint
from edgeresnet.files import cache_dir, locked, write_text

# 16 channels on every x86 processor that was measured; wider vectors want more.
DEFAULT_STEP = 16


def width_step(target: str, device: str) -> int:
    """What was measured here for a target and device, else 16."""
    step = known_steps().get(f"{target} {device}", DEFAULT_STEP)
    return step if step > 0 else DEFAULT_STEP


def known_steps() -> dict[str, int]:
    """Every measured step of this machine, by ``target device``."""
    try:
        kept = json.loads(_path().read_text(encoding="utf-8"))
        return {str(name): int(step) for name, step in kept.items()}
    except (OSError, ValueError, AttributeError, TypeError):
        # Nothing was measured here, or the file is damaged: measuring writes it anew.
        return {}


def remember_step(target: str, device: str, step: int) -> Path:
    """Keep a measured step, until a processor or a runtime's version changes."""
    path = _path()
    # Another process may be adding the step of another target.
    with locked(path):
        steps = {**known_steps(), f"{target} {device}": step}
        write_text(json.dumps(steps, indent=2) + "\n", path)
    return path


def _path() -> Path:
    return cache_dir() / "width-steps" / f"{fingerprint()}.json"
