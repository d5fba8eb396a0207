"""The targets a bundle can be made for: a folder each, and one line in ``TARGETS``.

This is the only way into a target's room: what others want to know of it, its `TargetSpec` says.
"""

from __future__ import annotations

import inspect
from pathlib import Path

from edgeresnet.device.targets.onnx.target import OnnxTarget
from edgeresnet.device.targets.openvino.target import OpenVinoTarget
from edgeresnet.device.targets.protocol import EXAMPLE, Target
from edgeresnet.device.targets.qnn.target import QnnTarget
from edgeresnet.device.targets.tensorrt.target import TensorRtTarget
from edgeresnet.errors import InputError

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


def example_of(name: str, *, features: bool = False) -> Path | None:
    """The script that goes into a target's bundles, as ``example.py``, to show how they are used.

    It lies beside the module that defines the target; None where there is none.

    Args:
        name: of the target.
        features: of bundles that give features.
    """
    script = f"features_{EXAMPLE}" if features else EXAMPLE
    path = Path(inspect.getfile(type(target_of(name)))).with_name(script)
    return path if path.is_file() else None


def check_device_name(name: str, target: Target | None = None) -> None:
    """Refuse a device that exists nowhere for a target, or, with None, for no target.

    Whether it is in this machine is another question: `Target.devices` and `Target.load` answer it.

    Raises:
        InputError: lists the known ones.
    """
    asked = [*TARGETS.values()] if target is None else [target]
    if any(one.knows_device(name) for one in asked):
        return
    known = dict.fromkeys(device for one in asked for device in one.spec.devices)
    raise InputError(
        f"target {target.spec.name} has no device {name}"
        if target
        else f"device {name} is not known",
        f"give one of {', '.join(known)}.",
    )


def has_own_meter(target_name: str, device: str) -> bool:
    """Whether a device has a power meter of its own, as NVIDIA's GPUs; False for no target's."""
    target = TARGETS.get(target_name)
    return target is not None and target.spec.nvidia_gpu and device.startswith("gpu")
