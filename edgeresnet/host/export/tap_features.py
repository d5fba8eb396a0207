"""Features as outputs of the canonical graph, before any encoding sees it.

Where a tensor is on a grid, what leaves is its integers through a DequantizeLinear of its own, so
that nothing stands between the kernels that write and read them, and every convolution and add
stays integer. The encodings give that DequantizeLinear the grid of its pair. A float tensor leaves
through an Identity, which keeps the names of the layers that make it.
"""

from __future__ import annotations

from collections.abc import Sequence

import onnx_ir as ir
from onnx_ir.passes import common as cleaning

from edgeresnet.device.targets.outputs import LOGITS, POOL, Output
from edgeresnet.errors import CheckError
from edgeresnet.host.export.graph import DEQUANTIZE, append_after, input_of

# By what reads the tensor.
READERS = {
    "C2": "layer2.0.conv1",
    "C3": "layer3.0.conv1",
    "C4": "layer4.0.conv1",
    "C5": "avgpool",
    POOL: "fc",
}


def tap_features(model: ir.Model, outputs: Sequence[Output]) -> None:
    """Make these the graph's outputs, in this order, and leave out what only others need.

    Args:
        model: canonical, with the one output ``logits``; changed in place.
        outputs: what it is to give; none: it stays as it is.

    Raises:
        CheckError: the graph has not the layer that reads a feature.
    """
    if not outputs:
        return
    graph = model.graph
    (logits,) = graph.outputs
    shape = logits.shape
    batch = None if shape is None else shape[0]
    found = [logits if o.name == LOGITS else _tapped(graph, o, batch) for o in outputs]
    graph.outputs[:] = found
    cleaning.RemoveUnusedNodesPass()(model)
    cleaning.TopologicalSortPass()(model)


def _tapped(graph: ir.Graph, output: Output, batch: int | ir.SymbolicDim | None) -> ir.Value:
    reader = next((node for node in graph if node.name == READERS[output.name]), None)
    if reader is None:
        raise CheckError(
            f"{READERS[output.name]}, which reads {output.name}, is not in the exported graph",
            "this is a change in the exporter: report it with the torch and onnxscript versions.",
        )
    value = input_of(reader, 0)
    producer = value.producer()
    if producer is not None and producer.op_type == DEQUANTIZE:
        inputs = [input_of(producer, index) for index in range(3)]
        given = append_after(graph, value, DEQUANTIZE, inputs, name=f"{output.name}.dequantize")
    else:
        given = append_after(graph, value, "Identity", [value], name=f"{output.name}.identity")
    given.name = output.name
    given.type = ir.TensorType(ir.DataType.FLOAT)
    given.shape = ir.Shape([batch, *output.shape])
    return given
