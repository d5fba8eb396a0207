"""The encodings of the canonical graph: rewritten so that a target's kernels fuse it.

The canonical s8 graph loads everywhere, agrees everywhere and is slower than float in ONNX
Runtime. What decides is the zero point behind a ReLU and that each float operator stands directly
between DequantizeLinear and QuantizeLinear.
"""

from __future__ import annotations

from collections.abc import Callable

import numpy as np
import onnx_ir as ir
from onnx_ir.passes import common as cleaning

from edgeresnet.device.targets.precision import WIDE, float_precision, is_quantized
from edgeresnet.host.export.canonical_graph import coarsen_weights, weight_of
from edgeresnet.host.export.encodings.grids import insert_pair, set_grid
from edgeresnet.host.export.encodings.half import to_half
from edgeresnet.host.export.encodings.hexagon import (
    check_quantized_outputs,
    pack_weights,
    widen_classifier,
    widen_layers,
)
from edgeresnet.host.export.graph import (
    DEQUANTIZE,
    QUANTIZE,
    append_after,
    array_of,
    behind_quantization,
    constant,
    input_of,
    nodes_of,
    producer_type,
)
from edgeresnet.host.export.lint import check_signed

# Keeps round(bias / scale) well inside int32, with room for the accumulator it starts.
LARGEST_BIAS = float(2**30)
NON_NEGATIVE = ("Relu",)
KEEPS_SIGN = ("MaxPool", "GlobalAveragePool", "Flatten")


def encode_unsigned(model: ir.Model, precision: str) -> None:
    """Write activations as uint8 and biases as int32, in place: ONNX Runtime and OpenVINO.

    Behind a ReLU the zero point is 0 and the clip point is kept, so the step is 127/255 of the
    canonical one; elsewhere the zero point is 128, which represents the same numbers exactly.
    These runtimes choose the type of floats themselves, so ``precision`` changes nothing.
    """
    _unsigned_grids(model.graph)
    _keep_float(model.graph)
    _integer_biases(model)


def encode_hexagon(model: ir.Model, precision: str) -> None:
    """Write activations as `encode_unsigned` and 4-bit weights as INT4; quantize the logits: QNN.

    Hexagon has no classifier with float output, and 8-bit logits would tie. So the classifier has
    16-bit inputs and outputs, whatever the rest has, and so do layers that are to stay float. Float
    graphs run in FP16 there as they are.
    """
    if not is_quantized(precision):
        return
    _unsigned_grids(model.graph, 16 if precision == WIDE else 8)
    if precision != WIDE:
        widen_layers(model)
    widen_classifier(model)
    _integer_biases(model)
    pack_weights(model)
    cleaning.RemoveUnusedNodesPass()(model)
    check_quantized_outputs(model)


def encode_signed(model: ir.Model, precision: str) -> None:
    """Make the canonical graph TensorRT's, in place.

    Its grid is TensorRT's own already, with float biases and both branches of every add
    quantized. What is left is the type of the floats, which a strongly typed network takes from
    the graph; the lint then has the last word.
    """
    if float_precision(precision) == "fp16":
        to_half(model)
    check_signed(model)


# By the names that `TargetSpec.encoding` gives.
ENCODINGS: dict[str, Callable[[ir.Model, str], None]] = {
    "unsigned": encode_unsigned,
    "signed": encode_signed,
    "hexagon": encode_hexagon,
}


def _unsigned_grids(graph: ir.Graph, bits: int = 8) -> None:
    _pair_up_pools(graph)
    for quantize in nodes_of(graph, QUANTIZE):
        _to_unsigned(graph, quantize, bits)


def _keep_float(graph: ir.Graph) -> None:
    """Let no runtime quantize a layer by itself that is to stay float.

    ONNX Runtime gives a float convolution between DQ and Q int8 weights of its own choice, where
    no more than a ReLU stands before the Q, which it drops. A leaky one with a slope of 0 is the
    same function, is no ReLU to it, and becomes part of the convolution's kernel as well.
    """
    for node in nodes_of(graph, "Conv"):
        if weight_of(node)[1] is not None:
            continue
        for relu in [user for user, _ in node.outputs[0].uses() if user.op_type == "Relu"]:
            if any(user.op_type == QUANTIZE for user, _ in relu.outputs[0].uses()):
                relu.op_type = "LeakyRelu"
                relu.attributes.add(ir.AttrFloat32("alpha", 0.0))


def _integer_biases(model: ir.Model) -> None:
    """The last step: a bias is on the grid of the input that its layer has by then."""
    for node in nodes_of(model.graph, "Conv", "Gemm"):
        _to_int32_bias(model.graph, node)
    cleaning.RemoveUnusedNodesPass()(model)
    cleaning.TopologicalSortPass()(model)


def _pair_up_pools(graph: ir.Graph) -> None:
    """Close MaxPool, GlobalAveragePool and Flatten with a Q/DQ pair of their own.

    An integer kernel takes the place of an operator only if it finds DQ before and Q behind it.
    MaxPool and Flatten keep their input's grid; the average has that of the Q that follows.
    """
    for pool in nodes_of(graph, "MaxPool"):
        before = input_of(pool, 0).producer()
        if before is not None and before.op_type == DEQUANTIZE:
            insert_pair(graph, pool.outputs[0], before, f"{pool.name}_quant")
    for flatten in nodes_of(graph, "Flatten"):
        behind = next((n for n, _ in flatten.outputs[0].uses() if n.op_type == QUANTIZE), None)
        if behind is not None:
            insert_pair(graph, input_of(flatten, 0), behind, "avgpool_quant")


def _is_non_negative(value: ir.Value) -> bool:
    value = behind_quantization(value)
    while producer_type(value) in KEEPS_SIGN:
        producer = value.producer()
        assert producer is not None
        value = behind_quantization(input_of(producer, 0))
    return producer_type(value) in NON_NEGATIVE


def _to_unsigned(graph: ir.Graph, quantize: ir.Node, bits: int = 8) -> None:
    """Give a Q/DQ pair the unsigned grid of so many bits that keeps its clip point."""
    scale = array_of(input_of(quantize, 1)).astype(np.float32)
    middle = 2 ** (bits - 1)
    if _is_non_negative(input_of(quantize, 0)):
        set_grid(graph, quantize, scale * np.float32(127 / (2 * middle - 1)), 0, bits)
    else:
        set_grid(graph, quantize, scale * np.float32(127 / (middle - 1)), middle, bits)


def _to_int32_bias(graph: ir.Graph, node: ir.Node) -> None:
    """Write the bias as int32 with the product of input and weight scale."""
    _, dequantize = weight_of(node)
    source = input_of(node, 0).producer()
    if dequantize is None or source is None or len(node.inputs) < 3:
        return
    bias = array_of(input_of(node, 2)).astype(np.float64)
    input_scale = float(array_of(input_of(source, 1)))
    weight_scale = array_of(input_of(dequantize, 1)).astype(np.float64)
    needed = np.abs(bias) / (input_scale * LARGEST_BIAS)
    if (needed > weight_scale).any():
        # Training switches channels off and leaves their bias; its rounding grows to 2**-30 of it.
        weight_scale = coarsen_weights(graph, dequantize, np.maximum(weight_scale, needed))
    step = (weight_scale * input_scale).astype(np.float32)
    integers = np.rint(bias / step).astype(np.int32)
    grid = [
        constant(graph, f"{node.name}.bias_scale", step),
        constant(graph, f"{node.name}.bias_zero_point", np.zeros(step.shape, np.int32)),
    ]
    inputs = [constant(graph, f"{node.name}.bias.int32", integers), *grid]
    before = input_of(node, 1)
    wide = append_after(
        graph, before, DEQUANTIZE, inputs, {"axis": 0}, name=f"{node.name}.bias_dequantize"
    )
    node.replace_input_with(2, wide)
