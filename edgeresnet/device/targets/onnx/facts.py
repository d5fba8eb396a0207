"""What ONNX Runtime reads from an ``.onnx`` file: its inputs and outputs, and each of its nodes."""

from __future__ import annotations

from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgeresnet.closing import temporary_folder
from edgeresnet.device.targets.classifier import TensorInfo, filled
from edgeresnet.device.targets.model_facts import ModelFacts, layer_facts
from edgeresnet.device.targets.onnx.graph import WEIGHTED, OnnxGraph
from edgeresnet.device.targets.onnx.graph_file import read_graph
from edgeresnet.device.targets.onnxruntime_session import (
    SUFFIX,
    noted,
    open_session,
    precision_of,
    run_once,
    session_options,
    tensor_info,
)
from edgeresnet.settings.measuring import RunOptions


def read_onnx(path: Path, image_size: int | None = None) -> ModelFacts:
    """Open a file, and run it once, node by node, to see the shapes.

    Where an input's shape is open beyond the batch nothing is run, and no operation is told.

    Args:
        path: the file.
        image_size: for an input that leaves it open.

    Raises:
        InputError: ONNX Runtime cannot read it.
        MissingError: ONNX Runtime is not installed.
    """
    inputs, outputs, events = _run_once(path, image_size, as_written=True)
    operators = [event["args"].get("op_name", "") for event in events]
    computed: dict[str, str] = {}
    if any("Quant" in op or precision_of(op) == "int8" for op in operators):
        computed = _precisions(_run_once(path, image_size, as_written=False)[2])
    elif events:
        # Nothing is quantized, so every layer is in the float of this runtime's CPU kernels.
        computed = {event["name"]: precision_of(event["args"]["op_name"]) for event in events}
    graph = read_graph(path)
    layers = [
        layer
        for event in events
        if (layer := _layer(event["name"], event["args"], computed, graph))
    ]
    opset = None if graph.opset is None else str(graph.opset)
    return ModelFacts(
        inputs, outputs, operators, layers, opset, parameters=graph.parameters() if layers else None
    )


def _run_once(
    path: Path, image_size: int | None, *, as_written: bool
) -> tuple[list[TensorInfo], list[TensorInfo], list[dict[str, Any]]]:
    """Inputs, outputs, and what the profiler notes of each node when zeros run through."""
    with temporary_folder() as folder:
        settings = session_options(RunOptions(as_written=as_written))
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "nodes")
        # Weights that were packed for a kernel are no longer inputs of their node.
        settings.add_session_config_entry("session.disable_prepacking", "1")
        session = open_session(path, "cpu", settings)
        inputs = [tensor_info(tensor) for tensor in session.get_inputs()]
        outputs = [tensor_info(tensor) for tensor in session.get_outputs()]
        inputs = [filled(tensor, image_size) for tensor in inputs]
        feeds = {tensor.name: _zeros(tensor) for tensor in inputs}
        if all(zeros is not None for zeros in feeds.values()):
            run_once(session, feeds, path)
        written = noted(session)
        del session
    suffix = "_kernel_time"
    events = [e for e in written if e.get("cat") == "Node" and e["name"].endswith(suffix)]
    return inputs, outputs, [{**e, "name": e["name"].removesuffix(suffix)} for e in events]


def _zeros(tensor: TensorInfo) -> Any:
    """For one image; None where more than the batch is open, or numpy has no such type."""
    if tensor.shape is None or None in tensor.shape[1:]:
        return None
    try:
        return np.zeros((tensor.shape[0] or 1, *tensor.shape[1:]), tensor.dtype)
    except TypeError:
        return None


def _precisions(events: list[dict[str, Any]]) -> dict[str, str]:
    """What each node's kernel computes in, once ONNX Runtime has optimized the graph."""
    return {SUFFIX.sub("", e["name"]): precision_of(e["args"].get("op_name", "")) for e in events}


def _layer(
    name: str, facts: dict[str, Any], computed: dict[str, str], graph: OnnxGraph
) -> dict[str, Any] | None:
    op = facts.get("op_name", "")
    inputs, outputs = (_shapes(facts.get(f"{way}_type_shape", ())) for way in ("input", "output"))
    if op not in WEIGHTED or not outputs or len(outputs[0]) < 2:
        return None
    weights_at, bias_at = WEIGHTED[op]
    if len(inputs) <= weights_at:
        return None
    weights = inputs[weights_at]
    products = prod(weights[1:]) if "Conv" in op else inputs[0][-1]
    bias = prod(inputs[bias_at]) if bias_at is not None and len(inputs) > bias_at else 0
    if bias == 0 and name in graph.named:
        bias = sum(graph.parameters_of(graph.named[name], bias_only=True).values())
    return layer_facts(
        name, op, [1, *outputs[0][1:]], weights, products=products, bias=bias,
        precision=computed.get(name),
    )  # fmt: skip


def _shapes(tensors: list[dict[str, list[int]]]) -> list[list[int]]:
    """Of tensors as the profiler notes them: {type: shape} each."""
    return [next(iter(tensor.values())) for tensor in tensors]
