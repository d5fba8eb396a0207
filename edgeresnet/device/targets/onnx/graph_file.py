"""An ``.onnx`` file read without the package onnx, which no device has, and which a stranger wrote.

Field numbers are those of ONNX's protocol buffers (onnx.proto, IR version 3 and later).
"""

from __future__ import annotations

import mmap
from pathlib import Path

import numpy as np

from edgeresnet.device.targets.onnx.graph import Input, Node, OnnxGraph, Weights
from edgeresnet.device.targets.onnx.protocol_buffer import DamagedError, Reader, signed
from edgeresnet.device.targets.stranger import check_length
from edgeresnet.errors import InputError
from edgeresnet.files.places import shortened
from edgeresnet.untrusted import opened

# ModelProto
GRAPH, OPSET_IMPORT, FUNCTION = 7, 8, 25
# OperatorSetIdProto
DOMAIN, VERSION = 1, 2
# GraphProto
NODE, INITIALIZER, INPUT, OUTPUT, SPARSE_INITIALIZER = 1, 5, 11, 12, 15
# NodeProto
NODE_INPUT, NODE_OUTPUT, NODE_NAME, OP_TYPE, ATTRIBUTE, NODE_DOMAIN = 1, 2, 3, 4, 5, 7
# AttributeProto
ATTRIBUTE_NAME, ATTRIBUTE_INT, ATTRIBUTE_INTS = 1, 3, 8
ATTRIBUTE_TENSORS, ATTRIBUTE_GRAPHS = (5, 10), (6, 11)
# TensorProto, and its external data: pairs of key and value
DIMS, DATA_TYPE, TENSOR_NAME, RAW, EXTERNAL_DATA = 1, 2, 8, 9, 13
INT32S, INT64S, LISTS = 5, 7, (4, 5, 6, 7, 10, 11)
KEY, VALUE = 1, 2
# ValueInfoProto, TypeProto and its tensor, the shape's sides
INFO_NAME, INFO_TYPE, TENSOR_TYPE, ELEMENT, SHAPE, SIDE, SIDE_VALUE = 1, 2, 1, 1, 2, 1, 1
INT64 = 7
# A shape has no more; and no tensor that anything computes with has so many sides.
MOST_VALUES, MOST_SIDES = 64, 64
# A node of 20,000 takes ONNX Runtime some seconds; a ResNet-152 in INT8 has 3,000.
MOST_NODES, MOST_TENSORS = 20_000, 50_000


def read_graph(path: Path) -> OnnxGraph:
    """The graph of a file.

    Raises:
        InputError: it is no regular file, larger than this machine can read, or no ONNX.
    """
    with opened(path, "model") as file:
        size = check_length(file, path)
        mapped = mmap.mmap(file.fileno(), 0, access=mmap.ACCESS_READ) if size else b""
    try:
        return graph_of(mapped)
    except DamagedError as error:
        raise InputError(
            f"{shortened(path)} is no ONNX model: {error}", "copy or export the model again."
        ) from error


def graph_of(content: bytes | mmap.mmap) -> OnnxGraph:
    """The graph of a file's content; an empty one of a file without any.

    Raises:
        DamagedError: it is no protocol buffer, or one beyond any model's size.
    """
    reader = Reader()
    graph: OnnxGraph | None = None
    opset, functions = None, 0
    for number, value in reader.fields(memoryview(content)):
        if isinstance(value, int):
            continue
        if number == GRAPH:
            if graph is not None:
                raise DamagedError("it has two graphs")
            graph = _graph(reader, value)
        elif number == OPSET_IMPORT:
            imported = dict(reader.fields(value))
            version = imported.get(VERSION)
            if not imported.get(DOMAIN) and opset is None and isinstance(version, int):
                opset = signed(version)
        functions += number == FUNCTION
    graph = graph or OnnxGraph()
    return OnnxGraph(graph.nodes, graph.initializers, graph.inputs, graph.outputs, opset, functions)


def precision_of_file(path: Path) -> str:
    """What a file computes in, as its tensors say."""
    return read_graph(path).precision()


def endings_of_file(path: Path) -> tuple[str, ...]:
    """The operator that makes each output of a file."""
    return read_graph(path).endings()


def _graph(reader: Reader, content: memoryview) -> OnnxGraph:
    nodes: list[Node] = []
    initializers: list[Weights] = []
    inputs: list[Input] = []
    outputs: list[str] = []
    for number, value in reader.fields(content):
        if isinstance(value, int):
            continue
        if number == NODE:
            nodes.append(_node(reader, value))
        elif number == INITIALIZER:
            initializers.append(_weights(reader, value))
        elif number == SPARSE_INITIALIZER:
            inner = dict(reader.fields(value)).values()
            initializers += [_weights(reader, one) for one in inner if not isinstance(one, int)]
        elif number == INPUT:
            inputs.append(_input(reader, value))
        elif number == OUTPUT:
            outputs.append(_text(dict(reader.fields(value)).get(INFO_NAME)))
        if len(nodes) > MOST_NODES or len(initializers) > MOST_TENSORS:
            raise DamagedError(
                f"it has more than {MOST_NODES} operations or {MOST_TENSORS} constants, which no "
                "image classifier has"
            )
    return OnnxGraph(tuple(nodes), tuple(initializers), tuple(inputs), tuple(outputs))


def _node(reader: Reader, content: memoryview) -> Node:
    names: dict[int, list[str]] = {
        NODE_INPUT: [], NODE_OUTPUT: [], NODE_NAME: [], OP_TYPE: [], NODE_DOMAIN: [],
    }  # fmt: skip
    weights: list[Weights] = []
    integers: dict[str, tuple[int, ...]] = {}
    has_graph = False
    for number, value in reader.fields(content):
        if number in names:
            names[number].append(_text(value))
        elif number == ATTRIBUTE and isinstance(value, memoryview):
            name, own, tensors, graphs = _attribute(reader, value)
            integers[name] = own
            weights += tensors
            has_graph |= graphs
    name, op, domain = ("".join(names[key][-1:]) for key in (NODE_NAME, OP_TYPE, NODE_DOMAIN))
    given, made = tuple(names[NODE_INPUT]), tuple(names[NODE_OUTPUT])
    return Node(name, op, given, made, tuple(weights), domain, has_graph, integers)


def _attribute(
    reader: Reader, content: memoryview
) -> tuple[str, tuple[int, ...], list[Weights], bool]:
    """Name, integers and tensors of an attribute; whether it is a graph."""
    name, integers, tensors, has_graph = "", list[int](), list[Weights](), False
    for number, value in reader.fields(content):
        if number == ATTRIBUTE_NAME:
            name = _text(value)
        elif number == ATTRIBUTE_INT and isinstance(value, int):
            integers = [signed(value)]
        elif number == ATTRIBUTE_INTS:
            integers += _integers(reader, value)
        elif number in ATTRIBUTE_TENSORS and isinstance(value, memoryview):
            tensors.append(_weights(reader, value))
        elif number in ATTRIBUTE_GRAPHS:
            has_graph = True
    return name, tuple(integers), tensors, has_graph


def _weights(reader: Reader, content: memoryview) -> Weights:
    name, kind, sides = "", 0, list[int]()
    raw: memoryview | None = None
    lists: dict[int, list[memoryview | int]] = {}
    external: dict[str, str] | None = None
    for number, value in reader.fields(content):
        if number == DIMS:
            sides += _integers(reader, value)
            if len(sides) > MOST_SIDES:
                raise DamagedError(f"a constant of it has more than {MOST_SIDES} sides")
        elif number == DATA_TYPE and isinstance(value, int):
            kind = signed(value)
        elif number == TENSOR_NAME:
            name = _text(value)
        elif number == RAW and isinstance(value, memoryview):
            raw = value
        elif number == EXTERNAL_DATA and isinstance(value, memoryview):
            pair = dict(reader.fields(value))
            external = (external or {}) | {_text(pair.get(KEY)): _text(pair.get(VALUE))}
        elif number in LISTS:
            lists.setdefault(number, []).append(value)
    numbers = sum(
        1 if isinstance(v, int) else max(len(v), 1) for one in lists.values() for v in one
    )
    return Weights(
        name, tuple(sides), kind, external, None if raw is None else len(raw), numbers,
        _values(reader, kind, raw, lists.get(INT64S, [])),
    )  # fmt: skip


def _values(
    reader: Reader, kind: int, raw: memoryview | None, listed: list[memoryview | int]
) -> tuple[int, ...] | None:
    """Integers of a constant of few."""
    if kind != INT64:
        return None
    if raw is not None:
        few = len(raw) <= 8 * MOST_VALUES and len(raw) % 8 == 0
        return tuple(np.frombuffer(raw, "<i8").tolist()) if few else None
    if sum(1 if isinstance(one, int) else len(one) for one in listed) > 10 * MOST_VALUES:
        return None
    return tuple(number for one in listed for number in _integers(reader, one))


def _integers(reader: Reader, value: int | memoryview) -> list[int]:
    """Of a repeated field, packed or not."""
    return [signed(one) for one in ([value] if isinstance(value, int) else reader.varints(value))]


def _input(reader: Reader, content: memoryview) -> Input:
    told = dict(reader.fields(content))
    name, kind = _text(told.get(INFO_NAME)), told.get(INFO_TYPE)
    tensor = dict(reader.fields(kind)).get(TENSOR_TYPE) if isinstance(kind, memoryview) else None
    if not isinstance(tensor, memoryview):
        return Input(name, None, None)
    facts = dict(reader.fields(tensor))
    element, shape = facts.get(ELEMENT, 0), facts.get(SHAPE)
    if not isinstance(shape, memoryview):
        return Input(name, signed(element) if isinstance(element, int) else 0, None)
    sides: list[int | None] = []
    for number, value in reader.fields(shape):
        if number == SIDE and isinstance(value, memoryview):
            side = dict(reader.fields(value)).get(SIDE_VALUE)
            sides.append(signed(side) if isinstance(side, int) else None)
    return Input(name, signed(element) if isinstance(element, int) else 0, tuple(sides))


def _text(value: int | memoryview | None) -> str:
    return bytes(value).decode(errors="surrogateescape") if isinstance(value, memoryview) else ""
