"""Inputs of noise, for what only times or looks at a model."""

from __future__ import annotations

from typing import TYPE_CHECKING, Any

import numpy as np

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Session


def noise(session: Session, batch: int = 1, *, pixels: bool = False) -> NDArray[Any]:
    """A batch of noise: a network's time does not depend on values.

    Args:
        session: gives the shape of one input.
        batch: inputs.
        pixels: the session normalizes by itself and takes uint8.

    Returns:
        (batch, 3, H, W) float32, or (batch, H, W, 3) uint8 for ``pixels``.
    """
    generator = np.random.default_rng(0)
    shape = (batch, *session.input_shape)
    if pixels:
        return generator.integers(0, 256, shape, dtype=np.uint8)
    return generator.standard_normal(shape, dtype=np.float32)
