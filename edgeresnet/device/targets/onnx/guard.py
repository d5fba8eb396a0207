"""Refuses an ``.onnx`` that could run for ever, take all memory, or read what is not its own."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path

from edgeresnet.device.targets.onnx.graph import Input, Node, OnnxGraph, Weights
from edgeresnet.device.targets.onnx.graph_file import read_graph
from edgeresnet.device.targets.spec import Checked
from edgeresnet.device.targets.stranger import (
    FLOAT_BYTES,
    MOST_ELEMENTS,
    MOST_INPUTS,
    check_beside,
    check_order,
    check_tensor,
    elements,
    refuse,
)
from edgeresnet.untrusted import short

# Operators that run a graph of their own, as often as they like.
CONTROL_FLOW = ("If", "Loop", "Scan", "SequenceMap")
# ONNX's own operators, and what ONNX Runtime brings along and writes when it optimizes.
DOMAINS = ("", "ai.onnx", "ai.onnx.ml", "com.microsoft", "com.microsoft.nchwc")
# Of those: what opens a file that it names.
OPENS_FILES = ("EPContext",)
STRING = 8
# TensorProto.DataType: bits of an element, of those that runtimes know.
BITS = {
    1: 32, 2: 8, 3: 8, 4: 16, 5: 16, 6: 32, 7: 64, 9: 8, 10: 16, 11: 64, 12: 32, 13: 64, 14: 64,
    15: 128, 16: 16, 17: 8, 18: 8, 19: 8, 20: 8, 21: 4, 22: 4, 23: 4, 24: 8, 25: 2, 26: 2,
}  # fmt: skip
KINDS = {8: "string", 14: "complex64", 15: "complex128", 21: "uint4", 22: "int4"}
# Numbers and booleans of which numpy can make an array.
TAKEN = (1, 2, 3, 4, 5, 6, 7, 9, 10, 11, 12, 13, 16)
# Numbers of 2 bits, of which a list packs four into each of its own.
PACKED = 4
# Operators whose output is as large as a constant says: which of their inputs it is.
SIZED_BY = {"ConstantOfShape": 0, "Expand": 1, "Reshape": 1}
POSITIVE = ("strides", "dilations", "kernel_shape", "group", "blocksize", "size")
MOST_BORDER = 1 << 16


def check_onnx(path: Path) -> Checked:
    """Refuse a file before any runtime opens it.

    Raises:
        InputError: it is no regular file of ONNX, or has what an image classifier does not need.
    """
    graph = read_graph(path)
    if graph.functions:
        raise refuse(path, "it defines functions of its own; inline them (onnx.inliner)")
    for node in graph.nodes:
        _check_node(path, node, graph)
    beside = {}
    for weights in graph.all_weights():
        _check_weights(path, weights)
        if weights.location is not None:
            beside[weights.location] = check_beside(path, weights.location)[1]
    own = {one.name for one in graph.initializers}
    if len(own) < len(graph.initializers):
        raise refuse(path, "two constants of it have one name")
    for given in graph.inputs:
        if given.name not in own:
            _check_input(path, given)
    _check_order(path, graph)
    largest = max((elements(i.sides) for i in graph.inputs if i.sides is not None), default=0)
    return Checked(path.stat().st_size + sum(beside.values()), FLOAT_BYTES * largest)


def _check_node(path: Path, node: Node, graph: OnnxGraph) -> None:
    what = f"operation {short(node.name or ''.join(node.outputs[:1]))!r} ({short(node.op)})"
    if node.domain not in DOMAINS:
        raise refuse(path, f"{what} is of {short(node.domain)!r}, and only ONNX's own are run")
    if node.op in CONTROL_FLOW or node.has_graph:
        raise refuse(path, f"{what} runs a graph of its own, which may have no end")
    if node.op in OPENS_FILES:
        raise refuse(path, f"{what} opens another file")
    for name in POSITIVE:
        if any(value <= 0 for value in node.integers.get(name, ())):
            raise refuse(path, f"{what} has {name} {short(list(node.integers[name]))}")
    if any(abs(value) > MOST_BORDER for value in node.integers.get("pads", ())):
        raise refuse(path, f"{what} has pads {short(list(node.integers['pads']))}")
    if "shape" in node.integers:
        check_tensor(path, what, node.integers["shape"])
    _check_sizes(path, what, node, graph)


def _check_sizes(path: Path, what: str, node: Node, graph: OnnxGraph) -> None:
    """What a constant says of the size of an output."""
    at = SIZED_BY.get(node.op)
    if at is not None and (sides := _integers(node, at, graph)):
        # Those that are taken from the input are 0 or -1.
        check_tensor(path, f"the output of {what}", [max(side, 1) for side in sides])
    if node.op == "Tile" and (often := _integers(node, 1, graph)):
        check_tensor(path, f"the output of {what}", often)
    if node.op in ("Resize", "Upsample") and (sides := _integers(node, 3, graph)):
        check_tensor(path, f"the output of {what}", sides)
    if node.op == "Pad" and any(abs(n) > MOST_BORDER for n in _integers(node, 1, graph)):
        raise refuse(path, f"{what} pads by more than {MOST_BORDER}")
    if node.op == "OneHot" and any(n > MOST_ELEMENTS for n in _integers(node, 1, graph)):
        raise refuse(path, f"{what} has more than {MOST_ELEMENTS} classes")
    if node.op == "Range":
        ends = [_integers(node, at, graph)[:1] for at in range(3)]
        if all(ends) and abs(ends[1][0] - ends[0][0]) > MOST_ELEMENTS * abs(ends[2][0]):
            raise refuse(path, f"{what} has more than {MOST_ELEMENTS} elements")


def _integers(node: Node, at: int, graph: OnnxGraph) -> tuple[int, ...]:
    """The integers of an input that is a constant."""
    own = graph.constants.get(node.inputs[at]) if at < len(node.inputs) else None
    return own.values or () if own is not None else ()


def _check_weights(path: Path, weights: Weights) -> None:
    what = f"constant {short(weights.name)!r}"
    if weights.kind not in BITS and weights.kind != STRING:
        raise refuse(path, f"{what} is of data type {weights.kind}, which is not known")
    check_tensor(path, what, weights.sides)
    if weights.kind == STRING:
        return
    length = -(-weights.elements * BITS[weights.kind] // 8)
    if weights.external is not None:
        _check_external(path, what, weights.external, length)
    elif weights.raw_bytes is not None:
        if weights.raw_bytes != length:
            raise refuse(path, f"{what} has {weights.raw_bytes} bytes in place of {length}")
    elif weights.elements > PACKED * weights.numbers:
        raise refuse(path, f"{what} has fewer numbers than its shape says")


def _check_external(path: Path, what: str, told: Mapping[str, str], length: int) -> None:
    _, size = check_beside(path, told.get("location", ""))
    numbers = {}
    for key in ("offset", "length"):
        text = told.get(key, "")
        if not ((text.isascii() and text.isdigit() and len(text) < 20) or not text):
            raise refuse(path, f"{what} has {key} {short(text)!r} in {short(told['location'])}")
        numbers[key] = int(text) if text else None
    offset = numbers["offset"] or 0
    own = length if numbers["length"] is None else numbers["length"]
    if own != length or offset + own > size:
        raise refuse(
            path,
            f"{what} has {own} bytes from {offset} of {short(told['location'])}, which has {size}; "
            f"its shape says {length}",
        )


def _check_input(path: Path, given: Input) -> None:
    what = f"input {short(given.name)!r}"
    if given.kind not in TAKEN:
        kind = "no tensor" if given.kind is None else KINDS.get(given.kind, f"type {given.kind}")
        raise refuse(path, f"{what} is {kind}, which no image is")
    if given.sides is not None:
        check_tensor(path, what, given.sides, MOST_INPUTS)


def _check_order(path: Path, graph: OnnxGraph) -> None:
    made = [name for node in graph.nodes for name in node.outputs if name]
    if len(set(made)) < len(made):
        raise refuse(path, "two operations of it make one value")
    makers = {name: at for at, node in enumerate(graph.nodes) for name in node.outputs if name}
    sources = {
        at: [makers[name] for name in node.inputs if name in makers]
        for at, node in enumerate(graph.nodes)
    }
    check_order(path, "operations", sources)
