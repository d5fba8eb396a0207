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
