"""Weight gradients of convolutions on tiny feature maps, as one matrix product each.

Images of 32 to 64 px leave ResNet's last levels with maps of 1x1 to 3x3 positions and 256 to 512
channels. oneDNN's direct kernel for the weight gradient needs up to five times as long there as
the same sum written as a matrix product (AVX2, measured with
``python -m tests.benchmarks.training_step``): a whole training step takes half the time.
"""

from __future__ import annotations

from collections.abc import Callable, Sequence
from typing import Any, cast

import torch
from torch import Tensor
from torch.nn import functional as F
from torch.nn.grad import conv2d_input
from torch.overrides import TorchFunctionMode

MOST_POSITIONS = 9  # of an output map; from 4x4 up gathering the patches eats what is won
# Of the input of a strided 1x1 convolution: with fewer, oneDNN's weight gradient writes past its
# memory (PyTorch 2.14, channels last, AVX2), which ends the process or spoils other tensors.
LEAST_CHANNELS = 8


class MatmulWeightGradients(TorchFunctionMode):
    """While entered, `torch.nn.functional.conv2d` computes such gradients as matrix products.

    Meant for float32 on a CPU. So are those of strided 1x1 convolutions of fewer than
    ``LEAST_CHANNELS`` channels, as pruning leaves them. Convolutions with groups, dilation or
    padding by name, on larger maps, or of weights that need no gradient are left alone. Values
    differ by rounding only.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.conv2d:
            return _conv2d(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _conv2d(
    input: Tensor,
    weight: Tensor,
    bias: Tensor | None = None,
    stride: int | Sequence[int] = 1,
    padding: str | int | Sequence[int] = 0,
    dilation: int | Sequence[int] = 1,
    groups: int = 1,
) -> Tensor:
    wanted = torch.is_grad_enabled() and weight.requires_grad
    if not wanted or isinstance(padding, str) or groups != 1 or _pair(dilation) != (1, 1):
        return F.conv2d(input, weight, bias, stride, padding, dilation, groups)
    strides, paddings = _pair(stride), _pair(padding)
    sizes = zip(input.shape[2:], weight.shape[2:], strides, paddings, strict=True)
    positions = 1
    for size, kernel, step, pad in sizes:
        positions *= (size + 2 * pad - kernel) // step + 1
    if positions > MOST_POSITIONS and not _harms(weight, strides):
        return F.conv2d(input, weight, bias, stride, padding)
    output = _Convolution.apply(input, weight, strides, paddings)
    return cast(Tensor, output if bias is None else output + bias[:, None, None])


def _harms(weight: Tensor, strides: tuple[int, int]) -> bool:
    kernel = tuple(weight.shape[2:])
    return kernel == (1, 1) and strides != (1, 1) and weight.shape[1] < LEAST_CHANNELS


def _pair(value: int | Sequence[int]) -> tuple[int, int]:
    return (value, value) if isinstance(value, int) else (value[0], value[1])


class _Convolution(torch.autograd.Function):
    """(N, C, H, W) and (O, C, kh, kw) to (N, O, h, w)."""

    @staticmethod
    def forward(
        ctx: Any,
        images: Tensor,
        weight: Tensor,
        stride: tuple[int, int],
        padding: tuple[int, int],
    ) -> Tensor:
        ctx.save_for_backward(images, weight)
        ctx.stride, ctx.padding = stride, padding
        return F.conv2d(images, weight, None, stride, padding)

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, Tensor | None, None, None]:
        (grad,) = grads
        images, weight = ctx.saved_tensors
        for_images: Tensor | None = None
        for_weight: Tensor | None = None
        if ctx.needs_input_grad[0]:
            for_images = conv2d_input(images.shape, weight, grad, ctx.stride, ctx.padding)  # type: ignore[no-untyped-call]
        if ctx.needs_input_grad[1]:
            for_weight = _weight_gradient(images, weight, grad, ctx.stride, ctx.padding)
        return for_images, for_weight, None, None


def _weight_gradient(
    images: Tensor,
    weight: Tensor,
    grad: Tensor,
    stride: tuple[int, int],
    padding: tuple[int, int],
) -> Tensor:
    """(O, C, kh, kw): the sum over all positions of output gradient times input patch."""
    outs, channels, *kernel = weight.shape
    # Channels last: a patch is then kh x kw contiguous runs of C values.
    nhwc = F.pad(
        images.permute(0, 2, 3, 1), (0, 0, padding[1], padding[1], padding[0], padding[0])
    ).contiguous()
    windows = nhwc.unfold(1, kernel[0], stride[0]).unfold(2, kernel[1], stride[1])
    patches = windows.permute(0, 1, 2, 4, 5, 3).reshape(-1, kernel[0] * kernel[1] * channels)
    flat = grad.permute(0, 2, 3, 1).reshape(-1, outs)
    return (flat.t() @ patches).view(outs, *kernel, channels).permute(0, 3, 1, 2)
