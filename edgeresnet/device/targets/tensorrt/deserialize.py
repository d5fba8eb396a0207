"""An engine's bytes become an engine, or TensorRT's own message becomes our error."""

from __future__ import annotations

from typing import TYPE_CHECKING

from edgeresnet.device.targets.tensorrt.bindings import WARNING, Bindings, log_of, tells_memory
from edgeresnet.device.targets.tensorrt.cuda import out_of_memory
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    import tensorrt

REBUILD = "build the engine again on this device: edgeresnet build BUNDLE."


def deserialize(
    bindings: Bindings, plan: bytes, device: str, *, host_code: bool
) -> tensorrt.ICudaEngine:
    """Load an engine; InputError with TensorRT's own message if it does not fit.

    Args:
        bindings: this process's TensorRT.
        plan: the engine's bytes, already known to be ours.
        device: ``gpu``, or ``dla0`` and so on.
        host_code: allow the code that version-compatible engines carry with them.
    """
    log = log_of(bindings)
    log.take()
    loader: tensorrt.Runtime = bindings.trt.Runtime(log)
    if host_code:
        loader.engine_host_code_allowed = True
    if device.startswith("dla"):
        loader.DLA_core = int(device.removeprefix("dla") or 0)
    engine = loader.deserialize_cuda_engine(plan)
    if engine is None:
        told = errors_of(bindings)
        cause = f"TensorRT {bindings.version_text} does not load the engine: {told}"
        if tells_memory(told):
            raise out_of_memory(cause)
        raise InputError(cause, REBUILD)
    return engine


def errors_of(bindings: Bindings) -> str:
    """What TensorRT has logged since it was asked last, warnings aside."""
    texts = [text for severity, text in log_of(bindings).take() if severity < WARNING]
    return "; ".join(texts) or "it gives no reason"
