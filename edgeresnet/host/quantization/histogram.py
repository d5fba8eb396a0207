"""How often each magnitude was seen, over all magnitudes that a float32 can have."""

from __future__ import annotations

import numpy as np
import torch
from torch import Tensor

# The first 15 bits behind the sign: 128 bins an octave, so that an outlier of any size leaves
# what is below it as fine as it was.
BINS = 0x7F80
DROPPED_BITS = 16
# Of a larger tensor an evenly spaced part goes into the histogram; its maximum is always exact.
SAMPLE_ELEMENTS = 1 << 19


def largest_magnitude(x: Tensor) -> float:
    """Of all elements; nothing as large as ``x`` is made on the way."""
    least, largest = torch.aminmax(x.detach())
    return max(largest.item(), -least.item())


class Histogram:
    """Counts of magnitudes, exact and the same in whatever order they come.

    Attributes:
        counts: (BINS,) int64.
        maximum: the largest magnitude.
    """

    def __init__(self) -> None:
        self.counts = torch.zeros(BINS, dtype=torch.int64)
        self.maximum = 0.0

    def update(self, x: Tensor) -> None:
        """Take in one batch; any shape. What is not finite is not counted."""
        self.maximum = max(self.maximum, largest_magnitude(x))
        stride = -(-x.numel() // SAMPLE_ELEMENTS)
        sample = x.detach().reshape(-1)[::stride].abs().float()
        bins = sample.contiguous().view(torch.int32) >> DROPPED_BITS
        self.counts += torch.bincount(bins.cpu(), minlength=BINS)[:BINS] * stride

    def edges(self) -> Tensor:
        """(BINS + 1,) float64: where each bin begins, and the last one ends."""
        bits = np.arange(BINS + 1, dtype=np.int32) << DROPPED_BITS
        edges = bits.view(np.float32).astype(np.float64)
        edges[-1] = 2.0**128
        return torch.from_numpy(edges)

    def points(self) -> tuple[Tensor, Tensor]:
        """Values that stand for all that were seen, and how many each; float64, in order.

        A bin has two: where a step is as narrow as a bin, one in its middle would stand for none.
        """
        edges, seen = self.edges(), self.counts.nonzero()[:, 0]
        low, width = edges[seen], edges[seen + 1] - edges[seen]
        values = torch.stack([low + width / 4, low + width * 3 / 4], 1).flatten()
        values = values.clamp_max(self.maximum)
        return values, (self.counts[seen].double() / 2).repeat_interleave(2)

    def percentile(self, share: float, *, zeros: bool = True) -> float:
        """The magnitude that at most ``1 - share`` of all values exceed; 0 where there are none.

        Args:
            share: from 0 to 1.
            zeros: whether values that are 0 are among them.
        """
        counts = self.counts.double()
        if not zeros:
            counts[0] = 0
        if not counts.any():
            return 0.0
        reached = counts.cumsum(0) >= share * counts.sum()
        return float(self.edges()[int(reached.double().argmax()) + 1])

    def linear(self, limit: float, bins: int) -> Tensor:
        """Counts in evenly wide bins over [0, limit], float64 (bins,); what is exactly 0 is none.

        A bin that is cut counts by the part that is inside.
        """
        counts = self.counts.double()
        counts[0] = 0
        below = np.concatenate([[0.0], counts.cumsum(0).numpy()])
        at = np.interp(np.linspace(0, limit, bins + 1), self.edges().numpy(), below)
        return torch.from_numpy(np.diff(at))
