"""The targets a bundle can be made for: one module each, and one line in ``TARGETS``."""

from __future__ import annotations

from edgeresnet.errors import InputError
from edgeresnet.targets.onnx import OnnxTarget
from edgeresnet.targets.openvino import OpenVinoTarget
from edgeresnet.targets.protocol import (
    Availability,
    BuildOptions,
    Device,
    Kernel,
    LayerProfile,
    Missing,
    RunOptions,
    Session,
    Target,
)
from edgeresnet.targets.qnn import QnnTarget
from edgeresnet.targets.tensorrt import TensorRtTarget

__all__ = [
    "TARGETS",
    "Availability",
    "BuildOptions",
    "Device",
    "Kernel",
    "LayerProfile",
    "Missing",
    "RunOptions",
    "Session",
    "Target",
    "check_device_name",
    "target_of",
]

TARGETS: dict[str, Target] = {
    "onnx": OnnxTarget(),
    "openvino": OpenVinoTarget(),
    "tensorrt": TensorRtTarget(),
    "qnn": QnnTarget(),
}


def target_of(name: str) -> Target:
    """The target of that name; InputError lists the known ones."""
    if name not in TARGETS:
        raise InputError(f"target {name} is not known", f"give one of {', '.join(TARGETS)}.")
    return TARGETS[name]


def check_device_name(name: str, target: Target | None = None) -> None:
    """Refuse a device that exists nowhere for a target, or, with None, for no target.

    Whether it is in this machine is another question: `Target.devices` and `Target.load` answer it.

    Raises:
        InputError: lists the known ones.
    """
    asked = [*TARGETS.values()] if target is None else [target]
    if any(one.knows_device(name) for one in asked):
        return
    known = dict.fromkeys(device for one in asked for device in one.device_names)
    raise InputError(
        f"target {target.name} has no device {name}" if target else f"device {name} is not known",
        f"give one of {', '.join(known)}.",
    )
