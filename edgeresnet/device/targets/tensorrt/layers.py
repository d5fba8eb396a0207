"""What a TensorRT engine executes, as its inspector or its builder's log describe it."""

from __future__ import annotations

import json
import re
from collections.abc import Iterable
from dataclasses import dataclass
from typing import Any

TYPES = {"int8": "int8", "half": "fp16", "fp16": "fp16", "bf16": "bf16", "float": "fp32"}
ONNX_LAYER = re.compile(r"\[ONNX Layer: ([^\]]+)\]")
TYPE_WORD = re.compile(r"\b(Int8|Half|FP16|BF16|Float|FP32|Int32|Int64|UInt8|Bool)\b", re.I)
# A line of the log: Name: …, LayerType: …, Inputs: [ {…} ], Constants: [ {…} ], Outputs: [ {…} ], …
LOGGED = re.compile(
    r"^Name: (?P<name>.*?), LayerType: (?P<op>[^,]*), Inputs: (?P<inputs>\[.*?\])"
    r"(?:, Constants: (?P<constants>\[.*?\]))?, Outputs: (?P<outputs>\[.*?\])"
    r"(?:, (?P<rest>TacticName.*|ParameterType.*))?$"
)
# Layers that multiply by weights; everything around them is pointwise or moves data.
MATRIX_OPS = ("conv", "gemm", "correlation", "matrix", "fullyconnected")


@dataclass(frozen=True)
class EngineLayer:
    """One layer of an engine.

    Attributes:
        name: TensorRT's.
        op: TensorRT's kind of it.
        inputs: precision of each tensor that it reads.
        weights: precision of its first constant; None if it has none.
        outputs: precision of each tensor that it writes.
        layers: ONNX nodes that went into it.
        unit: ``gpu``, or ``dla`` for what runs there.
    """

    name: str
    op: str
    inputs: tuple[str, ...]
    weights: str | None
    outputs: tuple[str, ...]
    layers: tuple[str, ...]
    unit: str = "gpu"

    @property
    def matrix(self) -> bool:
        """Whether it multiplies by weights, as convolutions and classifiers do."""
        return any(mark in self.op.lower() for mark in MATRIX_OPS)

    @property
    def precision(self) -> str:
        """What it computes in: a matrix product in its input's, anything else in its output's."""
        types = self.inputs if self.matrix else self.outputs
        return types[0] if types else "fp32"


def layers_of_log(lines: Iterable[str]) -> list[EngineLayer]:
    """Read what a builder with detailed verbosity logs when it has finished."""
    layers = []
    for line in lines:
        match = LOGGED.match(line.strip())
        if match is None:
            continue
        constants = _logged_types(match["constants"] or "")
        layers.append(
            EngineLayer(
                match["name"],
                match["op"],
                _logged_types(match["inputs"]),
                constants[0] if constants else None,
                _logged_types(match["outputs"]),
                _onnx_layers(match["rest"] or "", match["name"]),
                _unit(match["op"], match["name"]),
            )
        )
    return layers


def layers_of_json(text: str) -> list[EngineLayer]:
    """Read the inspector's JSON of an engine built with detailed verbosity."""
    listed = json.loads(text).get("Layers", [])
    return [_of_json(layer) for layer in listed if isinstance(layer, dict)]


def _of_json(layer: dict[str, Any]) -> EngineLayer:
    name, op = str(layer.get("Name", "")), str(layer.get("LayerType", ""))
    weights = layer.get("Weights")
    constants = [_type(str(c)) for c in layer.get("Constants", [])]
    if isinstance(weights, dict):
        constants.insert(0, _type(str(weights.get("Type", ""))))
    return EngineLayer(
        name,
        op,
        tuple(_type(_format(t)) for t in layer.get("Inputs", [])),
        constants[0] if constants else None,
        tuple(_type(_format(t)) for t in layer.get("Outputs", [])),
        _onnx_layers(str(layer.get("Metadata", "")), name),
        _unit(op, name),
    )


def _format(tensor: dict[str, Any]) -> str:
    """``Datatype`` since TensorRT 11 and in TensorRT-RTX, ``Format/Datatype`` before."""
    return str(tensor.get("Datatype") or tensor.get("Format/Datatype") or tensor.get("Format", ""))


def _logged_types(tensors: str) -> tuple[str, ...]:
    named = re.findall(r"Datatype: (\w+)", tensors)
    formats = named or re.findall(r"Format/Datatype: ([^}\],]+)", tensors)
    return tuple(_type(text) for text in formats)


def _type(text: str) -> str:
    match = TYPE_WORD.search(text)
    word = match[1].lower() if match else text.lower()
    return TYPES.get(word, "fp32" if word == "fp32" else word)


def _onnx_layers(metadata: str, name: str) -> tuple[str, ...]:
    """From the metadata; before TensorRT 8.6 a fused layer had the names joined by ``+``."""
    names = ONNX_LAYER.findall(metadata)
    return tuple(names or (part.strip() for part in name.split(" + ")))


def _unit(op: str, name: str) -> str:
    return "dla" if op.upper().startswith("DLA") or "ForeignNode_DLA" in name else "gpu"
