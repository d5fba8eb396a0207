"""What Qualcomm's NPU wants beside the unsigned encoding: a classifier that ends in integers."""

from __future__ import annotations

from collections.abc import Collection

import numpy as np
import onnx_ir as ir

from edgeresnet.errors import CheckError
from edgeresnet.host.export.canonical_graph import weight_of
from edgeresnet.host.export.encodings.grids import MICROSOFT, append_pair, insert_pair, set_grid
from edgeresnet.host.export.graph import (
    DEQUANTIZE,
    QUANTIZE,
    array_of,
    constant,
    input_of,
    nodes_of,
)

# What may stand between a layer and the QuantizeLinear of its output.
ACTIVATIONS = ("Relu",)
# These have the grid of their input, and a pair of their own behind them.
POOLS = ("MaxPool",)
# Of a node: it has 16-bit inputs and outputs.
WIDE_MARK = "16-bit activations"
# 255 x 257 is 65535: every 8-bit value is a 16-bit value too.
FINER = 257
LOWEST_INT4, HIGHEST_INT4 = -8, 7


def mark_wide(model: ir.Model, names: Collection[str]) -> None:
    """Say which layers and adds have 16-bit activations; `widen_layers` gives them these."""
    for node in nodes_of(model.graph, "Conv", "Gemm", "Add"):
        if node.name in names:
            node.meta[WIDE_MARK] = True


def widen_layers(model: ir.Model) -> None:
    """Give the marked layers and adds 16-bit inputs and outputs, in place.

    A tensor that nobody else writes or reads has a 16-bit grid. One that has an integer layer of
    8 bits beside it keeps its own, and a pair of 16 bits stands between that and the marked layer;
    Hexagon converts there.
    """
    graph = model.graph
    marked = [node for node in nodes_of(graph, "Conv", "Gemm", "Add") if WIDE_MARK in node.meta]
    if not marked:
        return
    model.opset_imports.setdefault(MICROSOFT, 1)
    for quantize in list(nodes_of(graph, QUANTIZE)):
        writer, readers = _writer_of(quantize), _readers_of(quantize)
        if readers and all(WIDE_MARK in n.meta for n in [*readers, *([writer] if writer else [])]):
            _widen(graph, quantize)
    for node in marked:
        for index in range(2 if node.op_type == "Add" else 1):
            _widen_input(graph, node, index)
        _widen_output(graph, node)


def _writer_of(quantize: ir.Node) -> ir.Node | None:
    """The layer whose output is quantized; None: it is the image, or the average of a tensor."""
    node = input_of(quantize, 0).producer()
    while node is not None and node.op_type in (*ACTIVATIONS, *POOLS, QUANTIZE, DEQUANTIZE):
        node = input_of(node, 0).producer()
    return node if node is not None and node.op_type in ("Conv", "Gemm", "Add") else None


def _readers_of(quantize: ir.Node) -> list[ir.Node]:
    """The layers that read what is quantized here, through pools and their pairs."""
    found, waiting = [], [quantize]
    while waiting:
        for user, _ in waiting.pop().outputs[0].uses():
            if user.op_type in ("Conv", "Gemm", "Add"):
                found.append(user)
            else:
                waiting.append(user)
    return found


def _is_narrow(quantize: ir.Node) -> bool:
    return array_of(input_of(quantize, 2)).dtype == np.uint8


def _widen(graph: ir.Graph, quantize: ir.Node) -> None:
    """Give a pair 16 bits, between the ends that it has."""
    if _is_narrow(quantize):
        scale = array_of(input_of(quantize, 1)).astype(np.float32) / np.float32(FINER)
        zero = int(array_of(input_of(quantize, 2)))
        set_grid(graph, quantize, scale, zero * FINER, 16)


def _widen_input(graph: ir.Graph, node: ir.Node, index: int) -> None:
    value = input_of(node, index)
    dequantize = value.producer()
    quantize = None if dequantize is None else input_of(dequantize, 0).producer()
    if quantize is None or not _is_narrow(quantize):
        return
    wide = append_pair(graph, value, quantize, f"{node.name}.wide_input{index}")
    node.replace_input_with(index, wide)
    _widen(graph, _quantize_behind(wide))


def _widen_output(graph: ir.Graph, node: ir.Node) -> None:
    value = node.outputs[0]
    users = [user for user, _ in value.uses()]
    while len(users) == 1 and users[0].op_type in ACTIVATIONS:
        value = users[0].outputs[0]
        users = [user for user, _ in value.uses()]
    for quantize in users:
        if quantize.op_type == QUANTIZE and _is_narrow(quantize):
            wide = append_pair(graph, value, quantize, f"{node.name}.wide_output")
            quantize.replace_input_with(0, wide)
            _widen(graph, _quantize_behind(wide))


def _quantize_behind(pair: ir.Value) -> ir.Node:
    """The QuantizeLinear of a pair, by what its DequantizeLinear gives."""
    dequantize = pair.producer()
    assert dequantize is not None
    quantize = input_of(dequantize, 0).producer()
    assert quantize is not None
    return quantize


def widen_classifier(model: ir.Model) -> None:
    """Give the classifier 16-bit inputs and logits, in place.

    The logits' grid is the smallest around 0 that no input can leave: each logit is at most its
    bias plus the clip point of the input times the sum of its weights of one sign. So it needs
    no calibration; 16 bits leave steps to spare.
    """
    graph = model.graph
    model.opset_imports.setdefault(MICROSOFT, 1)
    for gemm in nodes_of(graph, "Gemm"):
        dequantize = input_of(gemm, 0).producer()
        quantize = input_of(dequantize, 0).producer() if dequantize is not None else None
        if dequantize is None or quantize is None or quantize.op_type != QUANTIZE:
            raise CheckError(
                f"the input of {gemm.name} is not quantized",
                "export a checkpoint that edgeresnet quantize wrote.",
            )
        scale = array_of(input_of(quantize, 1)).astype(np.float32)
        zero = array_of(input_of(quantize, 2))
        if zero.dtype == np.uint8:
            scale = scale / np.float32(FINER)
            set_grid(graph, quantize, scale, int(zero) * FINER, 16)
        flatten = input_of(quantize, 0).producer()
        if flatten is not None and flatten.op_type == "Flatten":
            # Flatten keeps its grid: the step from 8 to 16 bits comes before it.
            insert_pair(graph, input_of(flatten, 0), quantize, "avgpool_wide")
        lowest, highest = (float(scale) * (edge - int(zero) * FINER) for edge in (0, 65535))
        logits = gemm.outputs[0]
        pair = append_pair(graph, logits, quantize, "logits_quant")
        bound = _largest_logit(gemm, lowest, highest)
        behind = next(node for node, _ in logits.uses() if node.op_type == QUANTIZE)
        set_grid(graph, behind, np.array(bound / 32767, np.float32), 32768, 16)
        for index, output in enumerate(graph.outputs):
            if output is logits:
                name = logits.name
                logits.name, pair.name = f"{gemm.name}.output", name
                pair.type, pair.shape = logits.type, logits.shape
                graph.outputs[index] = pair


def _largest_logit(gemm: ir.Node, lowest: float, highest: float) -> float:
    """Largest absolute logit for inputs from ``lowest`` to ``highest``."""
    stored, dequantize = weight_of(gemm)
    weight = array_of(stored).astype(np.float64)
    if dequantize is not None:
        weight = weight * array_of(input_of(dequantize, 1)).astype(np.float64).reshape(-1, 1)
    bias = array_of(input_of(gemm, 2)).astype(np.float64)
    edges = np.stack([weight * lowest, weight * highest])
    sums = [bias + edges.max(0).sum(1), bias + edges.min(0).sum(1)]
    return float(np.abs(sums).max()) or 1.0


def pack_weights(model: ir.Model) -> None:
    """Store the weights of a convolution that 4 bits hold as INT4, in place.

    The same numbers in half the room: the emulator's logits are equal to the last digit, and from
    v73 on a chip's context binary is smaller by as much; older chips compile them to 8 bits.
    """
    graph, four_bits = model.graph, ir.DataType.INT4.numpy()
    for node in nodes_of(graph, "Conv"):
        stored, dequantize = weight_of(node)
        weight = array_of(stored)
        if dequantize is None or weight.min() < LOWEST_INT4 or weight.max() > HIGHEST_INT4:
            continue
        for index, kind in enumerate(("weight", "weight_zero_point")):
            source = 2 * index
            packed = array_of(input_of(dequantize, source)).astype(four_bits)
            value = constant(graph, f"{node.name}.{kind}.int4", packed)
            dequantize.replace_input_with(source, value)
        # ONNX's own takes 4 bits from opset 21 on.
        dequantize.domain = MICROSOFT


def check_quantized_outputs(model: ir.Model) -> None:
    """Refuse a layer whose output is not quantized: Hexagon would run it in FP16, or not at all.

    Raises:
        CheckError: names the layer.
    """
    for node in nodes_of(model.graph, "Conv", "Add", "Gemm"):
        value = node.outputs[0]
        users = [user for user, _ in value.uses()]
        while len(users) == 1 and users[0].op_type in ACTIVATIONS:
            value = users[0].outputs[0]
            users = [user for user, _ in value.uses()]
        if not users or any(user.op_type != QUANTIZE for user in users):
            raise CheckError(
                f"{node.op_type} {node.name} has no quantized output, so Hexagon would not run it "
                "in integers",
                "quantize the float checkpoint again with this edgeresnet, and export that.",
            )
