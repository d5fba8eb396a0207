"""Damaged copies of a network, which the images that travel with a bundle must tell from it.

What damages a model on its way into a device (a bad copy, a wrong build, a runtime, a driver) is
done to PyTorch's network, in place and for a moment: no file is written and no runtime opened. What
stands before the damage is computed once for all of it.
"""

from __future__ import annotations

import time
from collections.abc import Callable, Iterator
from contextlib import ExitStack, contextmanager
from typing import TYPE_CHECKING, Any, cast

import numpy as np
import torch
from torch import Tensor, nn
from torch.nn import functional as F

from edgeresnet.device.data.preprocess import normalize
from edgeresnet.host.models.fake_quant import FakeQuant
from edgeresnet.host.models.quant_resnet import QuantBlock, QuantConv, QuantLinear, QuantResNet
from edgeresnet.host.models.resnet import LEVELS

if TYPE_CHECKING:
    from contextlib import AbstractContextManager

    from numpy.typing import NDArray

    from edgeresnet.settings.inputs import InputSpec

# All mutants together: multiply-accumulates, so that as many are made on every machine, and the
# time after which a slow one makes no more.
MOST_MACS = 6e10
MOST_SECONDS = 20.0
MOST_MUTANTS = 120
# Of all inputs of levels that are kept.
MOST_BYTES = 256 << 20

Draw = np.random.Generator
# Damages a part of a network: what undoes it on leaving.
Damage = Callable[[nn.Module, Draw], "AbstractContextManager[None]"]
# The network in parts: what comes before the first level, the levels, and what comes behind.
PARTS = ("stem", *LEVELS, "head")


def mutants(
    model: QuantResNet,
    images: NDArray[np.uint8],
    spec: InputSpec,
    macs: int,
    clock: Callable[[], float] = time.monotonic,
) -> Iterator[NDArray[np.float32]]:
    """Logits (n, classes) float32 of one damaged network after the other.

    Args:
        model: folded, in eval mode, its quantizers switched as the bundle has them; as it was
            after each.
        images: (n, H, W, 3) uint8, whose levels' inputs must fit `MOST_BYTES`.
        spec: how they become inputs.
        macs: of the network, for one image.
        clock: seconds.
    """
    draw = np.random.default_rng(0)
    end, left = clock() + MOST_SECONDS, MOST_MACS
    inputs = torch.from_numpy(normalize(images, spec))
    with _rounded_weights(model), torch.inference_mode():
        before = [inputs]
        for part in PARTS:
            before.append(_part(model, part, before[-1]))
        for number in range(MOST_MUTANTS):
            # In turns, so that those for which there is time are everywhere.
            first = (0, 5, 4, 5, 3, 5, 2, 5, 1, 5)[number % 10]
            cost = 0.0 if PARTS[first] == "head" else macs * len(images) * (1 - first / 5)
            if cost > left or clock() > end:
                continue
            left -= cost
            yield _mutant(model, before, first, draw)


@contextmanager
def _rounded_weights(model: QuantResNet) -> Iterator[None]:
    """Round weights once, not in each run."""
    layers = [m for m in model.modules() if isinstance(m, QuantConv | QuantLinear)]
    with ExitStack() as stack, torch.no_grad():
        for layer in layers:
            if layer.weight_quant.rounds:
                weight = layer.weight
                stack.enter_context(_changed(weight, layer.weight_quant(weight).detach()))
                stack.enter_context(_dropped_pair(layer.weight_quant, np.random.default_rng(0)))
        yield


def fitting(images: NDArray[np.uint8]) -> int:
    """For how many images `mutants` keeps all that it needs to."""
    # A level's input has at most sixteen times the elements of an image's pixels, all together 40.
    return max(1, MOST_BYTES // (40 * 4 * int(images[0].nbytes) // 3))


def _part(model: QuantResNet, part: str, x: Tensor) -> Tensor:
    if part == "stem":
        x = model.conv1_quant(F.relu(model.conv1(model.input_quant(x))))
        return cast(Tensor, model.maxpool(x))
    if part == "head":
        x = F.adaptive_avg_pool2d(x, 1).flatten(1)
        return cast(Tensor, model.fc(model.pool_quant(x)))
    return cast(Tensor, getattr(model, part)(x))


def _mutant(
    model: QuantResNet, before: list[Tensor], first: int, draw: Draw
) -> NDArray[np.float32]:
    """Logits with a part damaged, from its input on."""
    x = before[first]
    damage: Damage
    where: nn.Module
    if first == 0 and draw.integers(2):
        damage, where = _nothing, model
        x = _other_pixels(x, draw)
    else:
        damage, where = _drawn(model, PARTS[first], draw)
    with damage(where, draw):
        for part in PARTS[first:]:
            x = _part(model, part, x)
    logits: NDArray[np.float32] = x.numpy()
    return logits


def _drawn(model: QuantResNet, part: str, draw: Draw) -> tuple[Damage, nn.Module]:
    """A damage, and a module of that part which can have it."""
    roots: dict[str, list[nn.Module]] = {
        "stem": [model.input_quant, model.conv1, model.conv1_quant],
        "head": [model.pool_quant, model.fc],
    }
    chosen = roots[part] if part in roots else [cast(nn.Module, getattr(model, part))]
    within = [module for root in chosen for module in root.modules()]
    layers: list[nn.Module] = [m for m in within if isinstance(m, QuantConv | QuantLinear)]
    grids: list[nn.Module] = [
        m for m in within if isinstance(m, FakeQuant) and m.rounds and m.axis < 0
    ]
    blocks: list[nn.Module] = [m for m in within if isinstance(m, QuantBlock)]
    choices = [(damage, layers) for damage in LAYER_DAMAGES]
    choices += [(damage, grids) for damage in GRID_DAMAGES]
    choices += [(_lost_operand, blocks)]
    possible = [(damage, where) for damage, where in choices if where]
    if not possible:
        # Pruning may leave nothing of a level.
        return _drawn(model, "head", draw)
    damage, where = possible[int(draw.integers(len(possible)))]
    return damage, where[int(draw.integers(len(where)))]


def _other_pixels(x: Tensor, draw: Draw) -> Tensor:
    """Channels or sides exchanged, NHWC read as NCHW, another mean or standard deviation."""
    changes: list[Callable[[Tensor], Tensor]] = [
        lambda x: x.flip(1),
        lambda x: x.transpose(2, 3).contiguous(),
        lambda x: x.permute(0, 2, 3, 1).reshape(x.shape),
        lambda x: x * _factor(draw),
        lambda x: x + (_factor(draw) - 1),
    ]
    return changes[int(draw.integers(len(changes)))](x)


def _factor(draw: Draw) -> float:
    """From 0.5 to 2; small changes as often as large ones."""
    return float(2.0 ** (draw.choice([-1, 1]) * np.exp(draw.uniform(np.log(0.03), 0))))


@contextmanager
def _nothing(where: nn.Module, draw: Draw) -> Iterator[None]:
    yield


@contextmanager
def _changed(tensor: Tensor, value: Tensor) -> Iterator[None]:
    own = tensor.data
    tensor.data = value
    try:
        yield
    finally:
        tensor.data = own


def _scaled_weights(where: nn.Module, draw: Draw) -> AbstractContextManager[None]:
    """All of a layer's, or one channel's, as by a wrong scale."""
    weight = cast(Tensor, where.weight)
    value = weight.clone()
    if draw.integers(2):
        value *= _factor(draw)
    else:
        value[int(draw.integers(len(value)))] *= float(draw.choice([-1.0, 0.0, 4.0]))
    return _changed(weight, value)


def _rolled_channels(where: nn.Module, draw: Draw) -> AbstractContextManager[None]:
    """Output channels, or classes, are others', without their biases."""
    weight = cast(Tensor, where.weight)
    if draw.integers(2):
        return _changed(weight, weight.roll(int(draw.integers(1, 9)), 0))
    order = torch.arange(len(weight))
    one, other = (int(i) for i in draw.choice(len(weight), 2, replace=len(weight) < 2))
    order[one], order[other] = other, one
    return _changed(weight, weight[order])


def _block(where: nn.Module, draw: Draw) -> AbstractContextManager[None]:
    """A run of a layer's weights is zero, noise, or another part of it."""
    weight = cast(Tensor, where.weight)
    value = weight.clone()
    flat = value.view(-1)
    length = min(len(flat), int(2 ** draw.uniform(4, 16)))
    start, other = (int(i) for i in draw.integers(0, len(flat) - length + 1, 2))
    largest = float(flat.abs().max())
    noise = torch.from_numpy(draw.uniform(-largest, largest, length)).to(flat.dtype)
    found = (torch.zeros(length), noise, flat[other : other + length].clone())
    flat[start : start + length] = found[int(draw.integers(3))]
    return _changed(weight, value)


def _turned_kernel(where: nn.Module, draw: Draw) -> AbstractContextManager[None]:
    weight = cast(Tensor, where.weight)
    return _changed(weight, weight.transpose(2, 3) if weight.ndim == 4 else weight.flip(1))


def _bias(where: nn.Module, draw: Draw) -> AbstractContextManager[None]:
    bias = cast(Tensor, where.bias)
    if draw.integers(2):
        return _changed(bias, bias * float(draw.choice([0.0, 0.5, 0.8, 1.5])))
    return _changed(bias, bias.roll(1))


@contextmanager
def _scale(where: nn.Module, draw: Draw) -> Iterator[None]:
    """A grid's step; as written, or only as read."""
    assert isinstance(where, FakeQuant)
    factor = _factor(draw)
    if draw.integers(2):
        with _changed(where.scale, where.scale.data * factor):
            yield
        return
    handle = where.register_forward_hook(lambda module, inputs, output: output * factor)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _zero_point(where: nn.Module, draw: Draw) -> Iterator[None]:
    assert isinstance(where, FakeQuant)
    shift = float(where.step()) * float(draw.choice([-16, -4, -1, 1, 4, 16]))
    handle = where.register_forward_hook(lambda module, inputs, output: output + shift)
    try:
        yield
    finally:
        handle.remove()


@contextmanager
def _dropped_pair(where: nn.Module, draw: Draw) -> Iterator[None]:
    assert isinstance(where, FakeQuant)
    where.enabled = False
    try:
        yield
    finally:
        where.enabled = True


@contextmanager
def _lost_operand(where: nn.Module, draw: Draw) -> Iterator[None]:
    """A block without one of the tensors that meet in its add."""
    assert isinstance(where, QuantBlock)

    def nothing(module: nn.Module, inputs: Any, output: Tensor) -> Tensor:
        return torch.zeros_like(output)

    lost = getattr(where, f"conv{where.depth}_quant")
    if where.downsample is not None and draw.integers(2):
        lost = where.downsample_quant
    handle = lost.register_forward_hook(nothing)
    try:
        yield
    finally:
        handle.remove()


LAYER_DAMAGES: tuple[Damage, ...] = (
    _scaled_weights, _rolled_channels, _block, _turned_kernel, _bias,
)  # fmt: skip
GRID_DAMAGES: tuple[Damage, ...] = (_scale, _zero_point, _dropped_pair)
