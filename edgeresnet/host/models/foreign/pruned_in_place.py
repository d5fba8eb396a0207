"""Weights that ``torch.nn.utils.prune`` has taken apart: ``weight_orig``, ``weight_mask``."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.weights import FLOATS


def apply_masks(tensors: Mapping[str, Tensor], source: str) -> tuple[dict[str, Tensor], list[str]]:
    """Multiply each pair, as the pruned network does before it computes.

    Returns:
        The tensors under their own names, in their order, and a line if there was a pair.

    Raises:
        InputError: the two have not one shape, or the product's name is taken.
    """
    result: dict[str, Tensor] = {}
    pairs = 0
    for name, tensor in tensors.items():
        base = name.removesuffix("_orig")
        mask = tensors.get(f"{base}_mask")
        if name == base and name.endswith("_mask") and f"{name[:-5]}_orig" in tensors:
            continue  # a pair's other half
        if name == base or mask is None:
            result[name] = tensor
            continue
        for part, own in ((name, tensor), (f"{base}_mask", mask)):
            if own.dtype not in (*FLOATS, torch.bool):
                raise InputError(
                    f"{source}: {part} holds {own.dtype}, and is half of a pruned float weight",
                    "call torch.nn.utils.prune.remove on each pruned module, and save again.",
                )
        if mask.shape != tensor.shape or base in tensors:
            raise InputError(
                f"{source}: {name} {tuple(tensor.shape)} and {base}_mask {tuple(mask.shape)} make "
                f"no {base}" + (", which is there too" if base in tensors else ""),
                "call torch.nn.utils.prune.remove on each pruned module, and save again.",
            )
        result[base] = tensor * mask.to(tensor.dtype)
        pairs += 1
    notes = [f"{pairs} pruning masks applied (weight_orig x weight_mask)"] if pairs else []
    return result, notes
