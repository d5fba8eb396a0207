"""Whether a target's device is in this machine, and what it computes in there."""

from __future__ import annotations

from edgeresnet.device.targets.protocol import Target


def why_not_here(target: Target, device: str, *, timed: bool) -> str | None:
    """Why a device that exists somewhere cannot be measured on this machine; None if it can.

    Args:
        target: that knows the device.
        device: its name.
        timed: whether times count: an emulator has none.
    """
    here = {one.name: one for one in target.devices()}
    if device in here:
        if timed and here[device].emulated:
            return "it is emulated here, and the time of an emulator is no latency"
        return None
    lacking = {missing.name: missing.reason for missing in target.missing()}
    return lacking.get(device) or target.available().reason or "this machine has none"


def precisions_here(target: Target, device: str) -> tuple[str, ...]:
    """The target's precisions that a device of this machine computes in; none if it is not here.

    Of a precision of two parts, as ``int8+fp16``, it must have both.
    """
    here = {one.name: one for one in target.devices()}
    if device not in here:
        return ()
    known = {capability.lower() for capability in here[device].capabilities}
    return tuple(p for p in target.spec.precisions if known.issuperset(p.split("+")))
