"""Damage to an ONNX bundle's model, as a bad copy, a wrong build, a runtime or a driver may do it.

Made for measuring how well golden images notice it, and apart from how export chooses them:
it changes the file that travels, at other places, by other amounts and from other seeds.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any

import numpy as np
import onnx
from onnx import numpy_helper

Draw = np.random.Generator
# Changes a model in place, and may give what is done to the session's inputs and answers instead.
Around = Callable[[Callable[[Any], Any]], Callable[[Any], Any]]
Kind = Callable[[onnx.ModelProto, Draw], Around | None]


class _Model:
    """The parts of an exported graph by their names."""

    def __init__(self, model: onnx.ModelProto) -> None:
        self.graph = model.graph
        self.tensors = {t.name: t for t in self.graph.initializer}
        self.maker = {name: node for node in self.graph.node for name in node.output}

    def nodes(self, *ops: str) -> list[onnx.NodeProto]:
        return [node for node in self.graph.node if node.op_type in ops]

    def array(self, name: str) -> np.ndarray:
        return numpy_helper.to_array(self.tensors[name]).copy()

    def own(self, node: onnx.NodeProto, index: int, array: np.ndarray) -> None:
        """Give one node another constant: exported graphs let equal ones share a tensor."""
        name = f"damaged.{len(self.graph.initializer)}"
        self.graph.initializer.append(numpy_helper.from_array(array, name))
        node.input[index] = name

    def activations(self) -> list[tuple[onnx.NodeProto, onnx.NodeProto]]:
        """QuantizeLinear and DequantizeLinear of every activation."""
        pairs = []
        for node in self.nodes("DequantizeLinear"):
            before = self.maker.get(node.input[0])
            if before is not None and before.op_type == "QuantizeLinear":
                pairs.append((before, node))
        return pairs

    def weights(self) -> list[onnx.NodeProto]:
        """DequantizeLinear of every layer's weights."""
        return [self.maker[n.input[1]] for n in self.nodes("Conv", "Gemm")]

    def biases(self) -> list[onnx.NodeProto]:
        """DequantizeLinear of every layer's bias."""
        return [self.maker[n.input[2]] for n in self.nodes("Conv", "Gemm")]

    def bypass(self, node: onnx.NodeProto, source: str) -> None:
        """Let all that reads a node's output read another tensor."""
        for other in self.graph.node:
            for index, name in enumerate(other.input):
                if name == node.output[0]:
                    other.input[index] = source


def _pick(draw: Draw, of: list[Any]) -> Any:
    return of[int(draw.integers(len(of)))]


def _factor(draw: Draw, least: float = 0.02, most: float = 1.5) -> np.float32:
    """Up to 2.8 times, or a third, of what it was; small changes as often as large ones."""
    power = float(np.exp(draw.uniform(np.log(least), np.log(most))))
    return np.float32(2.0 ** (power * draw.choice([-1, 1])))


def activation_scale(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    for node in _pick(draw, m.activations()):
        state = draw.bit_generator.state
        m.own(node, 1, m.array(node.input[1]) * _factor(draw))
        draw.bit_generator.state = state


def reader_scale(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    node = _pick(draw, m.activations())[1]
    m.own(node, 1, m.array(node.input[1]) * _factor(draw))


def zero_point(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    both = _pick(draw, m.activations())
    shift = int(2 ** draw.uniform(0, 7)) * int(draw.choice([-1, 1]))
    for node in both if draw.integers(2) else both[1:]:
        zero = m.array(node.input[2])
        m.own(node, 2, np.clip(int(zero) + shift, 0, 255).astype(zero.dtype))


def weight_scale(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    node = _pick(draw, m.weights())
    scale = m.array(node.input[1])
    if draw.integers(2):
        scale *= _factor(draw)
    else:
        scale[int(draw.integers(len(scale)))] *= _factor(draw, 0.5, 4)
    m.own(node, 1, scale)


def swapped_channels(model: onnx.ModelProto, draw: Draw) -> None:
    """Of the integers only, of the scales only, or of the biases only."""
    m = _Model(model)
    layer = int(draw.integers(len(m.weights())))
    node, index = ((m.weights()[layer], 0), (m.weights()[layer], 1), (m.biases()[layer], 0))[
        int(draw.integers(3))
    ]
    array = m.array(node.input[index])
    a, b = draw.choice(len(array), 2, replace=False)
    array[[a, b]] = array[[b, a]]
    m.own(node, index, array)


def rolled_channels(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    node = _pick(draw, m.weights())
    array = m.array(node.input[0])
    axis = int(draw.integers(array.ndim))
    m.own(node, 0, np.roll(array, int(draw.integers(1, 9)), axis))


def permuted_classes(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    rows = draw.permutation(len(m.array(m.weights()[-1].input[0])))
    for node, index in ((m.weights()[-1], 0), (m.weights()[-1], 1), (m.biases()[-1], 0)):
        m.own(node, index, m.array(node.input[index])[rows])


def turned_kernel(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    node = _pick(draw, [w for w in m.weights()[:-1] if m.array(w.input[0]).shape[-1] > 1])
    array = m.array(node.input[0])
    turns = (
        lambda a: a[..., ::-1, :], lambda a: a[..., ::-1], lambda a: a.swapaxes(2, 3),
        lambda a: a.transpose(2, 3, 1, 0).reshape(a.shape),
    )  # fmt: skip
    m.own(node, 0, np.ascontiguousarray(_pick(draw, list(turns))(array)))


def padding(model: onnx.ModelProto, draw: Draw) -> None:
    """The image of a layer is one pixel further up, left, or both."""
    convs = [
        (node, attribute)
        for node in _Model(model).nodes("Conv")
        for attribute in node.attribute
        if attribute.name == "pads" and any(attribute.ints)
    ]
    _, pads = _pick(draw, convs)
    before = list(pads.ints)
    move = _pick(draw, [(1, 0), (0, 1), (1, 1)])
    pads.ints[:] = [before[0] - move[0], before[1] - move[1], before[2] + move[0],
                    before[3] + move[1]]  # fmt: skip


def weight_block(model: onnx.ModelProto, draw: Draw) -> None:
    """A run of a layer's bytes is zero, noise, another part of it, or has one bit wrong."""
    m = _Model(model)
    node = _pick(draw, m.weights())
    array = m.array(node.input[0])
    flat = array.reshape(-1).view(np.uint8)
    length = min(len(flat), int(2 ** draw.uniform(3, 17)))
    start = int(draw.integers(len(flat) - length + 1))
    part = flat[start : start + length]
    other = int(draw.integers(len(flat) - length + 1))
    part[:] = (
        np.zeros_like(part), draw.integers(0, 256, length).astype(np.uint8),
        flat[other : other + length].copy(), part ^ np.uint8(1 << int(draw.integers(4, 8))),
    )[int(draw.integers(4))]  # fmt: skip
    m.own(node, 0, array)


def bits(model: onnx.ModelProto, draw: Draw) -> None:
    """One bit in each of a few bytes of all weights, as memory loses them."""
    m = _Model(model)
    for node in (_pick(draw, m.weights()) for _ in range(int(2 ** draw.uniform(0, 10)))):
        array = m.array(node.input[0])
        flat = array.reshape(-1).view(np.uint8)
        flat[int(draw.integers(len(flat)))] ^= np.uint8(1 << int(draw.integers(8)))
        m.tensors[node.input[0]].raw_data = array.tobytes()


def bias(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    node = _pick(draw, m.biases())
    array = m.array(node.input[0])
    how = int(draw.integers(4))
    if how == 0:
        array[:] = 0
    elif how == 1:
        array[:] = np.clip(array * float(_factor(draw, 0.1, 3)), -(2**31), 2**31 - 1)
    elif how == 2:
        array[int(draw.integers(len(array)))] *= -1
    else:
        array[:] = np.roll(array, int(draw.integers(1, len(array))))
    m.own(node, 0, array)


def dropped_pair(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    quantize, dequantize = _pick(draw, m.activations())
    m.bypass(dequantize, quantize.input[0])


def lost_operand(model: onnx.ModelProto, draw: Draw) -> None:
    """A residual add gives one of its branches."""
    m = _Model(model)
    add = _pick(draw, m.nodes("Add"))
    m.bypass(add, add.input[int(draw.integers(2))])


def lost_relu(model: onnx.ModelProto, draw: Draw) -> None:
    m = _Model(model)
    relu = _pick(draw, m.nodes("Relu"))
    m.bypass(relu, relu.input[0])


def clipped_weights(model: onnx.ModelProto, draw: Draw) -> None:
    """Kernels that saturate: a layer's largest weights are smaller."""
    m = _Model(model)
    node = _pick(draw, m.weights())
    most = int(draw.integers(8, 56))
    m.own(node, 0, np.clip(m.array(node.input[0]), -most, most))


def other_pixels(model: onnx.ModelProto, draw: Draw) -> Around:
    """Channels in another order, sides exchanged, or NHWC read as NCHW."""

    def as_nchw(x: Any) -> Any:
        return np.ascontiguousarray(x.transpose(0, 2, 3, 1)).reshape(x.shape)

    changes = [lambda x: x[:, ::-1], lambda x: x[:, [1, 2, 0]], lambda x: x.swapaxes(2, 3),
               lambda x: x[..., ::-1], as_nchw]  # fmt: skip
    change = _pick(draw, changes)
    return lambda run: lambda x: run(np.ascontiguousarray(change(x)))


def other_normalization(model: onnx.ModelProto, draw: Draw) -> Around:
    factor = _factor(draw, 0.02, 2) if draw.integers(2) else np.float32(1)
    offset = draw.normal(size=(1, 3, 1, 1)).astype(np.float32) * np.float32(draw.uniform(0.02, 1))
    return lambda run: lambda x: run(x * factor + offset)


def batches(model: onnx.ModelProto, draw: Draw) -> Around:
    """Answers of a batch get mixed up; a batch of one is right."""
    changes = [
        lambda y: np.repeat(y[:1], len(y), axis=0), lambda y: y[::-1],
        lambda y: np.roll(y, 1, axis=0), lambda y: np.concatenate([y[:-1], y[-2:-1]])[: len(y)]
        if len(y) > 1 else y, lambda y: np.concatenate([y[: len(y) // 2 + 1], 0 * y])[: len(y)],
    ]  # fmt: skip
    change = _pick(draw, changes)
    return lambda run: lambda x: np.ascontiguousarray(change(run(x)))


KINDS: dict[str, Kind] = {
    kind.__name__: kind
    for kind in (
        activation_scale, reader_scale, zero_point, weight_scale, swapped_channels,
        rolled_channels, permuted_classes, turned_kernel, padding, weight_block, bits, bias,
        dropped_pair, lost_operand, lost_relu, clipped_weights, other_pixels, other_normalization,
        batches,
    )
}  # fmt: skip


def damaged(model: onnx.ModelProto, seed: int) -> tuple[str, onnx.ModelProto, Around | None]:
    """The seed's kind of damage, the damaged copy, and what is done around its session."""
    draw = np.random.default_rng([2026, seed])
    name = list(KINDS)[seed % len(KINDS)]
    copy = onnx.ModelProto()
    copy.CopyFrom(model)
    return name, copy, KINDS[name](copy, draw)
