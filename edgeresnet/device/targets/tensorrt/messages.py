"""What TensorRT says when it does not build: our errors for what is known of its messages."""

from __future__ import annotations

from pathlib import Path
from typing import Any

from edgeresnet.device.targets.tensorrt.bindings import WARNING, Bindings, log_of, tells_memory
from edgeresnet.device.targets.tensorrt.cuda import out_of_memory
from edgeresnet.errors import CheckError, InputError

FIX = "export it again with --target tensorrt, which writes what TensorRT reads as it is meant."
BUILD_FIX = "look up the message in NVIDIA's documentation; less memory may need --workspace-mib."
DLA_FIX = "add --gpu-fallback for layers that the DLA cannot run; profile --layers shows which."
# What TensorRT says: what it means, and what mends it. The first is only a warning of its parser,
# and then it runs with half the range.
KNOWN = {
    "UINT8 zero_point only on DLA": (
        "the model is quantized to uint8, which TensorRT reads as int8 and so halves the range",
        FIX,
    ),
    "Non-zero zero point is not supported": (
        "the model is quantized with zero points other than 0, and TensorRT has none",
        FIX,
    ),
    "input has type Int32 but must have type": (
        "the model has quantized biases, and TensorRT adds biases in float",
        FIX,
    ),
}


def made(bindings: Bindings, thing: Any) -> Any:
    """What TensorRT has made; where it has not, it says why in its log and returns None."""
    if thing is None:
        told = last_error(log_of(bindings).take())
        cause = f"TensorRT {bindings.version_text} cannot begin to build: {told}"
        raise out_of_memory(cause) if tells_memory(told) else CheckError(cause, BUILD_FIX)
    return thing


def known_fault(text: str, model_path: Path) -> InputError | None:
    """Our error for what TensorRT says, if we know it."""
    for mark, (meaning, fix) in KNOWN.items():
        if mark in text:
            return InputError(f"TensorRT does not build {model_path}: {meaning} ({mark})", fix)
    return None


def check_messages(messages: list[tuple[int, str]], model_path: Path) -> None:
    for severity, text in messages:
        if severity <= WARNING and (fault := known_fault(text, model_path)):
            raise fault


def last_error(messages: list[tuple[int, Any]]) -> str:
    errors = [text for severity, text in messages if severity < WARNING]
    return errors[-1] if errors else "it gives no reason"
