"""A quantized ResNet in numpy: integers, scales, zero points by their definitions, in float64."""

from __future__ import annotations

from collections.abc import Collection, Mapping
from dataclasses import dataclass, field
from typing import Any

import numpy as np
from numpy.typing import NDArray

from edgeresnet.host.models.float_layers import BlockShape, Wiring

Array = NDArray[Any]
# What a layer that was switched off is taken to have.
SMALLEST = 1e-6
LARGEST_WEIGHT = 63


@dataclass(frozen=True)
class Encoding:
    """How a target writes grids: bits behind a ReLU and elsewhere, and whether biases are int32."""

    bits: int
    unsigned: bool

    def grid(self, scale: float, *, non_negative: bool) -> tuple[float, int, int]:
        """Step, and the smallest and the largest multiple of it, of a canonical step."""
        half = 2 ** (self.bits - 1)
        if not self.unsigned:
            return scale, -half, half - 1
        if non_negative:
            return scale * 127 / (2 * half - 1), 0, 2 * half - 1
        return scale * 127 / (half - 1), -half, half - 1


ENCODINGS = {
    "signed": Encoding(8, unsigned=False),
    "unsigned": Encoding(8, unsigned=True),
    "wide": Encoding(16, unsigned=True),
}


@dataclass
class NumpyNetwork:
    """Basic blocks behind torchvision's stem of 7x7 and a max-pool.

    Attributes:
        wiring: its blocks.
        floats: the layers that stay float.
        weights: float, by layer; (out, in, k, k), of ``fc`` (out, in).
        biases: float, by layer.
        scales: canonical steps of activations, by quantizer.
    """

    wiring: Wiring
    floats: Collection[str]
    weights: dict[str, Array]
    biases: dict[str, Array]
    scales: dict[str, float] = field(default_factory=dict)

    def calibrate(self, images: Array) -> None:
        """Put the largest magnitude of every tensor at the end of its grid."""
        largest: dict[str, float] = {}

        def see(name: str, x: Array) -> Array:
            largest[name] = max(float(np.abs(x).max()), SMALLEST)
            return x

        self._run(images, see, lambda layer, x: self._product(layer, x, self.weights[layer]))
        self.scales = {name: float(np.float32(value / 127)) for name, value in largest.items()}

    def integers(self, layer: str) -> tuple[Array, Array]:
        """Weights as int8, and their steps, one for each output channel, float32."""
        weight = self.weights[layer]
        rows = np.abs(weight.reshape(len(weight), -1)).max(1)
        step = (np.maximum(rows, SMALLEST) / LARGEST_WEIGHT).astype(np.float32)
        along = step.reshape(-1, *[1] * (weight.ndim - 1))
        rounded = np.rint(weight.astype(np.float32) / along)
        return np.clip(rounded, -LARGEST_WEIGHT, LARGEST_WEIGHT).astype(np.int8), step

    def constants(self) -> dict[str, Array]:
        """By the names of the canonical graph's initializers."""
        off = self.wiring.off(self.floats)
        found: dict[str, Array] = {}
        for layer in self.wiring.layers:
            found[f"{layer}.bias"] = self.biases[layer].astype(np.float32)
            if layer in self.floats:
                found[f"{layer}.weight"] = self.weights[layer].astype(np.float32)
            else:
                integers, step = self.integers(layer)
                found |= {f"{layer}.weight.int8": integers, f"{layer}.weight_quant.scale": step}
        for name, scale in self.scales.items():
            if name not in off:
                found[f"{name}.scale"] = np.array(scale, np.float32)
        return found

    def logits(self, images: Array, encoding: Encoding) -> Array:
        """(n, classes) in the arithmetic of that encoding."""
        off = self.wiring.off(self.floats)

        def quantize(name: str, x: Array) -> Array:
            if name in off:
                return x
            signed = name.startswith("input") or self._is_signed(name)
            step, low, high = encoding.grid(self.scales[name], non_negative=not signed)
            rounded: Array = np.clip(np.rint(x / step), low, high) * step
            return rounded

        def product(layer: str, x: Array) -> Array:
            if layer in self.floats:
                return self._product(layer, x, self.weights[layer])
            return self._integer_product(layer, x, encoding)

        return self._run(images, quantize, product)

    def _is_signed(self, name: str) -> bool:
        return any(
            name == f"{layer.removesuffix('.0')}_quant"
            for block in self.wiring.blocks
            for layer in block.joined
        )

    def _integer_product(self, layer: str, x: Array, encoding: Encoding) -> Array:
        integers, step = self.integers(layer)
        weight, bias = integers.astype(np.float64), self.biases[layer].astype(np.float64)
        scale = step.astype(np.float64)
        if encoding.unsigned:
            read = self._step_read(layer, encoding)
            # int32 must hold a bias, whose unit is the product of both steps.
            wider = np.maximum(scale, np.abs(bias) / (read * 2.0**30))
            along = (scale / wider).reshape(-1, *[1] * (weight.ndim - 1))
            weight, scale = np.rint(weight * along), wider
            bias = np.rint(bias / (scale * read)) * scale * read
        along = scale.reshape(-1, *[1] * (weight.ndim - 1))
        return self._product(layer, x, weight * along, bias)

    def _step_read(self, layer: str, encoding: Encoding) -> float:
        name = [grid.quantizer for grid in self.wiring.grids if layer in grid.readers][-1]
        signed = name == "input_quant"
        return encoding.grid(self.scales[name], non_negative=not signed)[0]

    def _product(self, layer: str, x: Array, weight: Array, bias: Array | None = None) -> Array:
        bias = self.biases[layer].astype(np.float64) if bias is None else bias
        if weight.ndim == 2:
            made: Array = x @ weight.T + bias
            return made
        stride = 1
        if layer == "conv1" or (
            layer.endswith(("0.conv1", "downsample.0")) and not layer.startswith("layer1")
        ):
            stride = 2
        return convolved(x, weight, stride) + bias.reshape(-1, 1, 1)

    def _run(self, x: Array, quantize: Any, product: Any) -> Array:
        x = quantize("input_quant", x.astype(np.float64))
        x = quantize("conv1_quant", np.maximum(product("conv1", x), 0))
        x = max_pooled(x)
        for block in self.wiring.blocks:
            x = self._block(block, x, quantize, product)
        x = quantize("pool_quant", x.mean((2, 3)))
        logits: Array = product("fc", x)
        return logits

    def _block(self, block: BlockShape, x: Array, quantize: Any, product: Any) -> Array:
        branch = x
        for i in range(1, block.convs + 1):
            layer = f"{block.name}.conv{i}"
            branch = product(layer, branch)
            branch = branch if layer == block.last else np.maximum(branch, 0)
            branch = quantize(f"{layer}_quant", branch)
        if block.downsample:
            x = product(f"{block.name}.downsample.0", x)
            x = quantize(f"{block.name}.downsample_quant", x)
        found: Array = quantize(f"{block.name}.output_quant", np.maximum(branch + x, 0))
        return found


def convolved(x: Array, weight: Array, stride: int) -> Array:
    """By the definition, a product for each tap of the kernel; padded by half the kernel."""
    side = weight.shape[2]
    edge = side // 2
    padded = np.pad(x, ((0, 0), (0, 0), (edge, edge), (edge, edge)))
    out = (padded.shape[2] - side) // stride + 1
    total = np.zeros((len(x), len(weight), out, out))
    for i in range(side):
        for j in range(side):
            tap = padded[:, :, i : i + out * stride : stride, j : j + out * stride : stride]
            total += np.einsum("nchw,oc->nohw", tap, weight[:, :, i, j])
    return total


def max_pooled(x: Array) -> Array:
    """3x3, stride 2, padding 1."""
    padded = np.pad(x, ((0, 0), (0, 0), (1, 1), (1, 1)), constant_values=-np.inf)
    out = (padded.shape[2] - 3) // 2 + 1
    taps = [
        padded[:, :, i : i + out * 2 : 2, j : j + out * 2 : 2] for i in range(3) for j in range(3)
    ]
    found: Array = np.max(taps, axis=0)
    return found


def random_network(
    shapes: Mapping[str, tuple[int, ...]],
    wiring: Wiring,
    floats: Collection[str],
    rng: np.random.Generator,
) -> NumpyNetwork:
    """Weights of usual sizes; uncalibrated.

    Args:
        shapes: of each layer's weight.
        wiring: its blocks.
        floats: the layers that stay float.
        rng: draws them.
    """
    weights = {
        name: rng.normal(0, np.sqrt(2 / np.prod(shape[1:])), shape).astype(np.float32)
        for name, shape in shapes.items()
    }
    biases = {
        name: rng.normal(0, 0.2, shape[0]).astype(np.float32) for name, shape in shapes.items()
    }
    return NumpyNetwork(wiring, floats, weights, biases)
