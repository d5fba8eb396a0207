"""Which precisions each target has, and which runtime proves its logits on the host."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.errors import InputError, MissingError
from edgeresnet.precision import float_precision, is_quantized
from edgeresnet.targets import target_of

if TYPE_CHECKING:
    from edgeresnet.checkpoint import Checkpoint

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


def check_precision(checkpoint: Checkpoint, target: str, precision: str) -> None:
    """Refuse what the target cannot run, with the reason, before any work."""
    target_of(target)
    if is_quantized(precision) and checkpoint.precision != "int8":
        raise InputError(
            "an INT8 bundle needs a quantized checkpoint",
            "quantize first: edgeresnet quantize CKPT --data DATA -o int8.pt.",
        )
    if precision not in WRITTEN[target]:
        raise InputError(
            f"target {target} has no {precision}: {REASONS[target]}",
            f"give one of {', '.join(WRITTEN[target])}.",
        )
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
