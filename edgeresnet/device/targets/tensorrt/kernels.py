"""Which layers of a network an engine computes in integers, from the engine's record."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeresnet.device.targets.protocol import ENGINES, Kernel
from edgeresnet.device.targets.tensorrt.engine import ENGINE, read_record
from edgeresnet.device.targets.tensorrt.layers import EngineLayer


def engine_kernels(model_path: Path, expected: Mapping[str, str]) -> list[Kernel] | None:
    """The layers of the engine that was built beside the model; None if none could be built.

    TensorRT computes a convolution or classifier in integers if what it multiplies is int8. An
    add becomes part of a pointwise kernel, which must hand on int8.
    """
    engines = sorted((model_path.parent / ENGINES).glob(f"*{ENGINE}"))
    if not engines:
        return None
    kernels = []
    for facts in read_record(engines[0]).layers:
        layer = EngineLayer(**facts)
        adds = tuple(name for name in layer.layers if expected.get(name) == "Add")
        if adds:
            wrote = ", ".join(layer.outputs)
            precision = wrote if set(layer.outputs) != {"int8"} else "int8"
            kernels.append(Kernel(f"{layer.op} to {wrote}", precision, layer.unit, adds))
        # The rest of a convolution, as its bias, is in pointwise kernels under its name too.
        products = tuple(name for name in layer.layers if expected.get(name) in ("Conv", "Gemm"))
        if products and layer.matrix:
            integer = set(layer.inputs) == {"int8"} and layer.weights == "int8"
            precision = "int8" if integer else f"{layer.precision} by {layer.weights}"
            kind = f"{layer.op} of {layer.precision}"
            kernels.append(Kernel(kind, precision, layer.unit, products))
    return kernels
