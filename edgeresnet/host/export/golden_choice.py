"""The images that travel with a bundle: those that tell most damaged networks from the right one.

Only images that rounding moves no further than others are candidates. An image whose logits move
far under damage often moves far under rounding too, and would make false alarms on other devices.
"""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.bundle.golden import SHARE_OF_SAME_KERNELS
from edgeresnet.device.bundle.logits import allowed_outside, compare_logits, mean_distance
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.host.export.logit_bound import bound_of, reference_logits, unrounded_logits
from edgeresnet.host.export.mutants import fitting, mutants
from edgeresnet.host.models.headless import has_head

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.host.models.quant_resnet import QuantResNet
    from edgeresnet.settings.inputs import InputSpec

CANDIDATES = 32
# Fewer say too little: of so few logits one image's may lie outside of the bound.
FEWEST = 8


@dataclass(frozen=True, eq=False)
class GoldenChoice:
    """The chosen images.

    Attributes:
        images: (n, H, W, 3) uint8.
        logits: (n, classes) float32, PyTorch's.
        mutants: (m, n, classes) float32, those of damaged networks, each of which gives a
            candidate another class.
    """

    images: NDArray[np.uint8]
    logits: NDArray[np.float32]
    mutants: NDArray[np.float32]

    def detection(self, bound: float, precision: str) -> dict[str, int] | None:
        """How many of the damaged networks the images tell; None where none was tried.

        Args:
            bound: of the logits on any device, in logits.
            precision: of the bundle.
        """
        if not len(self.mutants):
            return None
        anywhere = there = 0
        for logits in self.mutants:
            found = compare_logits(logits, self.logits, bound, precision).fault() is not None
            near = mean_distance(logits, self.logits) <= SHARE_OF_SAME_KERNELS * bound
            anywhere += found
            there += found or (is_quantized(precision) and not near)
        return {"mutants": len(self.mutants), "caught": anywhere, "caught_there": there}


def choose_golden(
    model: QuantResNet,
    candidates: NDArray[np.uint8],
    spec: InputSpec,
    precision: str,
    macs: int,
    most: int,
) -> GoldenChoice:
    """Choose by damaged networks; the first ones where there is no choice.

    Args:
        model: folded, in eval mode; its quantizers are switched as ``precision`` has them.
        candidates: (n, H, W, 3) uint8.
        spec: how they become inputs.
        precision: of the bundle.
        macs: of the network, for one image.
        most: images to choose at most.
    """
    logits = reference_logits(model, candidates, spec, precision)
    error = None
    pool = np.arange(len(candidates))
    if is_quantized(precision):
        error = logits.astype(np.float64) - unrounded_logits(model, candidates, spec, precision)
        quiet = np.argsort(np.square(error).mean(1), kind="stable")
        pool = np.sort(quiet[: max(most, len(pool) // 2)])
    bound = bound_of(error, precision, logits)
    pool = pool[: max(fitting(candidates), min(most, FEWEST))]
    # The quantizers are as they are wanted, on or off, since the logits were computed.
    # Without a classifier there is no answer that damage could change.
    tried = list(mutants(model, candidates[pool], spec, macs)) if has_head(model) else []
    # What no image gets another class from is no damage that has to be noticed.
    harmful = [one for one in tried if (one.argmax(1) != logits[pool].argmax(1)).any()]
    found = np.stack(harmful) if harmful else np.zeros((0, *logits[pool].shape), np.float32)
    chosen = _greedy(found, logits[pool], bound, precision, min(most, len(pool)))
    return GoldenChoice(candidates[pool[chosen]], logits[pool[chosen]], found[:, chosen])


def _greedy(
    found: NDArray[np.float32],
    logits: NDArray[np.float32],
    bound: float,
    precision: str,
    most: int,
) -> NDArray[np.int64]:
    """Places of the chosen images, in rising order.

    Args:
        found: (m, n, classes) of damaged networks.
        logits: (n, classes) of the right one.
        bound: of the logits.
        precision: of the bundle.
        most: images at most.
    """
    if not len(found):
        return np.arange(min(most, len(logits)))
    outside, changed, away = _effects(found, logits, bound)
    count = most * logits.shape[1]
    # A share of a count may be a little less than whole.
    needed = np.floor(allowed_outside(most, logits.shape[1], precision) * count + 1e-6) + 1
    order: list[int] = []
    sums = np.zeros(len(found))
    while len(order) < most:
        # How near each damage would be to being caught; ties: by what moves logits furthest.
        gains = np.minimum(1, (sums[:, None] + outside + changed * needed) / needed).sum(0)
        gains = gains + 1e-6 * away
        gains[order] = -1
        order.append(int(gains.argmax()))
        sums += outside[:, order[-1]] + changed[:, order[-1]] * needed
    choices = [order[:count] for count in range(min(FEWEST, most), most + 1)]
    caught = [_caught(found[:, one], logits[one], bound, precision) for one in choices]
    return np.sort(choices[int(np.argmax(caught))])


def _effects(
    found: NDArray[np.float32], logits: NDArray[np.float32], bound: float
) -> tuple[NDArray[np.float64], NDArray[np.bool_], NDArray[np.float64]]:
    """Of each damage and image: logits outside, class changed for sure; of each image: distance."""
    distance = np.abs(found.astype(np.float64) - logits) / bound
    ranked = np.sort(logits, axis=1)
    sure = ranked[:, -1] - ranked[:, -2] > 2 * bound if logits.shape[1] > 1 else False
    changed = (found.argmax(2) != logits.argmax(1)) & sure
    outside = (~(distance <= 1)).sum(2).astype(np.float64)
    return outside, changed, np.minimum(np.nan_to_num(distance, nan=1.0), 1).mean((0, 2))


def _caught(
    found: NDArray[np.float32], logits: NDArray[np.float32], bound: float, precision: str
) -> int:
    return sum(compare_logits(one, logits, bound, precision).fault() is not None for one in found)
