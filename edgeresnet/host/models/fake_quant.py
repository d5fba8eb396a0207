"""Fake quantization on the canonical grid: symmetric int8, zero point 0, learned step size.

The grid is the coarsest that any target needs: TensorRT represents no other. Signed tensors use
[-128, 127], tensors that a ReLU has made non-negative [0, 127], weights of 4 to 8 bits as many
integers below 0 as above, such as [-127, 127], for each output channel. What a target can represent
better is re-encoded on export.

Why narrow weights: x86 without VNNI multiplies uint8 by int8 and adds pairs of products in int16,
saturating. 2 x 255 x 63 fits, 2 x 255 x 127 does not, and logits go wrong without any message.
Fewer than seven bits are for what a device stores: they multiply as int8 where it has no others.
"""

from __future__ import annotations

from collections.abc import Iterator
from contextlib import contextmanager
from typing import Any, Literal, Protocol

import torch
from torch import Tensor, nn
from torch.nn import functional as F

Kind = Literal["signed", "unsigned", "weight", "narrow_weight", "weight6", "weight5", "weight4"]
RANGES: dict[Kind, tuple[int, int]] = {
    "signed": (-128, 127),
    "unsigned": (0, 127),
    "weight": (-127, 127),
    "narrow_weight": (-63, 63),
    "weight6": (-31, 31),
    "weight5": (-15, 15),
    "weight4": (-7, 7),
}
WEIGHTS: dict[int, Kind] = {
    4: "weight4", 5: "weight5", 6: "weight6", 7: "narrow_weight", 8: "weight",
}  # fmt: skip
# The first convolution and the classifier are small, and lose most where their weights are coarse.
FEWEST_BITS_AT_THE_ENDS = 7
WIDE_RANGES: dict[Kind, tuple[int, int]] = {
    **RANGES,
    # 257 times as fine, so that each number of 8 bits is one of 16: asymmetric by as little.
    "signed": (-128 * 257, 127 * 257),
    "unsigned": (0, 65535),
}
PER_TENSOR = -1
# A step below this would make the int32 bias scale (input x weight) underflow to float16 later.
SMALLEST_SCALE = 1e-8


@torch.library.custom_op("edgeresnet::fake_quant", mutates_args=())
def fake_quant_op(
    x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, low: int, high: int
) -> Tensor:
    """Round ``x`` to ``scale`` times an integer in [low, high]; opaque to the exporter.

    Args:
        x: any shape, float32.
        scale: 0-D for the whole tensor, or (channels,) along ``axis``; float32.
        zero_point: int8 zeros in the shape of ``scale``; only the exporter reads it.
        axis: channel axis, or -1 for one scale.
        low: smallest integer of the grid.
        high: largest integer of the grid.

    Returns:
        Tensor of the shape and dtype of ``x``.
    """
    return _round_to_grid(x, scale, axis, low, high)


@fake_quant_op.register_fake
def _(x: Tensor, scale: Tensor, zero_point: Tensor, axis: int, low: int, high: int) -> Tensor:
    return torch.empty_like(x)


def _round_to_grid(x: Tensor, scale: Tensor, axis: int, low: int, high: int) -> Tensor:
    spread = _along(scale, axis, x.ndim)
    # Four plain passes in place: torch's own fake quantization takes twice their time on a CPU.
    return (x * spread.reciprocal()).round_().clamp_(low, high).mul_(spread)


class _LearnedStep(torch.autograd.Function):
    """Rounding with the straight-through gradient for ``x`` and the true one for both scales.

    ``x / divisor`` is rounded and clipped to integers, which ``factor`` multiplies; None is the
    divisor again. Never the same tensor twice: torch's compiler takes no such function.

    Source: Esser et al., "Learned Step Size Quantization", ICLR 2020, equations 1 to 3.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, divisor: Tensor, factor: Tensor | None, axis: int, low: int, high: int
    ) -> Tensor:
        steps = x * _along(divisor.reciprocal(), axis, x.ndim)
        scale = divisor if factor is None else factor
        y = steps.round().clamp_(low, high).mul_(_along(scale, axis, x.ndim))
        ctx.save_for_backward(steps, divisor, factor, y)
        ctx.axis, ctx.low, ctx.high = axis, low, high
        return y

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        (grad,) = grads
        steps, divisor, factor, y = ctx.saved_tensors
        axis = ctx.axis
        if y.ndim == 4 and y.is_contiguous(memory_format=torch.channels_last):
            # Pooling's gradient is laid out otherwise, and would hand that on from block to block:
            # every pass over two tensors then walks one of them across its memory.
            grad = grad.contiguous(memory_format=torch.channels_last)
        # Passes strictly inside the grid only, in one kernel where masks would take four.
        passed = torch.ops.aten.hardtanh_backward(grad, steps, ctx.low, ctx.high)
        of_factor, of_divisor = _products(grad, y, axis), _products(passed, steps, axis)
        if factor is None:
            return passed, of_factor / divisor - of_divisor, None, None, None, None
        ratio = factor / divisor
        passed = passed * _along(ratio, axis, passed.ndim)
        return passed, -of_divisor * ratio, of_factor / factor, None, None, None


def _products(a: Tensor, b: Tensor, axis: int) -> Tensor:
    """Sum of the products, of all elements or of each channel."""
    if a.ndim == 4 and a.is_contiguous(memory_format=torch.channels_last):
        # In the order of memory the tensors below are views.
        a, b = a.permute(0, 2, 3, 1), b.permute(0, 2, 3, 1)
    if axis != PER_TENSOR:
        # A third of the time of `torch.bmm`, although it writes the products down.
        sums: Tensor = torch.linalg.vecdot(a.reshape(len(a), -1), b.reshape(len(b), -1))
        return sums
    return torch.dot(a.reshape(-1), b.reshape(-1))


class _DampedGradient(torch.autograd.Function):
    """The tensor itself; its gradient is multiplied by a number."""

    @staticmethod
    def forward(ctx: Any, x: Tensor, damping: float) -> Tensor:
        ctx.damping = damping
        return x.view_as(x)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor, None]:
        return grads[0] * ctx.damping, None


def _along(scale: Tensor, axis: int, ndim: int) -> Tensor:
    if axis == PER_TENSOR:
        return scale
    return scale.reshape([-1 if d == axis else 1 for d in range(ndim)])


_part_of_step = 1.0


@contextmanager
def part_of_step(share: float) -> Iterator[None]:
    """A block in which only this share of a training step's images is computed at a time.

    The gradients of activations' step sizes are balanced by the elements of the whole step, however
    many parts or processes compute it.
    """
    global _part_of_step
    before, _part_of_step = _part_of_step, share
    try:
        yield
    finally:
        _part_of_step = before


class FakeQuant(nn.Module):
    """Puts a tensor on the int8 grid, keeping it float32.

    An ``observer`` sees what comes in; with ``enabled`` off the tensor then passes unchanged.
    ``idle`` says that it always does, because the layers around it stay float; ``wide``, of an
    activation, that the grid has 16 bits between the same ends.

    Args:
        kind: which integers the grid has; see `RANGES`.
        channels: None for one scale, or the number of channels along axis 0.
    """

    zero_point: Tensor

    def __init__(self, kind: Kind, channels: int | None = None) -> None:
        super().__init__()
        self.kind = kind
        self.axis = PER_TENSOR if channels is None else 0
        shape = () if channels is None else (channels,)
        self.scale = nn.Parameter(torch.full(shape, 1.0))
        zeros = torch.zeros(shape, dtype=torch.int8)
        self.register_buffer("zero_point", zeros, persistent=False)
        self.enabled = True
        self.idle = False
        self.wide = False
        self.observer: Observer | None = None

    @property
    def rounds(self) -> bool:
        """Whether what comes in is put on the grid."""
        return self.enabled and not self.idle

    @property
    def range(self) -> tuple[int, int]:
        """Smallest and largest integer of the grid."""
        return (WIDE_RANGES if self.wide else RANGES)[self.kind]

    def step(self) -> Tensor:
        """The positive step size that is in force, in the shape of ``scale``."""
        step = self.scale.abs().clamp_min(SMALLEST_SCALE)
        return step * (RANGES[self.kind][1] / self.range[1]) if self.wide else step

    def settle(self) -> None:
        """Store the step size that is in force, so that the parameter can be read as it is."""
        with torch.no_grad():
            self.scale.copy_(self.scale.abs().clamp_min(SMALLEST_SCALE))

    def forward(self, x: Tensor) -> Tensor:
        """Any shape in, the same shape out, float32."""
        if self.observer is not None:
            self.observer.update(x)
        if not self.rounds:
            return x
        if torch.compiler.is_exporting():
            # Encodings give a wide one its bits: in the canonical graph all are alike.
            low, high = RANGES[self.kind]
            exported: Tensor = fake_quant_op(x, self.scale, self.zero_point, self.axis, low, high)
            return exported
        return self.on_grid(x)

    def on_grid(self, x: Tensor) -> Tensor:
        """As `forward`, whether it is enabled or not."""
        low, high = self.range
        # Weights are whole in each part of a step; of its images a part has only some.
        elements = x.numel() / (_part_of_step if self.axis == PER_TENSOR else 1)
        step = self._learned_step(elements)
        # Autocast would hand over bfloat16, whose 8 bits of mantissa do not resolve the grid.
        y: Tensor = _LearnedStep.apply(x.float(), step, None, self.axis, low, high)
        return y

    def after_relu(self, x: Tensor) -> Tensor:
        """What `forward` makes of ``relu(x)``; the end of an unsigned grid at 0 is the ReLU."""
        seen = self.observer is not None or not self.rounds or torch.compiler.is_exporting()
        clips = self.range[0] == 0 and not seen
        quantized: Tensor = self(x if clips else F.relu(x))
        return quantized

    def of_product(self, weight: Tensor, factor: Tensor, *, unscaled: bool = False) -> Tensor:
        """``forward(weight * factor)``, in the passes of one of them.

        Args:
            weight: (out, in, height, width) float32.
            factor: (out,), not 0; a negative one turns the grid round, which is symmetric.
            unscaled: divide by the factor again.
        """
        low, high = self.range
        if not self.rounds or torch.compiler.is_exporting():
            along = _along(factor, self.axis, weight.ndim)
            product: Tensor = self(weight * along)
            return product.div(along) if unscaled else product
        step = self._learned_step(weight.numel())
        scale = None if unscaled else step
        y: Tensor = _LearnedStep.apply(weight.float(), step / factor, scale, self.axis, low, high)
        return y

    def _learned_step(self, elements: float) -> Tensor:
        """`step`, whose gradient is balanced with the weights' (LSQ, section 2.2)."""
        balance = (elements / self.scale.numel() * self.range[1]) ** -0.5
        damped: Tensor = _DampedGradient.apply(self.step(), balance)
        return damped

    def extra_repr(self) -> str:
        """Kind and number of scales, for printing."""
        return f"{self.kind}, scales={self.scale.numel()}"


class Observer(Protocol):
    """Watches a tensor during calibration."""

    def update(self, x: Tensor) -> None:
        """Take in one batch; any shape, float32."""
        ...

    def scale(self, high: int) -> float:
        """Step size of a symmetric grid whose largest integer is ``high``."""
        ...

    def together(self) -> Observer:
        """One that has seen what the observers of all processes have, each its own batches."""
        ...
