"""How a batch of training images is varied: what is random about it, and the generators of that."""

from __future__ import annotations

from dataclasses import dataclass

import numpy as np
import torch
from torch import Tensor
from torch.nn import functional as F

from edgeresnet.device.data.preprocess import CROP_FROM
from edgeresnet.settings.training import Augment


@dataclass(frozen=True)
class Policy:
    """What is random about a training image.

    Attributes:
        padding: pixels by which it moves at most, in each direction; black comes in.
        flip: mirrored left to right half of the time.
        photo: random resized crop of the whole photograph, and colour jitter.
    """

    padding: int = 0
    flip: bool = False
    photo: bool = False


def policy_of(augment: Augment, image_size: int) -> Policy:
    """The policy of that name; below 128 px ``standard`` is He et al.'s pad-and-crop for CIFAR.

    Source: He et al., "Deep Residual Learning for Image Recognition", 2015, sections 3.4 and 4.2.
    """
    slight = max(1, round(image_size / 14))
    if augment == "none":
        return Policy()
    if augment == "flip":
        return Policy(flip=True)
    if augment == "shift":
        return Policy(slight)
    if augment == "light":
        return Policy(slight, flip=True)
    if image_size < CROP_FROM:
        return Policy(max(1, round(image_size / 8)), flip=True)
    return Policy(flip=True, photo=True)


def seeded(*numbers: int) -> torch.Generator:
    """A generator whose sequence depends on all of ``numbers``, each 0 or more."""
    state = int(np.random.SeedSequence(numbers).generate_state(1, np.uint64)[0])
    # torch takes 64 bits, but as a signed number.
    return torch.Generator().manual_seed(state >> 1)


def shift_flip(
    pixels: Tensor,
    policy: Policy,
    generator: torch.Generator,
    places: Tensor | None = None,
    of: int = 0,
) -> Tensor:
    """Move and mirror every image of a batch by its own draw.

    Args:
        pixels: (n, H, W, 3) uint8.
        policy: how far, and whether to mirror.
        generator: on the CPU, so that a GPU gets the same draws.
        places: (n,) int64, where these images stand in the whole batch; None: they are all of it.
        of: images in the whole batch, if these are not all.

    Returns:
        (n, H, W, 3) uint8, on the device of ``pixels``.
    """
    if policy.padding == 0 and not policy.flip:
        return pixels
    n, height, width, _ = pixels.shape
    p = policy.padding
    # Drawn for the whole batch: an image moves the same whichever process computes it.
    places, of = (torch.arange(n), n) if places is None else (places, of)
    top, left = torch.randint(0, 2 * p + 1, (2, of, 1), generator=generator)[:, places]
    rows = torch.arange(height) + top
    columns = torch.arange(width) + left
    if policy.flip:
        mirrored = torch.rand((of, 1), generator=generator)[places] < 0.5
        columns = torch.where(mirrored, columns.flip(1), columns)
    padded = F.pad(pixels, (0, 0, p, p, p, p))
    at = [torch.arange(n)[:, None, None], rows[:, :, None], columns[:, None, :]]
    at = [index.to(pixels.device, non_blocking=True) for index in at]
    return padded[at[0], at[1], at[2]]
