"""A plain state_dict with torchvision's or timm's names: which ResNet it is.

Architecture, stem, widths and class count are read off the tensors; nobody has to say them.
"""

from __future__ import annotations

import re
from collections.abc import Mapping
from dataclasses import dataclass

import torch
from torch import Tensor

from edgeresnet.errors import InputError
from edgeresnet.host.models.resnet import ARCHS, LEVELS, Widths, build_resnet


@dataclass(frozen=True)
class Identity:
    """Which ResNet the tensors are of.

    Attributes:
        arch: a name in `edgeresnet.host.models.resnet.ARCHS`.
        stem: ``imagenet`` or ``small``.
        widths: channels of every tensor.
    """

    arch: str
    stem: str
    widths: Widths


def identify(tensors: dict[str, Tensor], source: str) -> Identity:
    """Read architecture, stem and widths off the tensors, and check that all fit.

    Tensors that a ResNet does not have (a loss's, a counter) are dropped from ``tensors``.
    """
    _refuse_relatives(tensors, source)
    depths = tuple(_blocks(tensors, level) for level in LEVELS)
    bottleneck = "layer1.0.conv3.weight" in tensors
    fitting = [a for a in ARCHS.values() if (a.depths, a.bottleneck) == (depths, bottleneck)]
    if not fitting:
        kind = "bottleneck" if bottleneck else "basic"
        raise InputError(
            f"{source} is a ResNet with {depths} {kind} blocks, which none of "
            f"{', '.join(ARCHS)} has",
            "give a checkpoint of one of these.",
        )
    arch = fitting[0].name
    stem = "imagenet" if tensors["conv1.weight"].shape[-1] == 7 else "small"
    widths = _check_tensors(tensors, arch, stem, source)
    return Identity(arch, stem, widths)


def _blocks(tensors: Mapping[str, Tensor], level: str) -> int:
    numbers = [int(m[1]) for n in tensors if (m := re.match(rf"{level}\.(\d+)\.conv1\.weight", n))]
    return max(numbers, default=-1) + 1


def _refuse_relatives(tensors: Mapping[str, Tensor], source: str) -> None:
    """Networks with ResNet-like names that are something else, each called by its name."""
    fix = f"give a checkpoint of {', '.join(ARCHS)} (torchvision's or timm's plain form)."
    if "conv1.0.weight" in tensors:
        raise InputError(f"{source} has the deep stem of a ResNet-C/D (conv1.0)", fix)
    if any(".se." in n or ".attn." in n for n in tensors):
        raise InputError(f"{source} has attention blocks (SE-ResNet or similar)", fix)
    if "conv1.weight" not in tensors or "layer4.0.conv1.weight" not in tensors:
        first = ", ".join(list(tensors)[:3])
        raise InputError(f"{source} is not a ResNet: its tensors are {first} …", fix)
    if "fc.weight" not in tensors or "fc.bias" not in tensors:
        raise InputError(f"{source} has no classifier (fc.weight, fc.bias)", fix)
    kernel = tensors["conv1.weight"].shape[-1]
    if kernel not in (3, 7) or tensors["conv1.weight"].shape[1] != 3:
        shape = tuple(tensors["conv1.weight"].shape)
        raise InputError(f"{source} has a first convolution of shape {shape}", fix)
    inner = tensors.get("layer1.0.conv2.weight")
    if inner is not None and inner.shape[1] != tensors["layer1.0.conv1.weight"].shape[0]:
        raise InputError(f"{source} has grouped convolutions (ResNeXt or similar)", fix)


def _check_tensors(tensors: dict[str, Tensor], arch: str, stem: str, source: str) -> Widths:
    try:
        widths = Widths.of(tensors, arch)
    except KeyError as error:
        raise InputError(
            f"{source} lacks the tensor {error.args[0]}", "the file is incomplete: make it again."
        ) from error
    with torch.device("meta"):
        expected = build_resnet(arch, int(tensors["fc.weight"].shape[0]), stem, widths).state_dict()
    for name, like in expected.items():
        if name.endswith("num_batches_tracked"):
            tensors.setdefault(name, torch.tensor(0))
        elif name not in tensors:
            raise InputError(
                f"{source} lacks the tensor {name}", "the file is incomplete: make it again."
            )
        elif tensors[name].shape != like.shape:
            raise InputError(
                f"{source}: {name} has shape {tuple(tensors[name].shape)}, and {arch} needs "
                f"{tuple(like.shape)}",
                "this is another architecture: give a plain ResNet's checkpoint.",
            )
        elif not torch.isfinite(tensors[name]).all():
            raise InputError(
                f"{source}: {name} has NaN or infinite values",
                "training diverged: give an earlier checkpoint.",
            )
        else:
            tensors[name] = tensors[name].float()
    for name in set(tensors) - set(expected):
        del tensors[name]
    return widths
