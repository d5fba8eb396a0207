"""What calibration sees: each observer turns a stream of tensors into one step size.

Memory is bounded whatever the calibration set: an observer keeps one figure (the moving average:
one a batch) or one histogram, never the tensors. All but the moving average give the same whatever
the order. Of several processes each observes its own batches; `together` gives what one that had
seen all of them would have.
"""

from __future__ import annotations

import copy
from collections.abc import Callable, Sequence

import torch
from torch import Tensor
from typing_extensions import Self

from edgeresnet.host.models.fake_quant import Observer
from edgeresnet.host.parallel.processes import processes
from edgeresnet.host.quantization.histogram import Histogram, largest_magnitude
from edgeresnet.host.quantization.kl_threshold import kl_threshold
from edgeresnet.settings.quantization import ObserverName

SMALLEST_MAXIMUM = 1e-6
# Clip points are tried at these ratios, then finer on both sides of the best one.
COARSE, FINE = 1.03, 1.003
# Of a weight's channel: there are few values, and of the largest little can be given up.
WEIGHT_COARSE, WEIGHT_FINE, WEIGHT_LOWEST = 1.1, 1.015, 0.1


class MinMaxObserver:
    """The largest magnitude of all."""

    def __init__(self) -> None:
        self.maximum = 0.0

    def update(self, x: Tensor) -> None:
        """Take in one batch; any shape."""
        self.maximum = max(self.maximum, largest_magnitude(x))

    def together(self) -> MinMaxObserver:
        """Of all processes."""
        whole = MinMaxObserver()
        whole.maximum = largest_of(self.maximum)
        return whole

    def scale(self, high: int) -> float:
        """Step size that puts the maximum on the largest integer."""
        return max(self.maximum, SMALLEST_MAXIMUM) / high


class EmaObserver:
    """Exponential moving average of each batch's largest magnitude.

    Source: Jacob et al., "Quantization and Training of Neural Networks for Efficient
    Integer-Arithmetic-Only Inference", CVPR 2018, section 3.1.
    """

    def __init__(self, decay: float = 0.9) -> None:
        self.decay = decay
        self.maxima: list[float] = []

    def update(self, x: Tensor) -> None:
        """Take in one batch; any shape."""
        self.maxima.append(largest_magnitude(x))

    def together(self) -> EmaObserver:
        """Of all processes, whose batches came by turns."""
        whole = EmaObserver(self.decay)
        whole.maxima = by_turns(self.maxima)
        return whole

    def scale(self, high: int) -> float:
        """Step size that puts the averaged maximum on the largest integer."""
        averaged = self.maxima[0] if self.maxima else 0.0
        for maximum in self.maxima[1:]:
            averaged = self.decay * averaged + (1 - self.decay) * maximum
        return max(averaged, SMALLEST_MAXIMUM) / high


class HistogramObserver:
    """What looks at all magnitudes before it decides where to clip."""

    def __init__(self) -> None:
        self.histogram = Histogram()

    def update(self, x: Tensor) -> None:
        """Take in one batch; any shape."""
        self.histogram.update(x)

    def together(self) -> Self:
        """Of all processes."""
        whole = copy.copy(self)
        whole.histogram = Histogram()
        whole.histogram.counts = processes().total(self.histogram.counts)
        whole.histogram.maximum = largest_of(self.histogram.maximum)
        return whole

    def scale(self, high: int) -> float:
        """Step size that puts the clip point on the largest integer."""
        clip = min(self.clip(high), self.histogram.maximum)
        return max(clip, SMALLEST_MAXIMUM) / high

    def clip(self, high: int) -> float:
        """The largest magnitude that stays as it is."""
        raise NotImplementedError


class PercentileObserver(HistogramObserver):
    """Clips the largest magnitudes: all but ``1 - share`` of the values stay on the grid."""

    def __init__(self, share: float = 0.9999) -> None:
        super().__init__()
        self.share = share

    def clip(self, high: int) -> float:
        """The percentile."""
        return self.histogram.percentile(self.share)


class EntropyObserver(HistogramObserver):
    """Clips where the quantized distribution tells most of the other; see `kl_threshold`."""

    def clip(self, high: int) -> float:
        """The threshold of the smallest divergence."""
        return kl_threshold(self.histogram, high + 1)


class MseObserver(HistogramObserver):
    """Finds the clip point whose rounding plus clipping error is smallest in the mean square.

    Source: Banner et al., "Post-training 4-bit quantization", NeurIPS 2019, section 3; here by
    search over the histogram instead of a fitted distribution.
    """

    def clip(self, high: int) -> float:
        """The best clip point from the maximum down to where half of all values would be cut."""
        values, counts = self.histogram.points()
        highest = max(self.histogram.maximum, SMALLEST_MAXIMUM)
        lowest = min(max(self.histogram.percentile(0.5, zeros=False), SMALLEST_MAXIMUM), highest)
        best = _least_error(values, counts, _ratios(lowest, highest, COARSE), high)
        around = _ratios(best / COARSE, min(best * COARSE, highest), FINE)
        return _least_error(values, counts, around, high)


def largest_of(number: float) -> float:
    """The largest that a process has; float64, so that it is exactly one of them."""
    return float(processes().largest(torch.tensor(number, dtype=torch.float64)))


def by_turns(numbers: Sequence[float]) -> list[float]:
    """All processes' numbers: the first of each, then the second of each, and so on."""
    group = processes()
    longest = int(largest_of(len(numbers)))
    table = torch.zeros(longest, group.count, dtype=torch.float64)
    present = torch.zeros(longest, group.count, dtype=torch.int64)
    table[: len(numbers), group.rank] = torch.tensor(numbers, dtype=torch.float64)
    present[: len(numbers), group.rank] = 1
    table, present = group.total(table), group.total(present)
    numbers_in_order: list[float] = table[present > 0].tolist()
    return numbers_in_order


def _ratios(lowest: float, highest: float, ratio: float) -> Tensor:
    """From the highest down, each by a ratio smaller; float64."""
    steps = torch.arange(torch.tensor(highest / lowest).log().div(ratio - 1).ceil().item() + 1)
    return highest * torch.tensor(ratio, dtype=torch.float64) ** -steps


def _least_error(values: Tensor, counts: Tensor, clips: Tensor, high: int) -> float:
    """That of the clip points with the smallest squared error; all float64, 1-D."""
    # One at a time: all at once would take as much memory as there are candidates.
    errors = torch.stack(
        [
            ((values / step).round_().clamp_max_(high).mul_(step) - values).square_() @ counts
            for step in clips / high
        ]
    )
    return float(clips[errors.argmin()])


OBSERVERS: dict[ObserverName, Callable[[], Observer]] = {
    "minmax": MinMaxObserver,
    "ema": EmaObserver,
    "percentile": PercentileObserver,
    "entropy": EntropyObserver,
    "mse": MseObserver,
}


def make_observer(name: ObserverName) -> Observer:
    """A fresh observer of that name."""
    return OBSERVERS[name]()


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
    best, error = maximum / high, torch.full_like(maximum, torch.inf)
    for ratio in _ratios(WEIGHT_LOWEST, 1.0, WEIGHT_COARSE).tolist():
        best, error = _better_rows(rows, maximum * ratio / high, best, error, high)
    coarse = best
    for ratio in _ratios(1 / WEIGHT_COARSE, WEIGHT_COARSE, WEIGHT_FINE).tolist():
        step = torch.minimum(coarse * ratio, maximum / high)
        best, error = _better_rows(rows, step, best, error, high)
    return best


def _better_rows(
    rows: Tensor, step: Tensor, best: Tensor, least: Tensor, high: int
) -> tuple[Tensor, Tensor]:
    """The better step of each row, and its squared error."""
    along = step[:, None]
    error = ((rows / along).round_().clamp_(-high, high).mul_(along) - rows).square_().sum(1)
    better = error < least
    return torch.where(better, step, best), torch.where(better, error, least)
