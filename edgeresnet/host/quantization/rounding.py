"""Learned rounding: of the two integers beside each weight, the one that its block is better with.

Source: Nagel et al., "Up or Down? Adaptive Rounding for Post-Training Quantization", ICML 2020,
equations 21 to 25; the error that is made small is that of a residual block's output, as in Li et
al., "BRECQ", ICLR 2021.
"""

from __future__ import annotations

from collections.abc import Sequence
from dataclasses import dataclass

import torch
from torch import Tensor, nn

from edgeresnet.host.models.fake_quant import FakeQuant
from edgeresnet.host.models.quant_resnet import QuantConv, QuantLinear
from edgeresnet.host.quantization.block_walk import Unit

STEPS, BATCH, LEARNING_RATE = 300, 32, 0.02
# The sigmoid is stretched so that it reaches 0 and 1 (equation 23).
LOWEST, HIGHEST = -0.1, 1.1
# After this share of the steps every weight is pushed to one of its two integers, ever harder.
FREE_SHARE, FIRST_POWER, LAST_POWER, PUSH = 0.2, 20.0, 2.0, 0.1
# Of the images, those on which the learned rounding has to prove that it is better.
HELD_OUT_SHARE = 4
SMALLEST_SHARE = 1e-3
# A smaller gain on few images is chance.
LEAST_GAIN = 0.01


@dataclass(frozen=True)
class Rounded:
    """A block's mean squared error on images that its rounding was not learned on."""

    nearest: float
    learned: float

    @property
    def kept(self) -> bool:
        """Whether the learned rounding is in place."""
        return self.learned < (1 - LEAST_GAIN) * self.nearest


class SoftRounding(nn.Module):
    """In the place of a weight's quantizer: rounds each weight between its two integers.

    Args:
        quantizer: gives step sizes and grid.
        weight: (out, …) float32.
    """

    def __init__(self, quantizer: FakeQuant, weight: Tensor) -> None:
        super().__init__()
        self.low, self.high = quantizer.range
        self.step = quantizer.step().detach().reshape(-1, *[1] * (weight.ndim - 1))
        steps = weight.detach() / self.step
        self.floor = steps.floor()
        # Zeros are what pruning has left.
        self.loose = (steps != 0).float()
        part = (steps - self.floor - LOWEST) / (HIGHEST - LOWEST)
        self.logit = nn.Parameter(torch.logit(part))

    def up(self) -> Tensor:
        """How far each weight is rounded up, from 0 to 1."""
        return (self.logit.sigmoid() * (HIGHEST - LOWEST) + LOWEST).clamp(0, 1) * self.loose

    def forward(self, _: Tensor) -> Tensor:
        """The weights between their integers."""
        return (self.floor + self.up()).clamp(self.low, self.high) * self.step

    def undecided(self, power: float) -> Tensor:
        """Mean over the weights: 1 half-way between two integers, 0 on one (equation 24)."""
        return (1 - (2 * self.up() - 1).abs().pow(power)).mean()

    def hard(self) -> Tensor:
        """Every weight on one of its two integers."""
        with torch.no_grad():
            up = (self.up() >= 0.5).float()
            return (self.floor + up).clamp(self.low, self.high) * self.step


def round_weights(
    unit: Unit,
    plain: Unit,
    inputs: Sequence[Tensor],
    plain_inputs: Sequence[Tensor],
    *,
    seed: int = 0,
) -> Rounded:
    """Put a unit's weights on their grid in place, each on one of the two integers beside it.

    Where that is no better than rounding to the nearest, on images held out, they stay as they are.

    Args:
        unit: calibrated; see `edgeresnet.host.quantization.block_walk`.
        plain: the float one.
        inputs: of ``unit``, batch by batch.
        plain_inputs: of ``plain``.
        seed: of the order of the images.
    """
    given = torch.cat(list(inputs))
    with torch.no_grad():
        wanted = torch.cat([plain.run(x) for x in plain_inputs])
    held = max(1, len(given) // HELD_OUT_SHARE) if len(given) > 1 else 0
    judged = slice(len(given) - held, None) if held else slice(None)
    learned_from = slice(0, len(given) - held)
    nearest = _error(unit, given[judged], wanted[judged])
    soft = _learn(unit, given[learned_from], wanted[learned_from], seed)
    before = [layer.weight.detach().clone() for layer in unit.layers]
    _set([(layer, rounding.hard()) for layer, rounding in soft])
    result = Rounded(nearest, _error(unit, given[judged], wanted[judged]))
    if not result.kept:
        _set([(layer, weight) for (layer, _), weight in zip(soft, before, strict=True)])
    return result


def _set(weights: Sequence[tuple[QuantConv | QuantLinear, Tensor]]) -> None:
    with torch.no_grad():
        for layer, weight in weights:
            layer.weight.copy_(weight)


def _error(unit: Unit, inputs: Tensor, wanted: Tensor) -> float:
    total = 0.0
    with torch.no_grad():
        for x, y in zip(torch.split(inputs, BATCH), torch.split(wanted, BATCH), strict=True):
            total += float((unit.run(x) - y).square().sum())
    return total / wanted.numel()


def _learn(
    unit: Unit, inputs: Tensor, wanted: Tensor, seed: int
) -> list[tuple[QuantConv | QuantLinear, SoftRounding]]:
    soft = [(layer, SoftRounding(layer.weight_quant, layer.weight)) for layer in unit.layers]
    nearest = _error(unit, inputs, wanted)
    quantizers = [layer.weight_quant for layer in unit.layers]
    for layer, rounding in soft:
        layer.add_module("weight_quant", rounding)
    try:
        # What rounding to the nearest adds counts as 1, however large a block's values are: the
        # rest is of its activations, and no rounding of weights mends it.
        unrounded = _error(unit, inputs, wanted)
        usual = max(nearest - unrounded, SMALLEST_SHARE * nearest, torch.finfo().tiny)
        _descend(unit, [rounding for _, rounding in soft], inputs, wanted, usual, seed)
    finally:
        for layer, quantizer in zip(unit.layers, quantizers, strict=True):
            layer.add_module("weight_quant", quantizer)
    return soft


def _descend(
    unit: Unit,
    soft: list[SoftRounding],
    inputs: Tensor,
    wanted: Tensor,
    usual: float,
    seed: int,
) -> None:
    logits = [rounding.logit for rounding in soft]
    optimizer = torch.optim.Adam(logits, lr=LEARNING_RATE)
    # So few steps end in noise, unless they get smaller.
    smaller = torch.optim.lr_scheduler.LinearLR(optimizer, 1.0, 0.05, STEPS)
    generator = torch.Generator().manual_seed(seed)
    free = round(FREE_SHARE * STEPS)
    for step in range(STEPS):
        drawn = torch.randint(len(inputs), (min(BATCH, len(inputs)),), generator=generator)
        drawn = drawn.to(inputs.device)
        loss = (unit.run(inputs[drawn]) - wanted[drawn]).square().mean() / usual
        if step >= free:
            done = (step - free) / (STEPS - free)
            power = FIRST_POWER + (LAST_POWER - FIRST_POWER) * done
            loss = loss + PUSH * torch.stack([r.undecided(power) for r in soft]).sum()
        for logit, gradient in zip(logits, torch.autograd.grad(loss, logits), strict=True):
            logit.grad = gradient
        optimizer.step()
        smaller.step()
