"""A network of convolutions that suit every processor, whose best rate is a device's peak.

It is written as ONNX by hand, since no device has the package onnx: field numbers are those of
ONNX's protocol buffers (onnx.proto, IR version 8). In INT8 it is quantized as the exports are.
"""

from __future__ import annotations

from collections.abc import Iterator, Sequence
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

SIDE, STEM = 28, 64
# Output channels and size of the kernel of each layer behind the stem: with and without neighbours,
# small enough to be done between two interruptions, and large enough for many cores.
LAYERS = {
    "narrow1": (256, 1), "narrow2": (64, 1), "narrow3": (64, 3), "wide1": (256, 3),
    "wide2": (256, 1),
}  # fmt: skip
FLOAT, UINT8, INT8, INT32 = 1, 2, 3, 6
TYPES = {"float32": FLOAT, "uint8": UINT8, "int8": INT8, "int32": INT32}
INT_ATTRIBUTE, INTS_ATTRIBUTE = 2, 7
OPSET, IR_VERSION = 17, 8
# Keeps values within a hundred or so through all layers.
GRID, WEIGHT_GRID, LARGEST = 0.05, 0.0005, 63


def ideal_macs() -> dict[str, int]:
    """Multiply-accumulates of each layer that counts, for one image."""
    macs, channels = {}, STEM
    for name, (made, size) in LAYERS.items():
        macs[name] = SIDE * SIDE * channels * made * size * size
        channels = made
    return macs


def write_ideal_network(path: Path, *, quantized: bool) -> Path:
    """Write the network: ``images`` (1, 3, 28, 28) float32 to ``logits`` (1, 256) float32.

    Args:
        path: of the ``.onnx`` file.
        quantized: with 8-bit weights and activations.
    """
    path.write_bytes(_Writer(quantized=quantized).model())
    return path


class _Writer:
    """Collects nodes and constants of the network."""

    def __init__(self, *, quantized: bool) -> None:
        self._quantized = quantized
        self._nodes: list[bytes] = []
        self._constants: list[bytes] = []
        self._random = np.random.default_rng(0)

    def model(self) -> bytes:
        """The whole file."""
        value = self._on_grid("images", 128)
        channels = 3
        for name, (made, size) in {"stem": (STEM, 3), **LAYERS}.items():
            weights = self._weights(name, (made, channels, size, size))
            pads = [size // 2] * 4
            self._node("Conv", name, [value, weights], f"{name}.out", pads=pads)
            self._node("Relu", f"{name}.relu", [f"{name}.out"], f"{name}.relu.out")
            value, channels = self._on_grid(f"{name}.relu.out", 0), made
        self._node("GlobalAveragePool", "avgpool", [value], "pooled")
        self._node("Flatten", "flatten", ["pooled"], "logits", axis=1)
        ends = (
            _field(11, _info("images", (1, 3, SIDE, SIDE))),
            _field(12, _info("logits", (1, channels))),
        )
        graph = b"".join(
            [*(_field(1, node) for node in self._nodes), _field(2, b"ideal"),
             *(_field(5, constant) for constant in self._constants), *ends]
        )  # fmt: skip
        opset = _field(1, b"") + _number(2, OPSET)
        return _number(1, IR_VERSION) + _field(7, graph) + _field(8, opset)

    def _on_grid(self, value: str, zero_point: int) -> str:
        """The value behind a pair of Q and DQ; itself in a float network."""
        if not self._quantized:
            return value
        grid = [
            self._constant(f"{value}.scale", np.array(GRID, np.float32)),
            self._constant(f"{value}.zero_point", np.array(zero_point, np.uint8)),
        ]
        self._node("QuantizeLinear", f"{value}.quantize", [value, *grid], f"{value}.integers")
        self._node(
            "DequantizeLinear", f"{value}.dequantize", [f"{value}.integers", *grid],
            f"{value}.dequantized",
        )  # fmt: skip
        return f"{value}.dequantized"

    def _weights(self, name: str, shape: Sequence[int]) -> str:
        integers = self._random.integers(-LARGEST, LARGEST + 1, shape, np.int8)
        if not self._quantized:
            return self._constant(f"{name}.weight", integers.astype(np.float32) * WEIGHT_GRID)
        stored = self._constant(f"{name}.weight", integers)
        grid = [
            self._constant(f"{name}.weight.scale", np.full(shape[0], WEIGHT_GRID, np.float32)),
            self._constant(f"{name}.weight.zero_point", np.zeros(shape[0], np.int8)),
        ]
        made = f"{name}.weight.dequantized"
        self._node("DequantizeLinear", f"{name}.weights", [stored, *grid], made, axis=0)
        return made

    def _constant(self, name: str, values: NDArray[Any]) -> str:
        values = values.astype(np.float32) if values.dtype == np.float64 else values
        dims = b"".join(_number(1, side) for side in values.shape)
        kind = _number(2, TYPES[values.dtype.name])
        self._constants.append(dims + kind + _text(8, name) + _field(9, values.tobytes()))
        return name

    def _node(
        self, op: str, name: str, inputs: Sequence[str], output: str, **attributes: int | list[int]
    ) -> None:
        given = b"".join(_text(1, value) for value in inputs)
        facts = _text(2, output) + _text(3, name) + _text(4, op)
        told = b"".join(_field(5, one) for one in _attributes(attributes))
        self._nodes.append(given + facts + told)


def _attributes(values: dict[str, int | list[int]]) -> Iterator[bytes]:
    for name, value in values.items():
        if isinstance(value, int):
            yield _text(1, name) + _number(3, value) + _number(20, INT_ATTRIBUTE)
        else:
            listed = b"".join(_number(8, one) for one in value)
            yield _text(1, name) + listed + _number(20, INTS_ATTRIBUTE)


def _info(name: str, shape: Sequence[int]) -> bytes:
    """A float tensor's name, type and shape."""
    sides = b"".join(_field(1, _number(1, side)) for side in shape)
    tensor = _number(1, FLOAT) + _field(2, sides)
    return _text(1, name) + _field(2, _field(1, tensor))


def _text(number: int, text: str) -> bytes:
    return _field(number, text.encode())


def _field(number: int, content: bytes) -> bytes:
    """A field whose length stands before it."""
    return _varint(number << 3 | 2) + _varint(len(content)) + content


def _number(number: int, value: int) -> bytes:
    return _varint(number << 3) + _varint(value)


def _varint(value: int) -> bytes:
    digits = bytearray()
    while value > 127:
        digits.append(value & 127 | 128)
        value >>= 7
    return bytes([*digits, value])
