"""What a detector's training has made of a checkpoint's levels, as a checkpoint's tensors again."""

from __future__ import annotations

from collections.abc import Mapping

import torch
from torch import Tensor, nn

from edgeresnet.errors import InputError
from edgeresnet.host.models.headless import HEAD
from edgeresnet.host.models.resnet import LEVELS
from edgeresnet.host.models.shapes import COUNTER

STEM = "stem."
_FIX = "give the backbone of this checkpoint, or the body that BackboneWithFPN made of it."


def trained_levels(
    trained: nn.Module, own: Mapping[str, Tensor], precision: str
) -> dict[str, Tensor]:
    """The tensors of a network whose levels were trained on, without its classifier.

    That has not seen the training.

    Args:
        trained: the checkpoint's ``backbone()`` with all its levels, or what a detector has made of
            it: ``detector.backbone.body`` of torchvision's.
        own: the tensors of the checkpoint.
        precision: of the checkpoint.

    Raises:
        InputError: the checkpoint is quantized, or these are no trained levels of it: a tensor is
            missing, too many, of another shape or not finite.
    """
    if precision != "fp32":
        raise InputError(
            f"the checkpoint is quantized ({precision}), and the quantizer of its embedding has "
            "not seen the training",
            "train a detector on the float checkpoint, and quantize afterwards.",
        )
    found = {k.removeprefix(STEM): v.detach().cpu() for k, v in trained.state_dict().items()}
    wanted = {name: tensor for name, tensor in own.items() if name not in HEAD}
    # torchvision's frozen normalization counts no batches.
    missing = [name for name in wanted if name not in found and not name.endswith(COUNTER)]
    unknown = [name for name in found if name not in wanted]
    if missing or unknown:
        what = (
            f"lack {missing[0]}, which the checkpoint has"
            if missing
            else f"have {unknown[0]}, which the checkpoint has not"
        )
        deepest = any(name.startswith(LEVELS[-1]) for name in found)
        fix = _FIX if deepest else "take backbone() with C5: without it there is no embedding."
        raise InputError(f"the trained levels {what}", fix)
    for name, value in found.items():
        _check(name, value, wanted[name])
    return {**wanted, **found}


def _check(name: str, value: Tensor, own: Tensor) -> None:
    if value.shape != own.shape:
        raise InputError(
            f"the trained {name} has the shape {tuple(value.shape)}, and the checkpoint's "
            f"{tuple(own.shape)}",
            _FIX,
        )
    if not torch.isfinite(value).all():
        raise InputError(
            f"the trained {name} is not finite: the training diverged",
            "train again, with a smaller learning rate.",
        )
