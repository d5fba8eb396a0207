"""What this machine can run on."""

from __future__ import annotations

from typing import Any

from edgeresnet.device.machine.environment import environment
from edgeresnet.device.machine.width_steps import known_steps, remember_step
from edgeresnet.device.targets.protocol import Target
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.progress import OnStep, silent


def devices(
    *, measure_widths: bool = False, threads: int | None = None, on_step: OnStep = silent
) -> dict[str, Any]:
    """Every target with its devices here, and how to get what is missing.

    Args:
        measure_widths: measure which channel widths each runtime is good at, and remember it.
        threads: of that measurement; None leaves the choice to the runtime.
        on_step: told what is being measured.
    """
    if measure_widths:
        _measure_widths(threads, on_step)
    return {
        "schema": 1,
        "targets": [_listed(name, target) for name, target in TARGETS.items()],
        "width_steps": known_steps(),
        "environment": environment(),
    }


def _listed(name: str, target: Target) -> dict[str, Any]:
    here = target.available()
    return {
        "name": name,
        "available": here.usable,
        "version": here.version,
        "reason": here.reason,
        "fix": here.fix,
        "devices": [vars(device) for device in target.devices()],
        "missing": [vars(lacking) for lacking in target.missing()],
    }


def _measure_widths(threads: int | None, on_step: OnStep) -> None:
    from edgeresnet.host.pruning.width_step import measure_step

    for name, target in TARGETS.items():
        device = target.spec.default_device
        if device in [here.name for here in target.devices()]:
            step = measure_step(name, device, threads=threads, on_step=on_step)
            remember_step(name, device, step)
