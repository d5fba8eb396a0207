"""Mixed precision: which tensors are on a grid where some layers of a quantized ResNet stay float.

A layer that stays float has float weights. A tensor between layers leaves its grid only where
nobody needs one: an integer kernel writes integers, and reads nothing else. So its quantizer is
off where its writer and all of its readers are float, and on where one of them is not. The border
is then a Q/DQ pair that every target knows, and a float layer beside an integer one reads, or its
reader reads, what is on the grid.

A residual add computes on the grids of its inputs alone, so there is nothing to name: it is float
exactly where a convolution that it joins is.
"""

from __future__ import annotations

from collections.abc import Collection, Iterable, Sequence
from dataclasses import dataclass

from edgeresnet.errors import InputError

STEM, CLASSIFIER = "conv1", "fc"
ADD = "add"


@dataclass(frozen=True)
class BlockShape:
    """A residual block: its name, how many convolutions it has, whether its skip has one too."""

    name: str
    convs: int
    downsample: bool

    @property
    def last(self) -> str:
        """The convolution whose output the add reads."""
        return f"{self.name}.conv{self.convs}"

    @property
    def layers(self) -> tuple[str, ...]:
        """Its convolutions, in the order in which they run."""
        branch = [f"{self.name}.conv{i}" for i in range(1, self.convs + 1)]
        return (*branch, *([f"{self.name}.downsample.0"] if self.downsample else []))

    @property
    def joined(self) -> tuple[str, ...]:
        """The convolutions whose outputs the add reads."""
        return (self.last, *self.layers[self.convs :])


@dataclass(frozen=True)
class Grid:
    """A tensor between layers, and the quantizer that puts it on a grid.

    Attributes:
        quantizer: its name.
        writer: the layer or add that makes the tensor; None: it is the image.
        readers: the layers and adds that read it.
    """

    quantizer: str
    writer: str | None
    readers: tuple[str, ...]


@dataclass(frozen=True)
class Wiring:
    """The layers of a network, and what lies between them.

    Attributes:
        blocks: in the order in which they run, without those that pruning removed.
        classifier: whether there is one.
    """

    blocks: tuple[BlockShape, ...]
    classifier: bool = True

    @property
    def layers(self) -> tuple[str, ...]:
        """Every convolution and the classifier, in the order in which they run."""
        last = (CLASSIFIER,) if self.classifier else ()
        return (STEM, *(layer for block in self.blocks for layer in block.layers), *last)

    @property
    def grids(self) -> tuple[Grid, ...]:
        """Every quantizer of an activation."""
        found = [Grid("input_quant", None, (STEM,))]
        stream, writer = "conv1_quant", STEM
        for block in self.blocks:
            add = f"{block.name}.{ADD}"
            skip = f"{block.name}.downsample.0" if block.downsample else add
            found.append(Grid(stream, writer, (f"{block.name}.conv1", skip)))
            for i in range(1, block.convs + 1):
                conv = f"{block.name}.conv{i}"
                reader = add if conv == block.last else f"{block.name}.conv{i + 1}"
                found.append(Grid(f"{conv}_quant", conv, (reader,)))
            if block.downsample:
                found.append(Grid(f"{block.name}.downsample_quant", skip, (add,)))
            stream, writer = f"{block.name}.output_quant", add
        # The average has the precision of the classifier behind it, else of the add before it.
        readers = (CLASSIFIER,) if self.classifier else ()
        average = Grid("pool_quant", None if self.classifier else writer, readers)
        return (*found, Grid(stream, writer, readers), average)

    def in_order(self, names: Iterable[str]) -> tuple[str, ...]:
        """Names of layers, once each and in the order in which these run.

        Raises:
            InputError: one of them is none.
        """
        wanted = set(names)
        check_names(wanted, self.layers)
        return tuple(layer for layer in self.layers if layer in wanted)

    def float_adds(self, float_layers: Collection[str]) -> tuple[str, ...]:
        """The adds that are float where these layers are."""
        return tuple(
            f"{block.name}.{ADD}"
            for block in self.blocks
            if any(layer in float_layers for layer in block.joined)
        )

    def off(self, float_layers: Collection[str]) -> frozenset[str]:
        """The quantizers, of weights and activations, that are off where these layers are float."""
        computing = {*float_layers, *self.float_adds(float_layers)}
        grids = (
            grid.quantizer
            for grid in self.grids
            if grid.writer in {*computing, None} and computing.issuperset(grid.readers)
        )
        return frozenset([*grids, *(f"{layer}.weight_quant" for layer in float_layers)])


def check_names(names: Iterable[str], layers: Sequence[str]) -> None:
    """Refuse what is no layer that can stay float.

    Raises:
        InputError: names it, and says what there is.
    """
    unknown = sorted(set(names).difference(layers))
    if not unknown:
        return
    what = f"convolutions, or {CLASSIFIER}" if CLASSIFIER in layers else "convolutions"
    fix = f"give {what}: {', '.join(layers[:4])}, …, {layers[-1]}."
    if unknown[0].endswith(f".{ADD}"):
        fix = "an add is float exactly where a convolution that it joins is: name that."
    raise InputError(f"{unknown[0][:60]!r} is no layer that can stay float", fix)
