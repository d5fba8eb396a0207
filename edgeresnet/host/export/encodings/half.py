"""Half precision written into the graph: TensorRT takes the types of tensors from the ONNX file.

Strongly typed networks have no switch for FP16. A tensor is FP16 because the graph says so, and
DequantizeLinear gives what its scale is made of (ONNX operator DequantizeLinear, version 19).
"""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray
from onnx_ir.passes import common as cleaning

from edgeresnet.errors import CheckError
from edgeresnet.host.export.canonical_graph import coarsen_weights
from edgeresnet.host.export.graph import (
    DEQUANTIZE,
    QUANTIZE,
    append_after,
    array_of,
    input_of,
    nodes_of,
)

FLOAT, HALF = ir.DataType.FLOAT, ir.DataType.FLOAT16
LIMITS = np.finfo(np.float16)
SMALLEST_NORMAL = float(LIMITS.smallest_normal)
FIX = "export without --fp16: the tensors around INT8 are then FP32."


def to_half(model: ir.Model) -> None:
    """Compute in FP16 between the input and the logits, which both stay FP32; in place.

    Raises:
        CheckError: a number does not fit FP16; names the tensor.
    """
    graph = model.graph
    for dequantize in nodes_of(graph, DEQUANTIZE):
        _widen_weight_scale(graph, dequantize)
    cleaning.RemoveUnusedNodesPass()(model)
    scales = {
        input_of(node, 1).name: node.name or "" for node in nodes_of(graph, QUANTIZE, DEQUANTIZE)
    }
    for name, value in list(graph.initializers.items()):
        if value.dtype == FLOAT:
            array = array_of(value)
            if name in scales:
                _check_scale(scales[name], array)
            value.const_value = ir.tensor(_halved(name, array), name=name)
            value.type = ir.TensorType(HALF)
    _cast_borders(graph)


def _widen_weight_scale(graph: ir.Graph, dequantize: ir.Node) -> None:
    """Give channels with hardly any weight a step that FP16 holds in full.

    The step becomes 2**-14 at least, so a weight moves by 2**-15 at most: training has switched
    such channels off, or their weights fill the coarser grid as well.
    """
    stored = input_of(dequantize, 0)
    if stored.const_value is None:
        return
    scale = array_of(input_of(dequantize, 1)).astype(np.float64)
    if (scale < SMALLEST_NORMAL).any():
        coarsen_weights(graph, dequantize, np.maximum(scale, SMALLEST_NORMAL))


def _check_scale(layer: str, scale: NDArray[Any]) -> None:
    smallest = float(scale.min())
    if smallest < SMALLEST_NORMAL:
        raise CheckError(
            f"{layer} has a scale of {smallest:.3g}; FP16 is exact only from "
            f"{SMALLEST_NORMAL:.3g} up, and such a scale loses bits or becomes 0",
            FIX,
        )


def _halved(name: str, array: NDArray[Any]) -> NDArray[np.float16]:
    largest = float(np.abs(array).max(initial=0.0))
    if not largest <= float(LIMITS.max):
        raise CheckError(
            f"tensor {name} reaches {largest:.3g}, and FP16 ends at {LIMITS.max}",
            FIX,
        )
    halved: NDArray[np.float16] = array.astype(np.float16)
    return halved


def _cast_borders(graph: ir.Graph) -> None:
    images = graph.inputs[0]
    users = list(images.uses())
    half = append_after(graph, images, "Cast", [images], {"to": HALF}, name="images.half")
    for node, index in users:
        node.replace_input_with(index, half)
    for index, output in enumerate(list(graph.outputs)):
        graph.outputs[index] = _cast_output(graph, output)


def _cast_output(graph: ir.Graph, output: ir.Value) -> ir.Value:
    """The output in FP32, by its name."""
    name = f"{output.name}.float"
    back = append_after(graph, output, "Cast", [output], {"to": FLOAT}, name=name)
    producer = output.producer()
    back.name, output.name = output.name, f"{producer.name if producer else output.name}.output"
    back.shape, back.type = output.shape, output.type
    output.shape, output.type = None, None
    return back
