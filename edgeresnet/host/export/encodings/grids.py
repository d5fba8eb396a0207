"""Grids of Q/DQ pairs: given, copied, moved."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir
from numpy.typing import NDArray

from edgeresnet.host.export.graph import DEQUANTIZE, QUANTIZE, append_after, constant, input_of

# Where Q/DQ of 16 bits are defined before opset 21.
MICROSOFT = "com.microsoft"


def set_grid(
    graph: ir.Graph, quantize: ir.Node, scale: NDArray[np.float32], zero_point: int, bits: int
) -> None:
    """Give a QuantizeLinear and the DequantizeLinears behind it an unsigned grid.

    Args:
        graph: changed in place.
        quantize: of an activation.
        scale: () the step.
        zero_point: the integer that stands for 0.
        bits: 8 or 16.
    """
    name = (quantize.name or "").removesuffix(".quantize")
    zero = np.array(zero_point, np.uint8 if bits == 8 else np.uint16)
    grid = (
        constant(graph, f"{name}.u{bits}_scale", np.asarray(scale, np.float32)),
        constant(graph, f"{name}.u{bits}_zero_point", zero),
    )
    for node in [quantize, *[n for n, _ in quantize.outputs[0].uses()]]:
        node.domain = "" if bits == 8 else MICROSOFT
        for index, value in enumerate(grid, start=1):
            node.replace_input_with(index, value)


def append_pair(graph: ir.Graph, value: ir.Value, like: ir.Node, name: str) -> ir.Value:
    """A Q/DQ pair behind ``value`` with the grid of ``like``; nothing uses it yet."""
    grid = [input_of(like, 1), input_of(like, 2)]
    quantized = append_after(graph, value, QUANTIZE, [value, *grid], name=f"{name}.quantize")
    back = append_after(graph, quantized, DEQUANTIZE, [quantized, *grid], name=f"{name}.dequantize")
    for made in (quantized, back):
        node = made.producer()
        assert node is not None
        node.domain = like.domain
    return back


def insert_pair(graph: ir.Graph, value: ir.Value, like: ir.Node, name: str) -> None:
    """Put Q/DQ with the scale and zero point of ``like`` between ``value`` and its users."""
    users = list(value.uses())
    back = append_pair(graph, value, like, name)
    for node, index in users:
        node.replace_input_with(index, back)
