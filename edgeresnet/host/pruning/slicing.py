"""Cutting channels out of a ResNet's weights; exact: the same as setting them to zero."""

from __future__ import annotations

from collections.abc import Mapping, Sequence

import torch
from torch import Tensor

from edgeresnet.host.models.resnet import Widths
from edgeresnet.host.pruning.groups import Group, groups_of, with_widths

NORM_TENSORS = ("weight", "bias", "running_mean", "running_var")


def slice_weights(
    state_dict: Mapping[str, Tensor], arch: str, widths: Widths, keep: Mapping[str, Sequence[int]]
) -> tuple[Widths, dict[str, Tensor]]:
    """Keep only the named channels.

    Args:
        state_dict: torchvision's names; not changed.
        arch: a name in `edgeresnet.host.models.resnet.ARCHS`.
        widths: of ``state_dict``.
        keep: for each group to cut, the indices that stay, ascending; an inner group that keeps
            none has its whole block removed, and the skip connection stays.

    Returns:
        The new widths and their state_dict, tensors contiguous and of their own memory.
    """
    groups = groups_of(arch, widths)
    removed = {groups[name].block for name, kept in keep.items() if len(kept) == 0}
    sliced = {
        name: tensor.detach().clone()
        for name, tensor in state_dict.items()
        if not any(block and name.startswith(f"{block}.") for block in removed)
    }
    for name, kept in keep.items():
        group = groups[name]
        if group.block not in removed or group.block is None:
            _cut(sliced, group, torch.as_tensor(kept, dtype=torch.long))
    return with_widths(arch, widths, {name: len(kept) for name, kept in keep.items()}), sliced


def _cut(state_dict: dict[str, Tensor], group: Group, kept: Tensor) -> None:
    # Producers and consumers inside a block that has gone are not there any more.
    for producer, norm in zip(group.producers, group.norms, strict=True):
        for tensor in (f"{producer}.weight", *(f"{norm}.{part}" for part in NORM_TENSORS)):
            if tensor in state_dict:
                state_dict[tensor] = state_dict[tensor].index_select(0, kept)
    for consumer in group.consumers:
        if f"{consumer}.weight" in state_dict:
            weight = state_dict[f"{consumer}.weight"]
            state_dict[f"{consumer}.weight"] = weight.index_select(1, kept)
