"""Batch normalization over the images of all processes, on every device.

PyTorch's own refuses CPUs. Gradients are exact: what one process's images do to the mean and the
variance reaches the gradients of all.
"""

from __future__ import annotations

from collections.abc import Callable
from typing import Any, cast

import torch
from torch import Tensor, distributed
from torch.nn import functional as F
from torch.overrides import TorchFunctionMode


class SynchronizedNormalization(TorchFunctionMode):
    """While entered, `torch.nn.functional.batch_norm` in training has all processes' statistics.

    Every process must call it in the same order. Outside of training nothing changes.
    """

    def __torch_function__(
        self,
        func: Callable[..., Any],
        types: Any,
        args: tuple[Any, ...] = (),
        kwargs: dict[str, Any] | None = None,
    ) -> Any:
        if func is F.batch_norm:
            return _batch_norm(*args, **(kwargs or {}))
        return func(*args, **(kwargs or {}))


def _batch_norm(
    input: Tensor,
    running_mean: Tensor | None,
    running_var: Tensor | None,
    weight: Tensor | None = None,
    bias: Tensor | None = None,
    training: bool = False,
    momentum: float = 0.1,
    eps: float = 1e-5,
) -> Tensor:
    if not training:
        return F.batch_norm(input, running_mean, running_var, weight, bias, False, momentum, eps)
    channels = input.shape[1]
    weight = input.new_ones(channels, dtype=torch.float32) if weight is None else weight
    bias = input.new_zeros(channels, dtype=torch.float32) if bias is None else bias
    output, mean, variance, count = _Normalization.apply(input, weight, bias, eps)
    if running_mean is not None and running_var is not None:
        with torch.no_grad():
            running_mean.lerp_(mean.to(running_mean.dtype), momentum)
            unbiased = variance * (count / (count - 1).clamp_min(1))
            running_var.lerp_(unbiased.to(running_var.dtype), momentum)
    return cast(Tensor, output)


class _Normalization(torch.autograd.Function):
    """(N, C, ...) of each process, normalized by the statistics of all.

    Source: Ioffe & Szegedy, "Batch Normalization", ICML 2015, section 3; the processes' variances
    are put together as in Chan et al., "Updating Formulae and a Pairwise Algorithm for Computing
    Sample Variances", 1979, so that nothing cancels.
    """

    @staticmethod
    def forward(
        ctx: Any, x: Tensor, weight: Tensor, bias: Tensor, eps: float
    ) -> tuple[Tensor, Tensor, Tensor, Tensor]:
        others = [d for d in range(x.ndim) if d != 1]
        variance, mean = torch.var_mean(x.float(), others, correction=0)
        own = torch.stack([mean, variance, torch.full_like(mean, x.numel() / x.shape[1])])
        told = [torch.empty_like(own) for _ in range(distributed.get_world_size())]
        distributed.all_gather(told, own)
        means, variances, counts = torch.stack(told, 1)
        count = counts[:, 0].sum()
        share = counts / count
        mean = (share * means).sum(0)
        variance = (share * (variances + (means - mean).square())).sum(0)
        # One kernel, in the memory format of what comes in.
        output = F.batch_norm(x, mean, variance, weight, bias, False, 0.0, eps)
        ctx.save_for_backward(x, weight, mean, torch.rsqrt(variance + eps), count)
        ctx.mark_non_differentiable(mean, variance, count)
        return output, mean, variance, count

    @staticmethod
    def backward(ctx: Any, *grads: Tensor) -> tuple[Tensor | None, ...]:
        x, weight, mean, inverse, count = ctx.saved_tensors
        others = [d for d in range(x.ndim) if d != 1]
        shape = [1, -1, *[1] * (x.ndim - 2)]
        grad = grads[0].float()
        normalized = (x.float() - mean.view(shape)) * inverse.view(shape)
        own = torch.stack([grad.sum(others), (grad * normalized).sum(others)])
        grad_bias, grad_weight = own
        of_all = own.clone()
        distributed.all_reduce(of_all)
        shift, slope = (of_all / count).view(2, *shape)
        grad_x = (grad - shift - normalized * slope) * (weight * inverse).view(shape)
        return grad_x.to(x.dtype), grad_weight.to(weight.dtype), grad_bias.to(weight.dtype), None
