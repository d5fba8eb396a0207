"""What a canonical quantized graph must look like, checked before any target sees it."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir
import torch

from edgeresnet.errors import CheckError
from edgeresnet.host.export.canonical_graph import weight_of
from edgeresnet.host.export.graph import (
    DEQUANTIZE,
    QUANTIZE,
    array_of,
    input_of,
    nodes_of,
    producer_type,
)
from edgeresnet.host.models.sparsity_2_4 import PATTERN, has_pattern_axis, keeps_pattern

# These hand the grid of their input through unchanged.
TRANSPARENT = ("MaxPool", "Flatten")
REPORT = (
    "the exported graph is not what edgeresnet writes: report it with the versions of torch and "
    "onnxscript."
)


def check_canonical(model: ir.Model, floats: Collection[str] = ()) -> dict[str, int]:
    """Refuse a graph in which another layer than these would run in float, or one of these not.

    Args:
        model: as `edgeresnet.host.export.canonical_graph` writes it.
        floats: the layers and adds that stay float.

    Returns:
        How many convolutions, residual adds and classifiers are quantized on all their inputs.

    Raises:
        CheckError: names the layer and what is wrong with it.
    """
    graph = model.graph
    for node in nodes_of(graph, QUANTIZE, DEQUANTIZE):
        _check_grid(node)
    counts = {"Conv": 0, "Add": 0, "Gemm": 0}
    missing = set(floats)
    for node in nodes_of(graph, *counts):
        if node.name in missing:
            missing.remove(node.name)
            _check_float(node)
            continue
        for value in _operands(node):
            if not _on_grid(value):
                raise _fault(node, f"its input {value.name} is not quantized")
        if node.op_type != "Add":
            _check_weight(node)
        counts[node.op_type] += 1
    if missing:
        raise CheckError(f"{min(missing)} is to stay float, and is not in the graph", REPORT)
    return counts


def _operands(node: ir.Node) -> list[ir.Value]:
    """What a layer computes on, its weights aside."""
    return [input_of(node, 0)] + ([input_of(node, 1)] if node.op_type == "Add" else [])


def _check_float(node: ir.Node) -> None:
    if node.op_type == "Add":
        quantized = all(_on_grid(value) for value in _operands(node))
    else:
        stored, dequantize = weight_of(node)
        quantized = dequantize is not None or array_of(stored).dtype != np.float32
    if quantized:
        raise _fault(node, "it is to stay float, and is quantized")


def check_signed(model: ir.Model) -> None:
    """Refuse what TensorRT cannot represent, or reads as something else without an error.

    It quantizes symmetrically to int8. A uint8 zero point of 0 only makes it warn and read int8,
    which halves the range; any other zero point, and a quantized bias, it refuses to parse.

    Args:
        model: any graph with Q/DQ; one without is fine.

    Raises:
        CheckError: names the node and the reason.
    """
    graph = model.graph
    for node in nodes_of(graph, QUANTIZE, DEQUANTIZE):
        if node.op_type == DEQUANTIZE and _element_type(input_of(node, 0)) == ir.DataType.INT32:
            raise _unsigned(node, "it dequantizes int32, as of a quantized bias")
        if len(node.inputs) < 3 or node.inputs[2] is None:
            raise _unsigned(node, "it has no zero point, which makes it uint8")
        zero_point = array_of(input_of(node, 2))
        if zero_point.dtype != np.int8:
            raise _unsigned(node, f"its zero point is {zero_point.dtype} and not int8")
        if zero_point.any():
            raise _unsigned(node, "its zero point is not 0")


def _element_type(value: ir.Value) -> ir.DataType | None:
    return value.dtype if value.const_value is None else value.const_value.dtype


def _unsigned(node: ir.Node, what: str) -> CheckError:
    return CheckError(
        f"TensorRT does not run {node.op_type} {node.name}: {what}",
        "export it with --target tensorrt, which quantizes to int8 around 0 and leaves biases "
        "in float.",
    )


def check_pattern(model: ir.Model) -> int:
    """Refuse a graph whose weights are not 2:4 sparse along their input channels.

    Returns:
        How many layers are; those whose input channels do not come in fours are passed over.

    Raises:
        CheckError: names the layer with more than two weights of four that are not zero.
    """
    count = 0
    for node in nodes_of(model.graph, "Conv", "Gemm"):
        weight = torch.from_numpy(array_of(weight_of(node)[0]).copy())
        if not has_pattern_axis(weight):
            continue
        if not keeps_pattern(weight):
            raise CheckError(
                f"{node.op_type} {node.name} has lost its {PATTERN} sparsity",
                "prune the float checkpoint again with --pattern 2:4, and quantize that.",
            )
        count += 1
    return count


def _on_grid(value: ir.Value) -> bool:
    while producer_type(value) in TRANSPARENT:
        producer = value.producer()
        assert producer is not None
        value = input_of(producer, 0)
    return producer_type(value) == DEQUANTIZE


def _check_grid(node: ir.Node) -> None:
    scale, zero_point = array_of(input_of(node, 1)), array_of(input_of(node, 2))
    if not (np.isfinite(scale).all() and (scale > 0).all()):
        raise _fault(node, "its scale is not a positive number")
    if zero_point.dtype != np.int8 or zero_point.any():
        raise _fault(node, f"its zero point is {zero_point.dtype} and not int8 0")


def _check_weight(node: ir.Node) -> None:
    stored, dequantize = weight_of(node)
    if dequantize is None or stored.const_value is None or array_of(stored).dtype != np.int8:
        raise _fault(node, "its weight is not an int8 constant")
    if array_of(input_of(dequantize, 1)).shape != array_of(stored).shape[:1]:
        raise _fault(node, "its weight has no scale for each output channel")


def _fault(node: ir.Node, what: str) -> CheckError:
    return CheckError(
        f"{node.op_type} {node.name}: {what}",
        REPORT,
    )
