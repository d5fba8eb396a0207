"""The one graph that every target's encoding starts from.

Float: convolutions with batch normalization folded in. Quantized: the same graph with Q/DQ on the
canonical grid (symmetric int8, zero point 0), weights as int8 constants. Nodes are called what the
layers are called in the checkpoint, so a kernel in a runtime's profile can be traced back.
"""

from __future__ import annotations

import logging
import re
import warnings
from collections import Counter
from typing import TYPE_CHECKING, Any

import numpy as np
import onnx_ir as ir
import torch
from numpy.typing import NDArray
from onnx_ir.passes import common as cleaning
from onnxscript import opset18 as op

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
from edgeresnet.host.models.fake_quant import PER_TENSOR
from edgeresnet.host.models.headless import with_head

if TYPE_CHECKING:
    from edgeresnet.host.models.quant_resnet import QuantResNet
    from edgeresnet.settings.export import BatchRange

OPSET = 19
INPUT_NAME, OUTPUT_NAME = "images", "logits"


def canonical_graph(
    model: QuantResNet, image_size: int, batch: BatchRange, *, quantized: bool
) -> ir.Model:
    """Export ``model`` through torch's dynamo exporter and tidy the graph.

    Args:
        model: folded, calibrated if ``quantized``; not changed.
        image_size: H and W of the input (N, 3, H, W) float32.
        batch: N, or its range when it is to stay open.
        quantized: False leaves every quantizer out.

    Returns:
        A model with input ``images`` and output ``logits`` (N, classes) float32; of a network
        without a classifier these are nobody's, and `tap_features` leaves them out.
    """
    own = with_head(model).eval()
    own.requires_grad_(False)
    for quantizer in own.quantizers().values():
        quantizer.enabled = quantized
    images = torch.zeros(batch.best if batch.dynamic else batch.smallest, 3, image_size, image_size)
    exported = _export(own, images, batch)
    graph = exported.graph
    _average_pool(graph)
    _name_layers(graph)
    _fold_weights(graph, own)
    for tidy in (
        cleaning.RemoveUnusedNodesPass(),
        cleaning.ClearMetadataAndDocStringPass(),
        cleaning.TopologicalSortPass(),
    ):
        tidy(exported)
    forget_shapes(graph)
    return exported


def forget_shapes(graph: ir.Graph) -> None:
    """Drop the types and shapes of inner tensors: passes make them stale, runtimes infer them."""
    outputs = set(graph.outputs)
    for node in graph:
        for value in node.outputs:
            if value not in outputs:
                value.shape, value.type = None, None


def _quantize_dequantize(
    x: Any, scale: Any, zero_point: Any, axis: int, low: int, high: int
) -> Any:
    """How the exporter writes ``edgeresnet::fake_quant``."""
    if axis == PER_TENSOR:
        return op.DequantizeLinear(op.QuantizeLinear(x, scale, zero_point), scale, zero_point)
    quantized = op.QuantizeLinear(x, scale, zero_point, axis=axis)
    return op.DequantizeLinear(quantized, scale, zero_point, axis=axis)


def _export(model: QuantResNet, images: torch.Tensor, batch: BatchRange) -> ir.Model:
    shapes = None
    if batch.dynamic:
        # torch.export cannot leave a dimension open that may be 1 and is 1 in the example.
        dim = torch.export.Dim("batch", min=batch.smallest, max=batch.largest)
        shapes = ({0: dim},)
    exporter_log = logging.getLogger("torch.onnx")
    level = exporter_log.level
    exporter_log.setLevel(logging.ERROR)
    try:
        with warnings.catch_warnings():
            # Deprecations inside torch's own exporter; nothing that a user could change.
            warnings.simplefilter("ignore")
            program = torch.onnx.export(
                model,
                (images,),
                dynamo=True,
                verbose=False,
                opset_version=OPSET,
                input_names=[INPUT_NAME],
                output_names=[OUTPUT_NAME],
                dynamic_shapes=shapes,
                custom_translation_table={
                    torch.ops.edgeresnet.fake_quant.default: _quantize_dequantize
                },
            )
    finally:
        exporter_log.setLevel(level)
    assert program is not None
    return program.model


def _average_pool(graph: ir.Graph) -> None:
    """Write the exporter's ReduceMean and Reshape as GlobalAveragePool and Flatten.

    Runtimes have integer kernels for the pair, and Flatten leaves the batch open.
    """
    for mean in nodes_of(graph, "ReduceMean"):
        pooled = append_after(
            graph, input_of(mean, 0), "GlobalAveragePool", [input_of(mean, 0)], name="avgpool"
        )
        ir.convenience.replace_all_uses_with(mean.outputs[0], pooled)
        for node, _ in list(pooled.uses()):
            if node.op_type == "Reshape":
                flat = append_after(graph, pooled, "Flatten", [pooled], {"axis": 1}, name="flatten")
                ir.convenience.replace_all_uses_with(node.outputs[0], flat)


def _name_layers(graph: ir.Graph) -> None:
    """Call every node what its layer is called in the checkpoint.

    The exporter lets equal parameters share one tensor, and so one name: of two quantizers with
    the same scale the second gets a number behind its name.
    """
    taken: Counter[str] = Counter()
    for node in graph:
        if node.op_type in ("Conv", "Gemm"):
            weight = behind_quantization(input_of(node, 1))
            _rename(node, _unique(_parameter_name(weight, ".weight"), taken))
        elif node.op_type == QUANTIZE:
            name = _unique(_parameter_name(input_of(node, 1), ".scale"), taken)
            _rename(node, f"{name}.quantize")
        elif node.op_type == DEQUANTIZE:
            quantize = input_of(node, 0).producer()
            name = "" if quantize is None else quantize.name or ""
            _rename(node, f"{name.removesuffix('.quantize')}.dequantize")
        elif node.op_type == "MaxPool":
            _rename(node, "maxpool")
    for add in nodes_of(graph, "Add"):
        branches = [behind_quantization(value).producer() for value in add.inputs if value]
        names = [b.name or "" for b in branches if b is not None]
        block = next((m for n in names if (m := re.match(r"(layer\d\.\d+)\.conv", n))), None)
        if block is not None:
            _rename(add, f"{block[1]}.add")
    for relu in nodes_of(graph, "Relu"):
        producer = input_of(relu, 0).producer()
        _rename(relu, f"{'' if producer is None else producer.name}.relu")


def _unique(name: str, taken: Counter[str]) -> str:
    taken[name] += 1
    return name if taken[name] == 1 else f"{name}.{taken[name]}"


def _parameter_name(value: ir.Value, suffix: str) -> str:
    return (value.name or "").removesuffix(suffix)


def _rename(node: ir.Node, name: str) -> None:
    node.name = name
    output = node.outputs[0]
    if not output.is_graph_output():
        output.name = f"{name}.output"


def _fold_weights(graph: ir.Graph, model: QuantResNet) -> None:
    """Store weights as the int8 constants that QuantizeLinear would make of them."""
    quantizers = model.quantizers()
    for quantize in nodes_of(graph, QUANTIZE):
        weight = input_of(quantize, 0)
        if weight.const_value is None:
            continue
        low, high = quantizers[f"{_parameter_name(weight, '.weight')}.weight_quant"].range
        values, scale = array_of(weight), array_of(input_of(quantize, 1))
        steps = scale.reshape(-1, *[1] * (values.ndim - 1))
        integers = np.clip(np.rint(values / steps), low, high).astype(np.int8)
        stored = constant(graph, f"{weight.name}.int8", integers)
        ir.convenience.replace_all_uses_with(quantize.outputs[0], stored)


def weight_of(node: ir.Node) -> tuple[ir.Value, ir.Node | None]:
    """The stored weight of a Conv or Gemm, and the DequantizeLinear between, if any."""
    value = input_of(node, 1)
    if producer_type(value) != DEQUANTIZE:
        return value, None
    dequantize = value.producer()
    assert dequantize is not None
    return input_of(dequantize, 0), dequantize


def coarsen_weights(
    graph: ir.Graph, dequantize: ir.Node, scale: NDArray[np.float64]
) -> NDArray[np.float64]:
    """Store the weights of a DequantizeLinear with larger steps.

    Args:
        graph: changed in place.
        dequantize: of weights (out, ...), with a scale for each output channel.
        scale: (out,) new steps, none smaller than the present ones.

    Returns:
        The steps as stored, rounded to float32.
    """
    stored = input_of(dequantize, 0)
    integers = array_of(stored)
    ratio = array_of(input_of(dequantize, 1)) / scale
    rescaled = np.rint(integers * ratio.reshape(-1, *[1] * (integers.ndim - 1)))
    name = (dequantize.name or "").removesuffix(".dequantize")
    new_scale = scale.astype(np.float32)
    dequantize.replace_input_with(0, constant(graph, f"{name}.coarse", rescaled.astype(np.int8)))
    dequantize.replace_input_with(1, constant(graph, f"{name}.coarse_scale", new_scale))
    return new_scale.astype(np.float64)
