"""Building a network takes some hundredths of a second, and tests open checkpoints all the time.

So the empty network that a checkpoint's weights are put into is built once for each shape, and
copied. What is built with random weights is built each time.
"""

from __future__ import annotations

import copy
from collections.abc import Iterator
from contextlib import contextmanager
from functools import lru_cache
from typing import Any

import pytest
from torchvision.models import ResNet

from edgeresnet.host.models import checkpoint, resnet

# Torchvision's own widths take up to 240 MB each.
MOST_KEPT = 6


@contextmanager
def remembered_networks() -> Iterator[None]:
    """Build the empty network of each shape once in this process."""
    real = checkpoint.undrawn_resnet

    @lru_cache(MOST_KEPT)
    def built(build: Any, *asked: Any) -> ResNet:
        return real(*asked)

    def undrawn_resnet(*asked: Any) -> ResNet:
        # A test may have put another function in its place.
        return copy.deepcopy(built(resnet.build_resnet, *asked))

    with pytest.MonkeyPatch.context() as patch:
        patch.setattr(checkpoint, "undrawn_resnet", undrawn_resnet)
        yield
