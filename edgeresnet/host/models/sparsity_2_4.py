"""2:4 sparsity: of every four neighbouring input channels two weights are zero.

Sparse tensor cores skip them (Mishra et al., "Accelerating Sparse Deep Neural Networks", 2021,
section 3). Weights stay dense tensors with zeros in them; the shape of nothing changes.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import torch
from torch import Tensor, nn

if TYPE_CHECKING:
    from edgeresnet.host.models.checkpoint import Checkpoint

PATTERN = "2:4"
KEPT, OF = 2, 4


def is_sparse(checkpoint: Checkpoint) -> bool:
    """Whether a checkpoint was pruned to 2:4, so that whatever follows must keep its zeros."""
    return bool(checkpoint.provenance.get("pruning", {}).get("pattern") == PATTERN)


def has_pattern_axis(weight: Tensor) -> bool:
    """Whether a tensor is a kernel or matrix whose input channels come in fours."""
    return weight.ndim in (2, 4) and weight.shape[1] % OF == 0


def pattern_masks(scores: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """Which weights stay: the better two of each four along the input channels.

    Args:
        scores: for each weight's name its importance, (out, in) or (out, in, height, width).

    Returns:
        Masks of 0 and 1 in the shape and dtype of the scores, of those that come in fours; the
        first convolution, with three input channels, does not.
    """
    return {name: _mask(score) for name, score in scores.items() if has_pattern_axis(score)}


def _mask(score: Tensor) -> Tensor:
    last = score.movedim(1, -1)
    fours = last.reshape(*last.shape[:-1], -1, OF)
    best = fours.topk(KEPT, dim=-1).indices
    mask = torch.zeros_like(fours).scatter(-1, best, 1.0)
    return mask.reshape(last.shape).movedim(-1, 1).contiguous()


def masks_of(state_dict: Mapping[str, Tensor]) -> dict[str, Tensor]:
    """The masks that a 2:4 checkpoint was made with, read off its zeros.

    A weight that training has brought to zero by itself may share its place with a masked one;
    ties go to the earlier channel, and nothing changes.
    """
    return pattern_masks({name: tensor.abs().float() for name, tensor in state_dict.items()})


def apply_masks(model: nn.Module, masks: Mapping[str, Tensor]) -> None:
    """Set the masked weights to zero, in place, on the model's device."""
    parameters = dict(model.named_parameters())
    with torch.no_grad():
        for name, mask in masks.items():
            parameters[name].mul_(mask.to(parameters[name].device))


def keeps_pattern(weight: Tensor) -> bool:
    """Whether at most two of every four neighbours along axis 1 differ from zero."""
    last = weight.movedim(1, -1)
    return bool(((last.reshape(*last.shape[:-1], -1, OF) != 0).sum(-1) <= KEPT).all())
