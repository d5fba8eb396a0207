"""torchvision's ResNets with explicit channel widths."""

from __future__ import annotations

from collections.abc import Callable, Mapping
from dataclasses import dataclass
from typing import Any, cast

import torch
from torch import Tensor, nn
from torchvision import models
from torchvision.models import ResNet

from edgeresnet.errors import InputError
from edgeresnet.settings.network import STRIDES_IN, USUAL_STRIDE, stem_shape

LEVELS = ("layer1", "layer2", "layer3", "layer4")


@dataclass(frozen=True)
class Arch:
    """One depth of ResNet: ``inner`` convolutions of a block have widths of their own."""

    name: str
    depths: tuple[int, int, int, int]
    bottleneck: bool
    constructor: Callable[..., ResNet]

    @property
    def convs(self) -> int:
        """Convolutions in a block."""
        return 3 if self.bottleneck else 2


ARCHS: dict[str, Arch] = {
    arch.name: arch
    for arch in (
        Arch("resnet18", (2, 2, 2, 2), False, models.resnet18),
        Arch("resnet34", (3, 4, 6, 3), False, models.resnet34),
        Arch("resnet50", (3, 4, 6, 3), True, models.resnet50),
        Arch("resnet101", (3, 4, 23, 3), True, models.resnet101),
        Arch("resnet152", (3, 8, 36, 3), True, models.resnet152),
    )
}


@dataclass(frozen=True)
class Widths:
    """How many channels every tensor has.

    Attributes:
        stem: behind the first convolution.
        streams: of each level's residual stream, which all its blocks share.
        inner: of each level's blocks' inner convolutions: one width in a basic block, two in a
            bottleneck, none where pruning has removed the block.
    """

    stem: int
    streams: tuple[int, ...]
    inner: tuple[tuple[tuple[int, ...], ...], ...]

    @classmethod
    def dense(cls, arch: str) -> Widths:
        """torchvision's own widths."""
        info = arch_of(arch)
        inner = tuple(
            tuple((64 * 2**s,) * (info.convs - 1) for _ in range(depth))
            for s, depth in enumerate(info.depths)
        )
        expansion = 4 if info.bottleneck else 1
        return cls(64, tuple(64 * 2**s * expansion for s in range(4)), inner)

    @classmethod
    def of(cls, state_dict: Mapping[str, Tensor], arch: str) -> Widths:
        """Read off the shapes of a torchvision state_dict."""
        info = arch_of(arch)

        def out(name: str) -> int:
            return int(state_dict[f"{name}.weight"].shape[0])

        def block(name: str) -> tuple[int, ...]:
            if f"{name}.conv1.weight" not in state_dict:
                return ()
            return tuple(out(f"{name}.conv{i}") for i in range(1, info.convs))

        inner = tuple(
            tuple(block(f"{level}.{b}") for b in range(depth))
            for level, depth in zip(LEVELS, info.depths, strict=True)
        )
        streams = tuple(out(f"{level}.0.conv{info.convs}") for level in LEVELS)
        return cls(out("conv1"), streams, inner)

    def to_dict(self) -> dict[str, Any]:
        """Plain values, for JSON."""
        inner = [[list(block) for block in level] for level in self.inner]
        return {"stem": self.stem, "streams": list(self.streams), "inner": inner}

    @classmethod
    def from_dict(cls, values: Mapping[str, Any]) -> Widths:
        """The inverse of `to_dict`."""
        inner = tuple(tuple(tuple(block) for block in level) for level in values["inner"])
        return cls(int(values["stem"]), tuple(values["streams"]), inner)


def arch_of(name: str) -> Arch:
    """The architecture of that name; InputError lists the known ones."""
    if name not in ARCHS:
        raise InputError(
            f"architecture {name} is not known", f"give --arch as one of {', '.join(ARCHS)}."
        )
    return ARCHS[name]


def build_resnet(
    arch: str,
    classes: int,
    stem: str = "imagenet",
    widths: Widths | None = None,
    stride_in: str = USUAL_STRIDE,
) -> ResNet:
    """A freshly initialised torchvision ResNet.

    Args:
        arch: a name in `ARCHS`.
        classes: outputs of the classifier.
        stem: a name in `edgeresnet.settings.network.STEMS`.
        widths: None for torchvision's own.
        stride_in: which convolution of a bottleneck has the stride: ``3x3``, or the first ``1x1``.

    Returns:
        Input (N, 3, H, W) float32, output logits (N, classes).
    """
    info = arch_of(arch)
    shape = stem_shape(stem)
    # Every block begins as the identity, which lets a short training start with a large step
    # (Goyal et al., "Accurate, Large Minibatch SGD", 2017, section 5.1).
    model = info.constructor(weights=None, num_classes=classes, zero_init_residual=True)
    kernel, stride = shape.kernel, shape.stride
    if (kernel, stride) != (7, 2):
        model.conv1 = _initialised(nn.Conv2d(3, 64, kernel, stride, kernel // 2, bias=False))
    if not shape.pool:
        model.maxpool = cast(nn.MaxPool2d, nn.Identity())
    if stride_in != USUAL_STRIDE:
        _stride_first(model, info, stride_in)
    if widths is not None and widths != Widths.dense(arch):
        _set_widths(model, info, widths, classes)
    return model


def undrawn_resnet(*asked: Any) -> ResNet:
    """`build_resnet` for weights to be loaded into: all are 0, as drawing them takes most of it."""
    with torch.device("meta"):
        model = build_resnet(*asked)
    model.to_empty(device="cpu")
    for tensor in (*model.parameters(), *model.buffers()):
        tensor.detach().zero_()
    return model


def check_stride(arch: str, stride_in: str) -> None:
    """Refuse a stride that is not known, or that the architecture has no choice of."""
    if stride_in not in STRIDES_IN:
        raise InputError(
            f"a stride in {stride_in} is not known", f"give one of {', '.join(STRIDES_IN)}."
        )
    if stride_in != USUAL_STRIDE:
        check_has_choice(arch_of(arch))


def _stride_first(model: ResNet, info: Arch, stride_in: str) -> None:
    """Move each bottleneck's stride into its first convolution."""
    check_stride(info.name, stride_in)
    for level in LEVELS:
        for block in getattr(model, level):
            block.conv1.stride, block.conv2.stride = block.conv2.stride, block.conv1.stride


def check_has_choice(info: Arch) -> None:
    """Refuse to be told of strides where the blocks leave no choice."""
    if not info.bottleneck:
        raise InputError(
            f"{info.name} has basic blocks, whose first convolution always has the stride, so "
            "--stride-in has no effect",
            "leave it out; it is of resnet50, resnet101 and resnet152.",
        )


def _initialised(conv: nn.Conv2d) -> nn.Conv2d:
    nn.init.kaiming_normal_(conv.weight, mode="fan_out", nonlinearity="relu")
    return conv


def _set_widths(model: ResNet, info: Arch, widths: Widths, classes: int) -> None:
    def resized(conv: nn.Conv2d, cin: int, cout: int) -> nn.Conv2d:
        kernel, stride, padding = (
            cast(Any, v) for v in (conv.kernel_size, conv.stride, conv.padding)
        )
        return _initialised(nn.Conv2d(cin, cout, kernel, stride, padding, bias=False))

    model.conv1 = resized(model.conv1, 3, widths.stem)
    model.bn1 = nn.BatchNorm2d(widths.stem)
    stream = widths.stem
    for level, out, inner in zip(LEVELS, widths.streams, widths.inner, strict=True):
        blocks = getattr(model, level)
        for b, block_inner in enumerate(inner):
            block = blocks[b]
            if not block_inner:
                _remove_block(blocks, b, f"{level}.{b}")
                continue
            if block.downsample is None and stream != out:
                raise InputError(
                    f"widths of {level}: stream {out} behind {stream} without a downsample branch",
                    f"give {info.name}'s first level the width of its stem.",
                )
            channels = (stream, *block_inner, out)
            for i in range(1, info.convs + 1):
                conv = resized(getattr(block, f"conv{i}"), channels[i - 1], channels[i])
                setattr(block, f"conv{i}", conv)
                setattr(block, f"bn{i}", nn.BatchNorm2d(channels[i]))
            if block.downsample is not None:
                down = resized(block.downsample[0], stream, out)
                block.downsample = nn.Sequential(down, nn.BatchNorm2d(out))
            stream = out
    model.fc = nn.Linear(stream, classes)


def _remove_block(blocks: nn.Sequential, place: int, name: str) -> None:
    """Leave the skip connection alone; the other blocks keep their names."""
    if cast(Any, blocks[place]).downsample is not None:
        raise InputError(
            f"widths without {name}: its skip connection is a convolution that must stay",
            "remove other blocks of the level.",
        )
    blocks[place] = nn.Identity()


def norm_name(conv: str) -> str:
    """The batch normalization behind a convolution."""
    if conv.endswith("downsample.0"):
        return f"{conv.removesuffix('0')}1"
    head, _, own = conv.rpartition(".")
    return f"{head}.{own.replace('conv', 'bn')}" if head else own.replace("conv", "bn")
