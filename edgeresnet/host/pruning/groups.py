"""Which channels of a ResNet must go together.

A block's inner convolutions are free: whoever makes the channel and the one convolution that reads
it. The residual stream is not: every add of a level joins it with another convolution's output,
so one cut goes through the last convolution of every block, the downsample branch, and all that
read the stream. In a basic ResNet the first level adds onto the stem's own output, which makes
stem and first level one group; a bottleneck's first level has a downsample branch between them.
"""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from dataclasses import dataclass, replace

from edgeresnet.host.models.resnet import LEVELS, Widths, arch_of, norm_name


@dataclass(frozen=True)
class Group:
    """Channels that are cut together.

    Attributes:
        name: ``layer2.0.conv1`` for a block's inner width, ``layer2`` for a level's stream,
            ``conv1`` for a stem of its own.
        producers: convolutions whose output channels these are.
        norms: the batch normalization behind each producer.
        consumers: convolutions, or the classifier, whose input channels these are.
        channels: how many there are now.
        block: the block that has these as inner channels; None for a stream.
    """

    name: str
    producers: tuple[str, ...]
    norms: tuple[str, ...]
    consumers: tuple[str, ...]
    channels: int
    block: str | None = None


def block_names(widths: Widths) -> Iterator[tuple[int, int, str]]:
    """Level (from 0), place in it and name of every block that is there."""
    for s, (level, inner) in enumerate(zip(LEVELS, widths.inner, strict=True)):
        for b, block_inner in enumerate(inner):
            if block_inner:
                yield s, b, f"{level}.{b}"


def groups_of(arch: str, widths: Widths) -> dict[str, Group]:
    """Every group by its name, in the order of the data's way.

    Args:
        arch: a name in `edgeresnet.host.models.resnet.ARCHS`.
        widths: the network's present widths; removed blocks have none.
    """
    info = arch_of(arch)
    last = info.convs
    blocks = list(block_names(widths))
    found: dict[str, Group] = {}

    def add(
        name: str, producers: list[str], consumers: list[str], channels: int, block: str | None
    ) -> None:
        norms = tuple(norm_name(producer) for producer in producers)
        found[name] = Group(name, tuple(producers), norms, tuple(consumers), channels, block)

    if info.bottleneck:
        add("conv1", ["conv1"], ["layer1.0.conv1", "layer1.0.downsample.0"], widths.stem, None)
    for s, level in enumerate(LEVELS):
        own = [name for i, _, name in blocks if i == s]
        producers = [f"{name}.conv{last}" for name in own]
        consumers = [f"{name}.conv1" for name in own]
        if s == 0 and not info.bottleneck:
            producers.insert(0, "conv1")
        else:
            producers.insert(1, f"{own[0]}.downsample.0")
            consumers = consumers[1:]
        if s + 1 < len(LEVELS):
            consumers += [f"{LEVELS[s + 1]}.0.conv1", f"{LEVELS[s + 1]}.0.downsample.0"]
        else:
            consumers.append("fc")
        add(level, producers, consumers, widths.streams[s], None)
    for s, b, name in blocks:
        for i, channels in enumerate(widths.inner[s][b], start=1):
            add(f"{name}.conv{i}", [f"{name}.conv{i}"], [f"{name}.conv{i + 1}"], channels, name)
    return found


def has_downsample(arch: str, block: str) -> bool:
    """Whether the block's skip connection is a convolution, so that the block cannot go."""
    level, _, place = block.partition(".")
    return place == "0" and (level != LEVELS[0] or arch_of(arch).bottleneck)


def with_widths(arch: str, widths: Widths, new: Mapping[str, int]) -> Widths:
    """``widths`` with the named groups' channels changed; an inner width of 0 removes its block."""
    info = arch_of(arch)
    stem = new.get("conv1", widths.stem) if info.bottleneck else new.get(LEVELS[0], widths.stem)
    streams = tuple(new.get(level, old) for level, old in zip(LEVELS, widths.streams, strict=True))
    inner = tuple(
        tuple(
            _inner([new.get(f"{level}.{b}.conv{i}", old) for i, old in enumerate(block, start=1)])
            for b, block in enumerate(blocks)
        )
        for level, blocks in zip(LEVELS, widths.inner, strict=True)
    )
    return replace(widths, stem=stem, streams=streams, inner=inner)


def _inner(channels: list[int]) -> tuple[int, ...]:
    return tuple(channels) if all(channels) else ()
