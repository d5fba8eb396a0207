"""A network's levels as torchvision's detectors take them, in float and fake-quantized."""

from __future__ import annotations

from collections import OrderedDict
from collections.abc import Sequence
from typing import Any, cast

from torch import Tensor, nn

from edgeresnet.errors import InputError
from edgeresnet.host.models.level_outputs import LEVEL_NAMES


class QuantStem(nn.Module):
    """What a fake-quantized network has before its first level."""

    def __init__(self, model: nn.Module) -> None:
        super().__init__()
        for name in ("input_quant", "conv1", "conv1_quant", "maxpool"):
            self.add_module(name, cast(nn.Module, getattr(model, name)))

    def forward(self, x: Tensor) -> Tensor:
        """(N, 3, H, W) to (N, stem, H', W')."""
        own = cast(Any, self)
        return cast(Tensor, own.maxpool(own.conv1_quant.after_relu(own.conv1(own.input_quant(x)))))


class LevelBackbone(nn.Module):
    """Stem and levels, one child behind the other, as `IntermediateLayerGetter` walks them.

    Shares its tensors with the network that it is of. Their names are the checkpoint's, those of
    the stem with ``stem.`` before them.

    Attributes:
        return_layers: what `BackboneWithFPN` takes: the child of each level, to its number, which
            detectors look for.
        levels: the child of each level, to its name here.
        in_channels_list: channels of each level, in the same order.
        out_channels: those of the deepest level, as `FasterRCNN` asks of a backbone of one level.

    Args:
        model: float, as torchvision's, or `edgeresnet.host.models.quant_resnet.QuantResNet`.
        streams: channels of all four levels.
        levels: names of those to give, in the network's order; deeper ones are left out.
    """

    def __init__(self, model: nn.Module, streams: Sequence[int], levels: Sequence[str]) -> None:
        super().__init__()
        if not levels or [*levels] != [name for name in LEVEL_NAMES if name in levels]:
            raise InputError(
                f"levels {', '.join(levels) or 'none'} are not some of "
                f"{', '.join(LEVEL_NAMES)}, each once and in this order",
                "give levels such as ('C3', 'C4', 'C5').",
            )
        stem = ("conv1", "bn1", "relu", "maxpool")
        self.stem: nn.Module = (
            QuantStem(model)
            if hasattr(model, "input_quant")
            else nn.Sequential(OrderedDict((name, getattr(model, name)) for name in stem))
        )
        places = {name: place for place, name in enumerate(LEVEL_NAMES)}
        for name in [*LEVEL_NAMES][: places[levels[-1]] + 1]:
            self.add_module(LEVEL_NAMES[name], getattr(model, LEVEL_NAMES[name]))
        self.levels = {LEVEL_NAMES[name]: name for name in levels}
        self.return_layers = {LEVEL_NAMES[name]: str(at) for at, name in enumerate(levels)}
        self.in_channels_list = [int(streams[places[name]]) for name in levels]
        self.out_channels = self.in_channels_list[-1]

    def forward(self, x: Tensor) -> OrderedDict[str, Tensor]:
        """(N, 3, H, W) float32 to each level (N, channels, H', W'), by its name."""
        found: OrderedDict[str, Tensor] = OrderedDict()
        for child, module in self.named_children():
            x = module(x)
            if child in self.levels:
                found[self.levels[child]] = x
        return found
