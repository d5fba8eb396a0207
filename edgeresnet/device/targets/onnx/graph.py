"""The graph of an ``.onnx`` file: nodes, inputs, outputs and facts of the weights."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, field
from functools import cached_property
from math import prod

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
        sides: its shape.
        kind: TensorProto.DataType.
        external: where another file has it (``location``, ``offset``, ``length``); None where it
            lies here.
        raw_bytes: of its data here; None where these are a list of numbers.
        numbers: how many such a list has at least a byte for.
        values: its integers, where it is a short list of them, as shapes are.
    """

    name: str
    sides: tuple[int, ...]
    kind: int
    external: Mapping[str, str] | None = None
    raw_bytes: int | None = None
    numbers: int = 0
    values: tuple[int, ...] | None = None

    @property
    def elements(self) -> int:
        """How many it has."""
        return prod(self.sides)

    @property
    def location(self) -> str | None:
        """The file that it lies in, as this one says; None where it lies here."""
        return None if self.external is None else self.external.get("location", "")


@dataclass(frozen=True)
class Input:
    """An input of a graph.

    Attributes:
        name: of it.
        kind: TensorProto.DataType; None where it is no tensor.
        sides: None for an open one; None as a whole where even the rank is open.
    """

    name: str
    kind: int | None
    sides: tuple[int | None, ...] | None


@dataclass(frozen=True)
class Node:
    """An operation: name, kind, and the names of its tensors; the constants that it carries."""

    name: str
    op: str
    inputs: tuple[str, ...]
    outputs: tuple[str, ...]
    weights: tuple[Weights, ...] = ()
    domain: str = ""
    has_graph: bool = False
    integers: Mapping[str, tuple[int, ...]] = field(default_factory=dict)


@dataclass(frozen=True)
class OnnxGraph:
    """The nodes, constants, inputs and outputs of a graph; how many functions its file has."""

    nodes: tuple[Node, ...] = ()
    initializers: tuple[Weights, ...] = ()
    inputs: tuple[Input, ...] = ()
    outputs: tuple[str, ...] = ()
    opset: int | None = None
    functions: int = 0

    @cached_property
    def named(self) -> dict[str, Node]:
        """The nodes by name, of those that have one."""
        return {node.name: node for node in self.nodes if node.name}

    @cached_property
    def makers(self) -> dict[str, Node]:
        """The node that makes each value."""
        return {name: node for node in self.nodes for name in node.outputs if name}

    @cached_property
    def _users(self) -> dict[str, list[Node]]:
        users: dict[str, list[Node]] = {}
        for node in self.nodes:
            for name in node.inputs:
                users.setdefault(name, []).append(node)
        return users

    @cached_property
    def constants(self) -> dict[str, Weights]:
        """Initializers, and what nodes give that are constants."""
        own = {one.name: one for one in self.initializers}
        made = {
            n.outputs[0]: n.weights[0]
            for n in self.nodes
            if n.op == "Constant" and n.weights and n.outputs
        }
        return {**own, **made}

    def all_weights(self) -> Iterator[Weights]:
        """Every constant."""
        yield from self.initializers
        for node in self.nodes:
            yield from node.weights

    def endings(self) -> tuple[str, ...]:
        """The operator that makes each output, whatever only hands it on left out."""
        return tuple(node.op if (node := self._origin(name)) else "" for name in self.outputs)

    def _origin(self, name: str) -> Node | None:
        node = self.makers.get(name)
        # Each node once: what a stranger wrote may go in a circle.
        for _ in self.nodes:
            if node is None or node.op not in HANDED_ON or not node.inputs:
                break
            node = self.makers.get(node.inputs[0])
        return node

    def constant(self, name: str) -> tuple[str, Weights] | None:
        """The constant that a value is, perhaps in another type or order; with its own name."""
        for _ in range(len(self.nodes) + 1):
            if name in self.constants:
                return name, self.constants[name]
            node = self.makers.get(name)
            if node is None or node.op not in HANDED_ON or not node.inputs:
                return None
            name = node.inputs[0]
        return None

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
                else self.constants.get(node.inputs[at])
            )
            if own is not None and own.kind in PRECISIONS:
                kind = PRECISIONS[own.kind]
                elements[kind] = elements.get(kind, 0) + own.elements
        return max(elements, key=elements.__getitem__) if elements else "fp32"
