"""An ``.onnx`` file read without the package onnx, which no device has: nodes and weights' facts.

Field numbers are those of ONNX's protocol buffers (onnx.proto, IR version 3 and later).
"""

from __future__ import annotations

from collections.abc import Iterator
from dataclasses import dataclass, field
from functools import cached_property
from math import prod
from pathlib import Path

from edgeresnet.device.targets.onnx.protocol_buffer import fields, varints

# ModelProto
GRAPH, OPSET_IMPORT = 7, 8
# OperatorSetIdProto
DOMAIN, VERSION = 1, 2
# GraphProto
NODE, INITIALIZER, OUTPUT, SPARSE_INITIALIZER = 1, 5, 12, 15
# NodeProto
NODE_INPUT, NODE_OUTPUT, NODE_NAME, OP_TYPE, ATTRIBUTE = 1, 2, 3, 4, 5
# AttributeProto
ATTRIBUTE_TENSOR, ATTRIBUTE_GRAPH, ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = 5, 6, 10, 11
# TensorProto, and its external data: pairs of key and value
DIMS, DATA_TYPE, TENSOR_NAME, EXTERNAL_DATA = 1, 2, 8, 13
KEY, VALUE = 1, 2
# TensorProto.DataType
PRECISIONS = {1: "fp32", 10: "fp16", 11: "fp64", 16: "bf16"}
# Operators that multiply by weights, and which of their inputs are weights and bias.
WEIGHTED = {
    "Conv": (1, 2), "FusedConv": (1, 2), "QLinearConv": (3, 8),
    "ConvInteger": (1, None), "Gemm": (1, 2), "QGemm": (3, 6), "MatMul": (1, None),
    "QLinearMatMul": (3, None), "MatMulInteger": (1, None),
}  # fmt: skip
# What hands its first input on, in another type or order.
HANDED_ON = (
    "Identity", "Cast", "CastLike", "DequantizeLinear", "QuantizeLinear", "Transpose", "Reshape",
    "Flatten", "Squeeze", "Unsqueeze",
)  # fmt: skip


@dataclass(frozen=True)
class Weights:
    """A constant tensor of a file.

    Attributes:
        name: none for the value of an attribute.
        elements: how many it has.
        kind: TensorProto.DataType.
        location: the file that it lies in, as this one says; None where it lies here.
    """

    name: str
    elements: int
    kind: int
    location: str | None


@dataclass(frozen=True)
class Node:
    """An operation: name, kind, and the names of its tensors; the constants that it carries."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[Weights, ...]
    graphs: tuple[OnnxGraph, ...]


@dataclass(frozen=True)
class OnnxGraph:
    """The nodes, constants and outputs of a graph."""

    nodes: tuple[Node, ...] = ()
    initializers: tuple[Weights, ...] = ()
    outputs: tuple[str, ...] = ()
    opset: int | None = field(default=None)

    @cached_property
    def named(self) -> dict[str, Node]:
        """The nodes by name, of those that have one."""
        return {node.name: node for node in self.nodes if node.name}

    @cached_property
    def _makers(self) -> dict[str, Node]:
        return {name: node for node in self.nodes for name in node.outputs}

    @cached_property
    def _users(self) -> dict[str, list[Node]]:
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                users.setdefault(name, []).append(node)
        return users

    @cached_property
    def _constants(self) -> dict[str, Weights]:
        own = {one.name: one for one in self.initializers}
        made = {n.outputs[0]: n.weights[0] for n in self.nodes if n.op == "Constant" and n.weights}
        return {**own, **made}

    def all_weights(self) -> Iterator[Weights]:
        """Every constant, those of graphs inside too."""
        yield from self.initializers
        for node in self.nodes:
            yield from node.weights
            for graph in node.graphs:
                yield from graph.all_weights()

    def endings(self) -> tuple[str, ...]:
        """The operator that makes each output, whatever only hands it on left out."""
        return tuple(node.op if (node := self._origin(name)) else "" for name in self.outputs)

    def _origin(self, name: str) -> Node | None:
        node = self._makers.get(name)
        while node is not None and node.op in HANDED_ON and node.inputs:
            node = self._makers.get(node.inputs[0])
        return node

    def constant(self, name: str) -> tuple[str, Weights] | None:
        """The constant that a value is, perhaps in another type or order; with its own name."""
        while name not in self._constants:
            node = self._makers.get(name)
            if node is None or node.op not in HANDED_ON or not node.inputs:
                return None
            name = node.inputs[0]
        return name, self._constants[name]

    def parameters_of(self, node: Node, *, bias_only: bool = False) -> dict[str, int]:
        """Elements of the weights and the bias of a node, by the constants' names.

        A bias may be added behind it, and a normalization behind it counts as one.
        """
        found: dict[str, int] = {}
        for at in WEIGHTED.get(node.op, ())[1 if bias_only else 0 :]:
            if at is not None and at < len(node.inputs) and (own := self.constant(node.inputs[at])):
                found[own[0]] = own[1].elements
        users = self._users.get(node.outputs[0], []) if node.outputs else []
        if len(users) == 1 and users[0].op in ("Add", "BatchNormalization"):
            behind = users[0]
            added = behind.inputs[2:3] if behind.op == "BatchNormalization" else behind.inputs
            for name in added:
                if name != node.outputs[0] and (own := self.constant(name)):
                    found[own[0]] = own[1].elements
        return found

    def parameters(self) -> int | None:
        """Elements of all weights and biases, shared ones once; None where operators make some."""
        found: dict[str, int] = {}
        for node in self.nodes:
            if node.op in WEIGHTED:
                own = self.parameters_of(node)
                if not own and node.op != "MatMul":
                    return None
                found.update(own)
        return sum(found.values()) or None

    def precision(self) -> str:
        """What it computes in: ``int8`` where activations are quantized, else its weights' type."""
        ops = {node.op for node in self.nodes}
        if any("Quant" in op and op != "DequantizeLinear" for op in ops) or any(
            op.startswith(("QLinear", "QGemm", "QAttention")) or op.endswith("Integer")
            for op in ops
        ):
            return "int8"
        elements: dict[str, int] = {}
        for node in self.nodes:
            at = WEIGHTED.get(node.op, (None,))[0]
            own = (
                None
                if at is None or at >= len(node.inputs)
                else self._constants.get(node.inputs[at])
            )
            if own is not None and own.kind in PRECISIONS:
                kind = PRECISIONS[own.kind]
                elements[kind] = elements.get(kind, 0) + own.elements
        return max(elements, key=elements.__getitem__) if elements else "fp32"


def read_graph(path: Path) -> OnnxGraph:
    """The graph of a file; what is no protocol buffer gives an empty one."""
    return graph_of(path.read_bytes())


def graph_of(content: bytes) -> OnnxGraph:
    """The graph of a file's content."""
    graph, opset = OnnxGraph(), None
    for number, value in fields(memoryview(content)):
        if number == GRAPH and isinstance(value, memoryview):
            graph = _graph(value)
        elif number == OPSET_IMPORT and isinstance(value, memoryview):
            imported = dict(fields(value))
            version = imported.get(VERSION)
            if not imported.get(DOMAIN) and opset is None and isinstance(version, int):
                opset = version
    return OnnxGraph(graph.nodes, graph.initializers, graph.outputs, opset)


def precision_of_file(path: Path) -> str:
    """What a file computes in, as its tensors say."""
    return read_graph(path).precision()


def endings_of_file(path: Path) -> tuple[str, ...]:
    """The operator that makes each output of a file."""
    return read_graph(path).endings()


def _graph(content: memoryview) -> OnnxGraph:
    nodes: list[Node] = []
    initializers: list[Weights] = []
    outputs: list[str] = []
    for number, value in fields(content):
        if not isinstance(value, memoryview):
            continue
        if number == NODE:
            nodes.append(_node(value))
        elif number == INITIALIZER:
            initializers.append(_weights(value))
        elif number == SPARSE_INITIALIZER:
            initializers += [
                _weights(v) for v in dict(fields(value)).values() if not isinstance(v, int)
            ]
        elif number == OUTPUT:
            outputs.append(_text(dict(fields(value)).get(1)))
    return OnnxGraph(tuple(nodes), tuple(initializers), tuple(outputs))


def _node(content: memoryview) -> Node:
    names: dict[int, list[str]] = {NODE_INPUT: [], NODE_OUTPUT: [], NODE_NAME: [], OP_TYPE: []}
    weights: list[Weights] = []
    graphs: list[OnnxGraph] = []
    for number, value in fields(content):
        if number in names:
            names[number].append(_text(value))
        elif number == ATTRIBUTE and isinstance(value, memoryview):
            for inner, own in fields(value):
                if isinstance(own, int):
                    continue
                if inner in (ATTRIBUTE_TENSOR, ATTRIBUTE_TENSORS):
                    weights.append(_weights(own))
                elif inner in (ATTRIBUTE_GRAPH, ATTRIBUTE_GRAPHS):
                    graphs.append(_graph(own))
    name, op = "".join(names[NODE_NAME]), "".join(names[OP_TYPE])
    given, made = tuple(names[NODE_INPUT]), tuple(names[NODE_OUTPUT])
    return Node(name, op, given, made, tuple(weights), tuple(graphs))


def _weights(content: memoryview) -> Weights:
    name, kind, sides, location = "", 0, [], None
    for number, value in fields(content):
        if number == DIMS:
            sides += [value] if isinstance(value, int) else list(varints(value))
        elif number == DATA_TYPE and isinstance(value, int):
            kind = value
        elif number == TENSOR_NAME:
            name = _text(value)
        elif number == EXTERNAL_DATA and isinstance(value, memoryview):
            pair = dict(fields(value))
            if _text(pair.get(KEY)) == "location":
                location = _text(pair.get(VALUE))
    return Weights(name, prod(sides), kind, location)


def _text(value: int | memoryview | None) -> str:
    return bytes(value).decode(errors="surrogateescape") if isinstance(value, memoryview) else ""
