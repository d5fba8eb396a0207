"""What Qualcomm's NPU wants beside the unsigned encoding: a classifier that ends in integers."""

from __future__ import annotations

import numpy as np
import onnx_ir as ir

from edgeresnet.errors import CheckError
from edgeresnet.host.export.canonical_graph import weight_of
from edgeresnet.host.export.encodings.grids import MICROSOFT, append_pair, insert_pair, set_grid
from edgeresnet.host.export.graph import QUANTIZE, array_of, input_of, nodes_of

# What may stand between a layer and the QuantizeLinear of its output.
ACTIVATIONS = ("Relu",)


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
            # 255 x 257 is 65535: every 8-bit value is a 16-bit value too.
            scale = scale / np.float32(257)
            set_grid(graph, quantize, scale, int(zero) * 257, 16)
        flatten = input_of(quantize, 0).producer()
        if flatten is not None and flatten.op_type == "Flatten":
            # Flatten keeps its grid: the step from 8 to 16 bits comes before it.
            insert_pair(graph, input_of(flatten, 0), quantize, "avgpool_wide")
        lowest, highest = (float(scale) * (edge - int(zero) * 257) for edge in (0, 65535))
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
