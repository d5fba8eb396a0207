"""Defects planted into exported graphs, as careless exports and prunings leave them."""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import helper, numpy_helper


class Graph:
    """An exported ``.onnx`` file whose nodes are changed in place."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.model = model
        self.nodes = {node.name: node for node in model.graph.node}
        self.constants = {one.name: one for one in model.graph.initializer}
        del model.graph.value_info[:]

    def node(self, name: str) -> Any:
        return self.nodes[name]

    def maker(self, value: str) -> Any:
        return next((node for node in self.model.graph.node if value in node.output), None)

    def users(self, value: str) -> list[Any]:
        return [node for node in self.model.graph.node if value in node.input]

    def array(self, name: str) -> np.ndarray:
        return np.asarray(numpy_helper.to_array(self.constants[name]))

    def store(self, name: str, values: np.ndarray) -> str:
        made = numpy_helper.from_array(values, name)
        if name in self.constants:
            self.constants[name].CopyFrom(made)
        else:
            self.model.graph.initializer.append(made)
            self.constants[name] = self.model.graph.initializer[-1]
        return name

    def insert(self, *nodes: Any, before: Any) -> None:
        at = list(self.model.graph.node).index(before)
        for place, node in enumerate(nodes):
            self.model.graph.node.insert(at + place, node)

    def replace(self, node: Any, old: str, new: str) -> None:
        for at, name in enumerate(node.input):
            if name == old:
                node.input[at] = new

    def pair_behind(self, value: str) -> tuple[Any, Any]:
        """The Q behind a value, or behind the ReLU behind it, and its DQ."""
        quantize = next(node for node in self.users(value) if node.op_type == "QuantizeLinear")
        return quantize, self.users(quantize.output[0])[0]

    def result(self, layer: str) -> str:
        """What a layer gives, with its ReLU."""
        value: str = self.node(layer).output[0]
        relu = [node for node in self.users(value) if node.op_type == "Relu"]
        return relu[0].output[0] if relu else value


def float_layer(graph: Graph, layer: str) -> str:
    """Weights and bias in float, as of a layer that somebody left out of the quantization."""
    node = graph.node(layer)
    for at, axis_shape in ((1, (-1, 1, 1, 1)), (2, (-1,))):
        dequantize = graph.maker(node.input[at])
        if dequantize is None:
            continue
        integers, scale = (graph.array(name) for name in dequantize.input[:2])
        values = integers.astype(np.float32) * scale.reshape(axis_shape)
        node.input[at] = graph.store(f"{layer}.float{at}", values.astype(np.float32))
    for relu in graph.users(node.output[0]):
        if relu.op_type == "Relu":
            # ONNX Runtime would quantize the layer by itself.
            relu.op_type = "LeakyRelu"
            relu.attribute.append(helper.make_attribute("alpha", 0.0))
    return layer


def unaligned_width(graph: Graph, layer: str) -> str:
    """Three channels less between two convolutions of a block."""
    node, block = graph.node(layer), layer.rsplit(".", 1)[0]
    following = graph.node(f"{block}.conv{int(layer[-1]) + 1}")
    for at in (1, 2):
        _cut(graph, node, at, 0)
    _cut(graph, following, 1, 1)
    return layer


def _cut(graph: Graph, node: Any, at: int, axis: int) -> None:
    """Take channels from what a node multiplies by or adds; other layers may share constants."""
    maker = graph.maker(node.input[at])
    owner, places = (node, [at]) if maker is None else (maker, range(len(maker.input)))
    for place in places:
        values = graph.array(owner.input[place])
        first = place == places[0]
        if values.ndim and (first or axis == 0):
            kept = values[:, :-3] if axis else values[:-3]
            name = f"{owner.name}.cut{place}"
            owner.input[place] = graph.store(name, np.ascontiguousarray(kept))


def missing_pair(graph: Graph, layer: str) -> str:
    """No Q/DQ behind a convolution, as of a branch that a quantizer forgot."""
    value = graph.result(layer)
    _, dequantize = graph.pair_behind(value)
    for user in graph.users(dequantize.output[0]):
        graph.replace(user, dequantize.output[0], value)
    return layer


def unfused_add(graph: Graph, add: str) -> str:
    """A bound between convolution and add, which keeps the add out of its kernel."""
    node = graph.node(add)
    value = node.input[0]
    low = graph.store(f"{add}.low", np.array(-1e4, np.float32))
    high = graph.store(f"{add}.high", np.array(1e4, np.float32))
    clip = helper.make_node("Clip", [value, low, high], [f"{add}.bound"], name=f"{add}.clip")
    graph.insert(clip, before=node)
    node.input[0] = clip.output[0]
    return add


def layout_change(graph: Graph, layer: str) -> str:
    """Rows and columns change places in front of a convolution; runtimes undo what comes back."""
    node = graph.node(layer)
    value = node.input[0]
    maker = graph.maker(value)
    quantized = maker is not None and maker.op_type == "DequantizeLinear"
    at, given = (maker, maker.input[0]) if quantized else (node, value)
    moved = f"{layer}.moved"
    graph.insert(
        helper.make_node("Transpose", [given], [moved], name=moved, perm=[0, 1, 3, 2]), before=at
    )
    if not quantized:
        node.input[0] = moved
        return layer
    # Others may read the same integers as they were.
    made = helper.make_node(
        "DequantizeLinear",
        [moved, *maker.input[1:]],
        [f"{moved}.float"],
        name=f"{moved}.dequantize",
    )
    graph.insert(made, before=node)
    node.input[0] = made.output[0]
    return layer


PLANTS: dict[str, Callable[[Graph, str], str]] = {
    "float layer": float_layer,
    "unaligned width": unaligned_width,
    "missing Q/DQ": missing_pair,
    "unfused add": unfused_add,
    "layout change": layout_change,
}
