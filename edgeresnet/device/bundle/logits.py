"""Are these the reference's logits? By a bound, and by the classes that they decide for."""

from __future__ import annotations

from dataclasses import dataclass
from typing import TYPE_CHECKING

import numpy as np

from edgeresnet.device.targets.precision import is_quantized

if TYPE_CHECKING:
    from collections.abc import Sequence

    from numpy.typing import NDArray

# Of integer kernels' logits; what computes in float must keep all of its logits within the bound.
SHARE_OUTSIDE = 0.01
# Of fewer than a hundred images: logits of one image lie outside together, so that one unlucky
# image of eight is more than a hundredth.
SHARE_OUTSIDE_OF_FEW = 0.05
# Of one class's logits: of a thousand classes one may be wrong altogether and be 0.001 of all.
LARGEST_SHARE_OF_A_CLASS = 0.5
NAMED = 5


def mean_distance(logits: NDArray[np.float32], golden: NDArray[np.float32]) -> float:
    """Root of the mean square of how far logits are from others of the same shape, in logits."""
    return float(np.sqrt(np.square(logits.astype(np.float64) - golden).mean()))


@dataclass(frozen=True)
class LogitCheck:
    """How far a runtime's logits are from the reference's.

    Attributes:
        images: how many were compared.
        bound: the largest difference that is explained, in logits.
        allowed: the share of logits that may lie outside of it all the same.
        largest_difference: in logits; inf where a logit is not finite.
        share_outside: of all logits, [0, 1].
        worst_class: the class whose logits lie outside most often, and how often, [0, 1].
        changed: images that got another class although the reference's margin (its largest logit
            minus the second) is more than twice the bound.
        close_calls: how many got another class with a smaller margin.
    """

    images: int
    bound: float
    allowed: float
    largest_difference: float
    share_outside: float
    worst_class: tuple[int, float]
    changed: tuple[int, ...]
    close_calls: int

    def fault(self, names: Sequence[str] | None = None) -> str | None:
        """What is wrong with these logits, in one sentence; None if nothing is.

        Args:
            names: of the images; None numbers them.
        """
        faults: list[str] = []
        worst, share = self.worst_class
        if self.share_outside > self.allowed:
            faults.append(f"{self.share_outside:.2%} of all lie outside, {self.allowed:.2%} may")
        elif share > LARGEST_SHARE_OF_A_CLASS:
            faults.append(f"{share:.0%} of class {worst}'s lie outside")
        if self.changed:
            named = [names[i] if names else str(i) for i in self.changed[:NAMED]]
            more = f" and {len(self.changed) - NAMED} more" if len(self.changed) > NAMED else ""
            faults.append(
                f"{len(self.changed)} of {self.images} images change class with a margin of more "
                f"than twice the bound ({', '.join(named)}{more})"
            )
        if not faults:
            return None
        return (
            f"logits up to {self.largest_difference:.3g} away, where the bound is "
            f"{self.bound:.3g}: {'; '.join(faults)}"
        )


def allowed_outside(images: int, classes: int, precision: str) -> float:
    """The share of logits that may lie outside of the bound.

    Integer kernels': 0.01; of fewer than 100 images those of one image, at most 0.05, or a single
    logit where that is none. Float: none.
    """
    if not is_quantized(precision):
        return 0.0
    single = 1 / (images * classes)
    return max(SHARE_OUTSIDE, single, min(1 / images, SHARE_OUTSIDE_OF_FEW))


def compare_logits(
    logits: NDArray[np.float32],
    reference: NDArray[np.float32],
    bound: float,
    precision: str,
) -> LogitCheck:
    """Hold logits against a reference.

    Args:
        logits: (n, classes) float32.
        reference: (n, classes) float32, finite.
        bound: in logits.
        precision: of the model that gave ``logits``.
    """
    wanted = reference.astype(np.float64)
    difference = np.abs(logits.astype(np.float64) - wanted)
    outside = ~(difference <= bound)
    largest = float(difference.max())
    of_class = outside.mean(axis=0)
    ordered = np.sort(wanted, axis=1)
    margin = ordered[:, -1] - ordered[:, -2] if wanted.shape[1] > 1 else np.zeros(len(wanted))
    other = logits.argmax(1) != wanted.argmax(1)
    decided = margin > 2 * bound
    return LogitCheck(
        images=len(wanted),
        bound=bound,
        allowed=allowed_outside(len(wanted), wanted.shape[1], precision),
        largest_difference=largest if np.isfinite(largest) else float("inf"),
        share_outside=float(outside.mean()),
        worst_class=(int(of_class.argmax()), float(of_class.max())),
        changed=tuple(int(i) for i in np.flatnonzero(other & decided)),
        close_calls=int((other & ~decided).sum()),
    )
