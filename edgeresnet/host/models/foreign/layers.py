"""The names of a ResNet's tensors, level by level, without building it."""

from __future__ import annotations

import functools
import re
from collections.abc import Collection, Iterator

from edgeresnet.host.models.resnet import ARCHS, LEVELS, Arch

_CONVOLUTION = re.compile(r"(layer\d\.\d+\.)?(conv\d|downsample\.0)\.weight$")
_NORM = ("weight", "bias", "running_mean", "running_var", "num_batches_tracked")


@functools.lru_cache
def conv_and_norm(arch: Arch) -> tuple[tuple[str, str], ...]:
    """Every convolution with the normalization behind it."""
    return tuple(_pairs(arch))


@functools.lru_cache
def tensors_of(arch: Arch) -> dict[str, None]:
    """torchvision's names but for the classifier's, in its order."""
    return {
        name: None
        for conv, norm in conv_and_norm(arch)
        for name in (f"{conv}.weight", *(f"{norm}.{part}" for part in _NORM))
    }


def _pairs(arch: Arch) -> Iterator[tuple[str, str]]:
    yield "conv1", "bn1"
    for block, down in _blocks(arch):
        for i in range(1, arch.convs + 1):
            yield f"{block}.conv{i}", f"{block}.bn{i}"
        if down:
            yield f"{block}.downsample.0", f"{block}.downsample.1"


def _blocks(arch: Arch) -> Iterator[tuple[str, bool]]:
    """Each block, and whether its skip connection is a convolution."""
    for level, depth in zip(LEVELS, arch.depths, strict=True):
        for number in range(depth):
            yield f"{level}.{number}", number == 0 and (arch.bottleneck or level != LEVELS[0])


def _block_of(name: str) -> str:
    """As in ``layer2.0``; of a name outside the levels nothing that could be one."""
    return ".".join(name.split(".")[:2])


def absent_blocks(arch: Arch, names: Collection[str]) -> list[str]:
    """Blocks of which not one tensor is there, as pruning leaves a network."""
    there = {_block_of(name) for name in names}
    return [block for block, _ in _blocks(arch) if block not in there]


def nearest_arch(names: Collection[str]) -> Arch:
    """The architecture with the fewest convolutions too many or too few, then other tensors."""
    given = set(names)
    convolutions = {name for name in given if _CONVOLUTION.match(name)}

    def distance(arch: Arch) -> tuple[int, int, int]:
        gone = set(absent_blocks(arch, given))
        expected = {name for name in tensors_of(arch) if _block_of(name) not in gone}
        wanted = {name for name in expected if _CONVOLUTION.match(name)}
        return len(wanted ^ convolutions), len(gone), len(expected ^ given)

    return min(ARCHS.values(), key=distance)
