"""Preprocessing inside the graph: uint8 NHWC pixels in, so that a device feeds a camera frame."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeresnet.dataset import InputSpec, affine
from edgeresnet.export.canonical import INPUT_NAME
from edgeresnet.export.graph import constant


def embed_preprocess(model: ir.Model, spec: InputSpec) -> None:
    """Replace the input (N, 3, H, W) float32 by (N, H, W, 3) uint8 and normalize inside.

    The arithmetic is that of `edgeresnet.dataset.normalize`: float32 ``x * scale + offset``.
    """
    graph = model.graph
    normalized = graph.inputs[0]
    assert normalized.shape is not None
    batch, channels, height, width = normalized.shape
    users = list(normalized.uses())
    shape = ir.Shape([batch, height, width, channels])
    pixels = ir.Value(name=INPUT_NAME, shape=shape, type=ir.TensorType(ir.DataType.UINT8))
    graph.inputs[0] = pixels
    scale, offset = (
        constant(graph, f"preprocess.{name}", array.astype(np.float32).reshape(1, 3, 1, 1))
        for name, array in zip(("scale", "offset"), affine(spec), strict=True)
    )
    chain = [
        ir.node("Transpose", [pixels], {"perm": [0, 3, 1, 2]}, name="preprocess.transpose"),
    ]
    chain.append(
        ir.node("Cast", chain[-1].outputs, {"to": ir.DataType.FLOAT}, name="preprocess.cast")
    )
    chain.append(ir.node("Mul", [chain[-1].outputs[0], scale], name="preprocess.mul"))
    chain.append(ir.node("Add", [chain[-1].outputs[0], offset], name="preprocess.add"))
    for node in chain:
        node.outputs[0].name = f"{node.name}.output"
    graph.insert_before(graph[0], chain)
    for node, index in users:
        node.replace_input_with(index, chain[-1].outputs[0])
