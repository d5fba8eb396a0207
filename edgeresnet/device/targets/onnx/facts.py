"""What ONNX Runtime reads from an ``.onnx`` file: its inputs and outputs, and each of its nodes."""

from __future__ import annotations

import json
import tempfile
from collections.abc import Iterator
from math import prod
from pathlib import Path
from typing import Any

import numpy as np

from edgeresnet.device.targets.classifier import TensorInfo
from edgeresnet.device.targets.model_facts import ModelFacts, layer_facts
from edgeresnet.device.targets.onnxruntime_session import (
    SUFFIX,
    open_session,
    precision_of,
    session_options,
    tensor_info,
)
from edgeresnet.settings.measuring import RunOptions

# Operators that multiply by weights, and which of their inputs are weights and bias.
WEIGHTED = {
    "Conv": (1, 2),
    "FusedConv": (1, 2),
    "QLinearConv": (3, 8),
    "ConvInteger": (1, 9),
    "Gemm": (1, 2),
    "QGemm": (3, 6),
    "MatMul": (1, 9),
    "QLinearMatMul": (3, 9),
    "MatMulInteger": (1, 9),
}
# Fields of ModelProto and OperatorSetIdProto in the ONNX standard.
OPSET_IMPORT, DOMAIN, VERSION = 8, 1, 2
VARINT, FIXED64, BYTES, FIXED32 = 0, 1, 2, 5


def read_onnx(path: Path) -> ModelFacts:
    """Open a file, and run it once, node by node, to see the shapes.

    Where an input's shape is open beyond the batch nothing is run, and no operation is told.

    Raises:
        InputError: ONNX Runtime cannot read it.
        MissingError: ONNX Runtime is not installed.
    """
    inputs, outputs, events = _run_once(path, as_written=True)
    operators = [event["args"].get("op_name", "") for event in events]
    computed: dict[str, str] = {}
    if any("Quant" in op or precision_of(op) == "int8" for op in operators):
        computed = _precisions(_run_once(path, as_written=False)[2])
    elif events:
        # Nothing is quantized, so every layer is in the float of this runtime's CPU kernels.
        computed = {event["name"]: precision_of(event["args"]["op_name"]) for event in events}
    layers = [
        layer for event in events if (layer := _layer(event["name"], event["args"], computed))
    ]
    opset = default_opset(path.read_bytes())
    return ModelFacts(inputs, outputs, operators, layers, None if opset is None else str(opset))


def _run_once(
    path: Path, *, as_written: bool
) -> tuple[list[TensorInfo], list[TensorInfo], list[dict[str, Any]]]:
    """Inputs, outputs, and what the profiler notes of each node when zeros run through."""
    with tempfile.TemporaryDirectory(prefix="edgeresnet-") as folder:
        settings = session_options(RunOptions(as_written=as_written))
        settings.enable_profiling = True
        settings.profile_file_prefix = str(Path(folder) / "nodes")
        # Weights that were packed for a kernel are no longer inputs of their node.
        settings.add_session_config_entry("session.disable_prepacking", "1")
        session = open_session(path, "cpu", settings)
        inputs = [tensor_info(tensor) for tensor in session.get_inputs()]
        outputs = [tensor_info(tensor) for tensor in session.get_outputs()]
        feeds = {tensor.name: _zeros(tensor) for tensor in inputs}
        if all(zeros is not None for zeros in feeds.values()):
            session.run(None, feeds)
        noted = json.loads(Path(session.end_profiling()).read_text(encoding="utf-8"))
        del session
    suffix = "_kernel_time"
    events = [e for e in noted if e.get("cat") == "Node" and e["name"].endswith(suffix)]
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


def _layer(name: str, facts: dict[str, Any], computed: dict[str, str]) -> dict[str, Any] | None:
    op = facts.get("op_name", "")
    if op not in WEIGHTED:
        return None
    inputs, (output, *_) = _shapes(facts["input_type_shape"]), _shapes(facts["output_type_shape"])
    weights_at, bias_at = WEIGHTED[op]
    if len(inputs) <= weights_at or len(output) < 2:
        return None
    weights = inputs[weights_at]
    products = prod(weights[1:]) if "Conv" in op else inputs[0][-1]
    bias = prod(inputs[bias_at]) if len(inputs) > bias_at else 0
    return layer_facts(
        name, op, [1, *output[1:]], weights, products=products, bias=bias,
        precision=computed.get(name),
    )  # fmt: skip


def _shapes(tensors: list[dict[str, list[int]]]) -> list[list[int]]:
    """Of tensors as the profiler notes them: {type: shape} each."""
    return [next(iter(tensor.values())) for tensor in tensors]


def default_opset(content: bytes) -> int | None:
    """Version of ONNX's own operators that a file asks for; None if it does not say."""
    for number, value in _fields(content):
        if number == OPSET_IMPORT and isinstance(value, bytes):
            imported = dict(_fields(value))
            if not imported.get(DOMAIN):
                version = imported.get(VERSION)
                return version if isinstance(version, int) else None
    return None


def _fields(content: bytes) -> Iterator[tuple[int, int | bytes]]:
    """Numbers and values of a protocol buffer's fields, nested ones unread."""
    at = 0
    while at < len(content):
        tag, at = _varint(content, at)
        number, kind = tag >> 3, tag & 7
        if kind == VARINT:
            value, at = _varint(content, at)
            yield number, value
        elif kind == BYTES:
            size, at = _varint(content, at)
            yield number, content[at : at + size]
            at += size
        elif kind in (FIXED32, FIXED64):
            at += 4 if kind == FIXED32 else 8
        else:
            return


def _varint(content: bytes, at: int) -> tuple[int, int]:
    """The number at ``at``, and where what follows it begins."""
    value = shift = 0
    while at < len(content):
        byte = content[at]
        value |= (byte & 0x7F) << shift
        at, shift = at + 1, shift + 7
        if byte < 0x80:
            break
    return value, at
