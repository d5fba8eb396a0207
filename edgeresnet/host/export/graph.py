"""Small moves on an ONNX graph that every pass needs; the graph itself is onnx_ir's."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import onnx_ir as ir
from numpy.typing import NDArray

from edgeresnet.errors import CheckError

QUANTIZE, DEQUANTIZE = "QuantizeLinear", "DequantizeLinear"


def nodes_of(graph: ir.Graph, *op_types: str) -> Iterator[ir.Node]:
    """The nodes of those types, in order; the graph may be changed meanwhile."""
    return iter([node for node in graph if node.op_type in op_types])


def input_of(node: ir.Node, index: int) -> ir.Value:
    """An input that must be there."""
    value = node.inputs[index] if index < len(node.inputs) else None
    if value is None:
        raise CheckError(
            f"{node.op_type} {node.name} has no input {index}",
            "this is a change in the exporter: report it with the torch and onnxscript versions.",
        )
    return value


def array_of(value: ir.Value) -> NDArray[Any]:
    """The numbers of a constant."""
    if value.const_value is None:
        raise CheckError(
            f"tensor {value.name} is not a constant",
            "this is a change in the exporter: report it with the torch and onnxscript versions.",
        )
    return value.const_value.numpy()


def constant(graph: ir.Graph, name: str, array: NDArray[Any]) -> ir.Value:
    """A new initializer of that name."""
    tensor = ir.tensor(array, name=name)
    value = ir.Value(
        name=name, shape=ir.Shape(array.shape), type=ir.TensorType(tensor.dtype), const_value=tensor
    )
    graph.initializers[name] = value
    return value


def append_after(
    graph: ir.Graph,
    value: ir.Value,
    op_type: str,
    inputs: Sequence[ir.Value],
    attributes: Mapping[str, Any] | None = None,
    *,
    name: str,
) -> ir.Value:
    """A new node placed right behind the one that makes ``value`` (or first in the graph).

    Returns:
        The new node's output, ``<name>.output``; nothing uses it yet.
    """
    node = ir.node(op_type, inputs, attributes, name=name)
    node.outputs[0].name = f"{name}.output"
    producer = value.producer()
    if producer is None:
        graph.insert_before(graph[0], node)
    else:
        graph.insert_after(producer, node)
    return node.outputs[0]


def producer_type(value: ir.Value) -> str | None:
    """Type of the node that makes ``value``; None for inputs and constants."""
    producer = value.producer()
    return None if producer is None else producer.op_type


def behind_quantization(value: ir.Value) -> ir.Value:
    """The tensor that entered the Q/DQ pairs that ``value`` came through, if any."""
    while producer_type(value) in (QUANTIZE, DEQUANTIZE):
        producer = value.producer()
        assert producer is not None
        value = input_of(producer, 0)
    return value
