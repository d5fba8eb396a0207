"""A task that a small network learns within seconds."""

from __future__ import annotations

from typing import TYPE_CHECKING

import numpy as np
import torch
from torch import nn

from edgeresnet.device.data.standard import ArrayDataset
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.training import TrainOptions

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Split

SPEC = InputSpec(8)
CPU = torch.device("cpu")
SHORT = TrainOptions(epochs=3, batch_size=16, lr=0.05, augment="shift", warmup=0.2, workers=0)


def blobs(split: Split, n: int = 48, seed: int = 0) -> ArrayDataset:
    """Class 0 is bright at the top, class 1 at the bottom, under noise."""
    generator = np.random.default_rng((seed, split == "val"))
    labels = np.arange(n) % 2
    pixels = generator.integers(0, 100, (n, 8, 8, 3))
    pixels[labels == 0, :4] += 90
    pixels[labels == 1, 4:] += 90
    return ArrayDataset("blobs", split, ("top", "bottom"), labels, pixels.astype(np.uint8))


def network(seed: int = 0) -> nn.Module:
    torch.manual_seed(seed)
    return nn.Sequential(
        nn.Conv2d(3, 8, 3, padding=1, bias=False),
        nn.BatchNorm2d(8),
        nn.ReLU(),
        nn.AdaptiveAvgPool2d(2),
        nn.Flatten(),
        nn.Dropout(0.2),
        nn.Linear(32, 2),
    )
