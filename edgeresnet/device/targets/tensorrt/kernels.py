"""Which layers of a network an engine computes in integers, from the engine's record."""

from __future__ import annotations

import re
from collections.abc import Mapping
from pathlib import Path

from edgeresnet.device.targets.protocol import ENGINES, Kernel
from edgeresnet.device.targets.tensorrt.engine import ENGINE, read_record
from edgeresnet.device.targets.tensorrt.layers import EngineLayer

# The Q behind an add; a second one with the same step has a number in its name.
OUTPUT_GRID = re.compile(r"\.output_quant(\.\d+)?\.quantize$")


def engine_kernels(model_path: Path, expected: Mapping[str, str]) -> list[Kernel] | None:
    """The layers of the engine that was built beside the model; None if none could be built.

    TensorRT computes a convolution or classifier in integers if what it multiplies is int8. An
    add becomes part of a pointwise kernel, which must hand on int8, or round its sum to the grid
    before it dequantizes that for a layer that stays float.
    """
    engines = sorted((model_path.parent / ENGINES).glob(f"*{ENGINE}"))
    if not engines:
        return None
    layers = [EngineLayer(**facts) for facts in read_record(engines[0]).layers]
    multiplied = {name for layer in layers if layer.matrix for name in layer.layers}
    kernels = []
    for layer in layers:
        adds = tuple(name for name in layer.layers if expected.get(name) == "Add")
        if adds:
            kernels.append(_of_adds(layer, adds))
        # The rest of a convolution, as its bias, is in pointwise kernels under its name too; a
        # classifier in float may be in nothing else.
        products = tuple(
            name
            for name in layer.layers
            if expected.get(name) in ("Conv", "Gemm") and (layer.matrix or name not in multiplied)
        )
        if products:
            multiplied.update(products)
            integer = set(layer.inputs) == {"int8"} and layer.weights == "int8"
            precision = "int8" if integer else f"{layer.precision} by {layer.weights}"
            kind = f"{layer.op} of {layer.precision}"
            kernels.append(Kernel(kind, precision, layer.unit, products))
    return kernels


def _of_adds(layer: EngineLayer, adds: tuple[str, ...]) -> Kernel:
    wrote = ", ".join(layer.outputs)
    rounds = any(OUTPUT_GRID.search(name) for name in layer.layers)
    precision = "int8" if rounds or set(layer.outputs) == {"int8"} else wrote
    return Kernel(f"{layer.op} to {wrote}", precision, layer.unit, adds)
