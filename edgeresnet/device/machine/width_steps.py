"""The width step of a target's kernels on this machine: measured once, then remembered."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated

from pydantic import Field

from edgeresnet.device.machine.measured_once import MeasuredOnce

# 16 channels on every x86 processor that was measured; wider vectors want more.
DEFAULT_STEP = 16
Step = Annotated[int, Field(ge=1, le=65_536)]
STEPS = MeasuredOnce[int]("width-steps", dict[str, Step], "width steps")


def width_step(target: str, device: str) -> int:
    """What was measured here for a target and device, else 16."""
    return known_steps().get(f"{target} {device}", DEFAULT_STEP)


def known_steps() -> dict[str, int]:
    """Every measured step of this machine, by ``target device``."""
    return STEPS.known()


def remember_step(target: str, device: str, step: int) -> Path:
    """Keep a measured step, until a processor or a runtime's version changes."""
    STEPS.remember(f"{target} {device}", lambda before: step)
    return STEPS.path
