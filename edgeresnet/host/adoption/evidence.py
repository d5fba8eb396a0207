"""What labelled images say of candidates.

Clearly worse is what has a lower top-1 by an interval that holds for all comparisons together
(Bonferroni); on all images also what has it by its own 95 % interval, where the paired difference
of log-probabilities says the same: the two seldom err together. To leave the convention the latter
must hold for all comparisons together too.
"""

from __future__ import annotations

from collections.abc import Mapping
from typing import TYPE_CHECKING

import numpy as np
from scipy.special import log_softmax
from scipy.stats import norm

from edgeresnet.device.measure.accuracy import paired_difference
from edgeresnet.device.measure.statistics import wilson
from edgeresnet.host.adoption.orders import FROM_IMAGES, assigned, right_when_assigned
from edgeresnet.host.adoption.space import Candidate
from edgeresnet.host.adoption.trials import Trials

if TYPE_CHECKING:
    from numpy.typing import NDArray

FIRST_IMAGES = 24
# Of each class, where its output is found from them too.
FIRST_OF_A_CLASS = 3
# Images after which options are looked at, as shares of all.
LOOKS = (1 / 16, 1 / 4, 1.0)
# Of what is above chance, what answers well is sure to have.
WELL = 0.4
# Wrong preprocessing makes a network more or less sure of itself, which is no evidence.
TEMPERATURES = (0.5, 1.0, 2.0, 4.0, 8.0)
# Half of an interval, in standard errors, of which 95 % hold for so many comparisons together.
COMPARISONS = 20
Z_TOGETHER = float(norm.ppf(1 - 0.025 / COMPARISONS))


class Evidence:
    """Which answers of which candidates are right.

    Args:
        trials: runs candidates.
        orders: of the classes, the usual one first; by name.
        from_images: whether any other order may be found from the images too.

    Attributes:
        order: the one by which answers are judged.
    """

    def __init__(
        self,
        trials: Trials,
        orders: Mapping[str, NDArray[np.int64]],
        *,
        from_images: bool,
    ) -> None:
        self.trials = trials
        self._orders, self._from_images = dict(orders), from_images
        self.order = next(iter(orders))

    def outputs(self, candidate: Candidate, order: str) -> NDArray[np.int64]:
        """(classes,) the output of each class of the data, under an order's name."""
        if order != FROM_IMAGES:
            return self._orders[order]
        n = len(self.trials)
        return assigned(self.trials.logits(candidate, n), self.trials.labels)

    def right(self, candidate: Candidate, n: int) -> NDArray[np.bool_]:
        """(n,) whether each answer to the first images is right."""
        return self.right_in(candidate, n, self.order)

    def right_in(self, candidate: Candidate, n: int, order: str) -> NDArray[np.bool_]:
        """The same, under an order's name."""
        logits, labels = self.trials.logits(candidate, n), self.trials.labels[:n]
        if order == FROM_IMAGES:
            return right_when_assigned(logits, labels)
        right: NDArray[np.bool_] = logits.argmax(1) == self._orders[order][labels]
        return right

    def score(self, candidate: Candidate) -> int:
        """Right answers to all images."""
        return int(self.right(candidate, len(self.trials)).sum())

    def worse(
        self, candidate: Candidate, other: Candidate, n: int, *, z: float = Z_TOGETHER
    ) -> bool:
        """Whether a candidate is clearly worse than another on the first images.

        Args:
            candidate: that may be worse.
            other: than this.
            n: images.
            z: how sure the log-probabilities must be where top-1 alone is not.
        """
        right, others = self.right(candidate, n), self.right(other, n)
        if paired_difference(others, right, z=Z_TOGETHER).high < 0:
            return True
        if n < len(self.trials) or not paired_difference(others, right).high < 0:
            return False
        lost = self._log_probabilities(candidate, n) - self._log_probabilities(other, n)
        return bool(lost.mean() < -z * lost.std() / np.sqrt(n))

    def likelier(self, candidate: Candidate, other: Candidate) -> bool:
        """Whether all labels are clearly likelier under a candidate than under another."""
        n = len(self.trials)
        gained = self._log_probabilities(candidate, n) - self._log_probabilities(other, n)
        return bool(gained.mean() > Z_TOGETHER * gained.std() / np.sqrt(n))

    def likeliest(self, left: list[Candidate], n: int, known: Candidate) -> list[Candidate]:
        """Those under which the first labels are not clearly less likely than under the best.

        Args:
            left: of the same weights, so that their outputs are of the same classes.
            n: images.
            known: one that has answered all images; says which class is which output.

        Returns:
            The best first.
        """
        outputs = self.outputs(known, self.order)
        values = {c: self._log_probabilities(c, n, outputs) for c in left}
        ranked = sorted(left, key=lambda c: float(values[c].mean()), reverse=True)
        lost = {c: values[c] - values[ranked[0]] for c in left}
        return [c for c in ranked if lost[c].mean() >= -Z_TOGETHER * lost[c].std() / np.sqrt(n)]

    def _log_probabilities(
        self, candidate: Candidate, n: int, outputs: NDArray[np.int64] | None = None
    ) -> NDArray[np.float64]:
        """(n,) of each label, at the temperature at which the labels are likeliest."""
        logits, labels = self.trials.logits(candidate, n), self.trials.labels[:n]
        if outputs is None:
            outputs = self.outputs(candidate, self.order)
        own = outputs[labels]
        scaled = (log_softmax(logits.astype(np.float64) / t, axis=1) for t in TEMPERATURES)
        rows = np.arange(n)
        return max((s[rows, own] for s in scaled), key=lambda values: values.mean())

    def likelihood(self, candidate: Candidate, n: int) -> float:
        """Mean log-probability of the labels under the likeliest order and temperature."""
        logits, labels = self.trials.logits(candidate, n), self.trials.labels[:n]
        orders = list(self._orders.values())
        if self._from_images:
            # Too few images make each order fit too well, but the right candidate's best.
            orders.append(assigned(logits, labels))
        scaled = [log_softmax(logits.astype(np.float64) / t, axis=1) for t in TEMPERATURES]
        rows = np.arange(n)
        return max(float(s[rows, order[labels]].mean()) for s in scaled for order in orders)

    def answers_well(self, candidate: Candidate, n: int) -> bool:
        """Whether a candidate is so far above chance that the right one is few steps away."""
        orders = [FROM_IMAGES] if self._from_images else list(self._orders)
        hits = max(int(self.right_in(candidate, n, order).sum()) for order in orders)
        chance = 1 / len(next(iter(self._orders.values())))
        return wilson(hits, n)[0] > chance + WELL * (1 - chance)

    def first_images(self) -> int:
        """How many images a first look needs."""
        classes = len(next(iter(self._orders.values())))
        wanted = (
            max(FIRST_IMAGES, FIRST_OF_A_CLASS * classes) if self._from_images else FIRST_IMAGES
        )
        return min(wanted, len(self.trials))

    def looks(self) -> list[int]:
        """After how many images options are looked at."""
        total = len(self.trials)
        return sorted({min(total, max(FIRST_IMAGES, int(total * share))) for share in LOOKS})

    def order_names(self) -> list[str]:
        """All orders, the usual one first."""
        return [*self._orders, *([FROM_IMAGES] if self._from_images else [])]

    def best_order(self, candidate: Candidate) -> str:
        """The first order that no other is clearly better than."""
        n = len(self.trials)
        right = {name: self.right_in(candidate, n, name) for name in self.order_names()}
        best = right[max(right, key=lambda name: right[name].sum())]
        return next(name for name in right if not paired_difference(best, right[name]).high < 0)
