"""What calibration sees: each observer turns a stream of tensors into one step size.

Memory is bounded whatever the calibration set: an observer keeps one running figure or one
histogram, never the tensors.
"""

from __future__ import annotations

import torch
from torch import Tensor

from edgeresnet.host.models.fake_quant import Observer
from edgeresnet.settings.quantization import ObserverName

BINS = 2048
# Of a larger tensor an evenly spaced part goes into the histogram; its maximum is always exact.
SAMPLE_ELEMENTS = 1 << 19
SMALLEST_MAXIMUM = 1e-6


class EmaObserver:
    """Exponential moving average of each batch's largest magnitude.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, section 3.1.
    """

    def __init__(self, decay: float = 0.9) -> None:
        self.decay = decay
        self.maximum: float | None = None

    def update(self, x: Tensor) -> None:
        """Take in one batch; any shape."""
        batch_maximum = x.abs().amax().item()
        if self.maximum is None:
            self.maximum = batch_maximum
        else:
            self.maximum = self.decay * self.maximum + (1 - self.decay) * batch_maximum

    def scale(self, high: int) -> float:
        """Step size that puts the averaged maximum on the largest integer."""
        return max(self.maximum or 0.0, SMALLEST_MAXIMUM) / high


class HistogramObserver:
    """Histogram of magnitudes over [0, limit); the limit doubles, and bins merge, when needed."""

    def __init__(self) -> None:
        self.counts = torch.zeros(BINS, dtype=torch.float64)
        self.limit = 0.0
        self.maximum = 0.0

    def update(self, x: Tensor) -> None:
        """Take in one batch; any shape."""
        magnitude = x.detach().abs().reshape(-1).float()
        batch_maximum = magnitude.amax().item()
        self.maximum = max(self.maximum, batch_maximum)
        self._make_room(batch_maximum)
        stride = -(-magnitude.numel() // SAMPLE_ELEMENTS)
        sample = magnitude[::stride].cpu()
        self.counts += torch.histc(sample, BINS, 0.0, self.limit).double() * stride

    def _make_room(self, maximum: float) -> None:
        if self.limit == 0.0:
            self.limit = max(maximum, SMALLEST_MAXIMUM)
        while maximum > self.limit:
            merged = self.counts.reshape(-1, 2).sum(1)
            self.counts = torch.cat([merged, torch.zeros(BINS // 2, dtype=torch.float64)])
            self.limit *= 2

    def _centres(self) -> Tensor:
        return (torch.arange(BINS, dtype=torch.float64) + 0.5) * (self.limit / BINS)


class PercentileObserver(HistogramObserver):
    """Clips the largest magnitudes: all but ``1 - share`` of the values stay on the grid."""

    def __init__(self, share: float = 0.9999) -> None:
        super().__init__()
        self.share = share

    def scale(self, high: int) -> float:
        """Step size that puts the percentile on the largest integer."""
        reached = self.counts.cumsum(0) >= self.share * self.counts.sum()
        clip = (int(reached.double().argmax()) + 1) * self.limit / BINS
        return max(min(clip, self.maximum), SMALLEST_MAXIMUM) / high


class MseObserver(HistogramObserver):
    """Finds the clip point whose rounding plus clipping error is smallest in the mean square.

    Source: Banner et al., "Post-training 4-bit quantization", NeurIPS 2019, section 3; here by
    search over the histogram instead of a fitted distribution.
    """

    def scale(self, high: int) -> float:
        """Step size with the smallest squared error over the histogram."""
        centres = self._centres()
        candidates = torch.linspace(0.2, 1.0, 161, dtype=torch.float64)
        steps = candidates * max(self.maximum, SMALLEST_MAXIMUM) / high
        on_grid = (centres / steps[:, None]).round().clamp_max(high) * steps[:, None]
        errors = ((on_grid - centres) ** 2 * self.counts).sum(1)
        return float(steps[errors.argmin()])


def make_observer(name: ObserverName) -> Observer:
    """A fresh observer of that name."""
    if name == "ema":
        return EmaObserver()
    return PercentileObserver() if name == "percentile" else MseObserver()


def weight_scales(weight: Tensor, name: ObserverName, high: int) -> Tensor:
    """Step size of each output channel.

    Args:
        weight: (out, …) float32.
        name: ``mse`` searches the clip point of each channel; the others take its maximum,
            because a channel has too few weights for a tail.
        high: largest integer of the grid.

    Returns:
        (out,) float32, positive.
    """
    rows = weight.detach().reshape(weight.shape[0], -1)
    maximum = rows.abs().amax(1).clamp_min(SMALLEST_MAXIMUM)
    if name != "mse":
        return maximum / high
    best = maximum / high
    best_error = torch.full_like(maximum, torch.inf)
    for ratio in torch.linspace(0.7, 1.0, 31).tolist():
        step = (maximum * ratio / high)[:, None]
        error = ((rows / step).round().clamp(-high, high) * step - rows).square().sum(1)
        better = error < best_error
        best = torch.where(better, step[:, 0], best)
        best_error = torch.where(better, error, best_error)
    return best
