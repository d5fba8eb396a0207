"""What each target can be exported in, and what a host needs for that; without torch.

`edgeresnet.host.export` asks it when a bundle is made, `edgeresnet.run.preflight` before a run.
"""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.device.targets.precision import float_precision
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import InputError, MissingError

if TYPE_CHECKING:
    from edgeresnet.settings.export import BatchRange

WRITTEN = {
    "onnx": ("fp32", "int8"),
    "openvino": ("fp32", "fp16", "bf16", "int8"),
    "tensorrt": ("fp32", "fp16", "int8", "int8+fp16"),
    "qnn": ("fp16", "int8", "w8a16"),
}
REASONS = {
    "onnx": "ONNX Runtime's CPU kernels would convert every tensor back to fp32 and be slower",
    "openvino": "it chooses the type of the tensors around INT8 by itself",
    "tensorrt": "its graphs are written with FP16 or FP32 tensors",
    "qnn": "Hexagon computes in integers or in FP16",
}


def prover_of(target: str) -> str:
    """The runtime that proves a target's graph on the host.

    TensorRT needs a GPU, and QNN its emulator: where they do not run, their graphs are proven
    operator by operator, in what every host can run.
    """
    if target == "tensorrt" or (target == "qnn" and not target_of(target).devices()):
        return "onnx"
    return target


def check_written(target: str, precision: str) -> None:
    """Refuse a precision that the target does not have, with the reason.

    Raises:
        InputError: the target is not known or has no such precision.
    """
    target_of(target)
    if precision not in WRITTEN[target]:
        raise InputError(
            f"target {target} has no {precision}: {REASONS[target]}",
            f"give one of {', '.join(WRITTEN[target])}.",
        )


def check_inputs(target: str, batch: BatchRange, *, embed_preprocess: bool) -> None:
    """Refuse inputs that the target does not take.

    Raises:
        InputError: Qualcomm's NPU takes one batch size, and no pixels.
    """
    if target == "qnn" and batch.dynamic:
        raise InputError("target qnn takes one batch size", "give --batch 1, or another number.")
    if target == "qnn" and embed_preprocess:
        raise InputError(
            "target qnn has no operators for the normalization of pixels",
            "leave --embed-preprocess out; the input is float32 NCHW.",
        )


def check_prover(target: str, precision: str) -> None:
    """Refuse an export that could not be proven on this machine.

    Raises:
        MissingError: the runtime that proves it is not installed.
        InputError: no device of this machine computes in the precision.
    """
    prover = target_of(prover_of(target))
    here = prover.available()
    if not here.usable:
        raise MissingError(
            f"a {target} export is proven in {prover.name}, which is not here: {here.reason}",
            here.fix or "",
        )
    if target != "openvino" or float_precision(precision) == "fp32":
        return
    if not any(precision.upper() in d.capabilities for d in prover.devices()):
        raise InputError(
            f"no {target} device on this machine computes in {precision}, so it cannot be proven",
            "export on a machine that has one (edgeresnet devices shows capabilities), or export "
            "--int8 or fp32.",
        )


def check_export(target: str, precision: str, batch: BatchRange, *, embed_preprocess: bool) -> None:
    """Refuse an export before its checkpoint is loaded.

    Raises:
        InputError: target, precision and inputs do not go together.
        MissingError: the runtime that proves it is not installed.
    """
    check_written(target, precision)
    check_inputs(target, batch, embed_preprocess=embed_preprocess)
    check_prover(target, precision)
