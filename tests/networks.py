"""Building a network takes some hundredths of a second, and tests open checkpoints all the time.

So the empty network that a checkpoint's weights are put into is built once for each shape, and
copied. Torchvision's own random weights, which a narrow network draws too and throws away, are kept
with the state of the random numbers before and behind them: tests begin at the same few.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from dataclasses import replace
from functools import lru_cache
from typing import Any

import pytest
import torch
from torchvision.models import ResNet

from edgeresnet.host.models import checkpoint, resnet

# Torchvision's own widths take up to 240 MB each.
MOST_KEPT, MOST_DRAWN = 6, 2


def remembered_draws(arch: resnet.Arch) -> resnet.Arch:
    """It, drawing the weights of as many classes from the same random numbers only once."""

    @lru_cache(MOST_DRAWN)
    def drawn(before: bytes, settings: tuple[tuple[str, Any], ...]) -> tuple[ResNet, torch.Tensor]:
        return arch.constructor(**dict(settings)), torch.get_rng_state()

    def constructor(**settings: Any) -> ResNet:
        if torch.get_default_device().type == "meta":
            return arch.constructor(**settings)
        before = torch.get_rng_state().numpy().tobytes()
        model, after = drawn(before, tuple(sorted(settings.items())))
        torch.set_rng_state(after)
        return copy.deepcopy(model)

    return replace(arch, constructor=constructor)


@contextmanager
def remembered_networks() -> Iterator[None]:
    """Build the empty network of each shape, and draw the same weights, once in this process."""
    real = checkpoint.undrawn_resnet

    @lru_cache(MOST_KEPT)
    def built(build: Any, *asked: Any) -> ResNet:
        return real(*asked)

    def undrawn_resnet(*asked: Any) -> ResNet:
        # A test may have put another function in its place.
        return copy.deepcopy(built(resnet.build_resnet, *asked))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "undrawn_resnet", undrawn_resnet)
        for name, arch in [*resnet.ARCHS.items()]:
            patch.setitem(resnet.ARCHS, name, remembered_draws(arch))
        yield
