"""Preprocessing inside the graph: uint8 NHWC pixels in, so that a device feeds a camera frame."""

from __future__ import annotations

from typing import Any

import numpy as np
import onnx_ir as ir

from edgeresnet.device.data.preprocess import affine
from edgeresnet.host.export.canonical_graph import INPUT_NAME
from edgeresnet.host.export.graph import constant
from edgeresnet.settings.inputs import InputSpec


def embed_preprocess(model: ir.Model, spec: InputSpec, *, cast_first: bool = False) -> None:
    """Replace the input (N, 3, H, W) float32 by (N, H, W, 3) uint8 and normalize inside.

    The arithmetic is that of `edgeresnet.device.data.preprocess.normalize`: float32
    ``x * scale + offset``.

    Args:
        model: changed in place.
        spec: what the pixels are normalized with.
        cast_first: before the transposition of four times as many bytes: TensorRT does nothing
            else with uint8.
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
    steps: list[tuple[str, dict[str, Any]]] = [
        ("Transpose", {"perm": [0, 3, 1, 2]}),
        ("Cast", {"to": ir.DataType.FLOAT}),
    ]
    chain: list[ir.Node] = []
    for op, attributes in reversed(steps) if cast_first else steps:
        before = chain[-1].outputs[0] if chain else pixels
        chain.append(ir.node(op, [before], attributes, name=f"preprocess.{op.lower()}"))
    chain.append(ir.node("Mul", [chain[-1].outputs[0], scale], name="preprocess.mul"))
    chain.append(ir.node("Add", [chain[-1].outputs[0], offset], name="preprocess.add"))
    for node in chain:
        node.outputs[0].name = f"{node.name}.output"
    graph.insert_before(graph[0], chain)
    for node, index in users:
        node.replace_input_with(index, chain[-1].outputs[0])
