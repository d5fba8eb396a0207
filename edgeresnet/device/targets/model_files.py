"""What a bare model file tells of itself, read by the runtime that would run it; without torch."""

from __future__ import annotations

from collections import Counter
from pathlib import Path
from typing import Any

from edgeresnet.device.targets.classifier import TensorInfo
from edgeresnet.device.targets.model_facts import ModelFacts
from edgeresnet.device.targets.onnx.facts import read_onnx
from edgeresnet.device.targets.openvino.facts import read_openvino
from edgeresnet.device.targets.tensorrt.engine import ENGINE, read_engine, read_record
from edgeresnet.errors import InputError

# What only whoever made the model knows.
UNKNOWN = ("arch", "stem", "classes", "widths", "pruning", "data")


def is_model_file(path: Path) -> bool:
    """Whether this is a bare model, by its suffix."""
    return path.suffix in MODEL_SUFFIXES and not path.is_dir()


def describe_model(path: Path) -> dict[str, Any]:
    """The JSON contract of ``inspect``, with null for what a bare model does not tell.

    Raises:
        InputError: not there, or nothing that its runtime reads.
        MissingError: its runtime is not installed.
    """
    if not path.is_file():
        raise InputError(f"{path} does not exist", "check the path.")
    facts = READERS[path.suffix](path)
    layers = facts.layers
    return {
        **dict.fromkeys(UNKNOWN),
        "image_size": _image_size(facts.inputs),
        "parameters": _sum(layers, "parameters"),
        "macs": _sum(layers, "macs"),
        "target": MODEL_SUFFIXES[path.suffix],
        "precision": bare_precision(path),
        "opset": facts.opset,
        "size_bytes": _size_bytes(path),
        "inputs": _listed(facts.inputs),
        "outputs": _listed(facts.outputs),
        "operators": dict(Counter(facts.operators).most_common()),
        "layers": layers,
    }


def _listed(tensors: list[TensorInfo] | None) -> list[dict[str, Any]] | None:
    return None if tensors is None else [tensor.to_dict() for tensor in tensors]


def _sum(layers: list[dict[str, Any]], key: str) -> int | None:
    values = [layer[key] for layer in layers]
    return sum(values) if values and None not in values else None


def _image_size(inputs: list[TensorInfo] | None) -> int | None:
    """The side of the one square input, whichever layout it has."""
    if inputs is None or len(inputs) != 1 or inputs[0].shape is None:
        return None
    sides = [side for side in inputs[0].shape[1:] if side not in (1, 3, None)]
    return sides[0] if len(sides) == 2 and sides[0] == sides[1] else None


def _size_bytes(path: Path) -> int:
    weights = path.with_suffix(".bin")
    beside = weights.stat().st_size if path.suffix == ".xml" and weights.is_file() else 0
    return path.stat().st_size + beside


def _read_engine(path: Path) -> ModelFacts:
    """From the engine's record: TensorRT itself opens engines only where they run."""
    record = read_record(path)
    read_engine(path, record)
    layers = [
        {
            "name": layer["name"], "op": layer["op"], "out_channels": None, "macs": None,
            "parameters": None, "precision": next(iter(layer["inputs"]), None),
        }
        for layer in record.layers
        if layer["weights"] is not None
    ]  # fmt: skip
    return ModelFacts(None, None, [layer["op"] for layer in record.layers], layers, None)


READERS = {".onnx": read_onnx, ".xml": read_openvino, ENGINE: _read_engine}


MODEL_SUFFIXES = {".onnx": "onnx", ".xml": "openvino", ENGINE: "tensorrt"}


# What a quantized graph is recognised by, in a file that may be read without its runtime.
INTEGER_MARKS = (b"QuantizeLinear", b"FakeQuantize", b'element_type="i8"', b'element_type="u8"')


def bare_precision(path: Path) -> str:
    """What a model file computes in, as far as its bytes or the engine's record say."""
    if path.suffix == ENGINE:
        return read_record(path).precision
    content = path.read_bytes()
    return "int8" if any(mark in content for mark in INTEGER_MARKS) else "fp32"
