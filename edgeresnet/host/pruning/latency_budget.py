"""From a budget to a plan: counted budgets directly, latency by measuring and correcting."""

from __future__ import annotations

import math
from collections.abc import Callable
from dataclasses import dataclass
from typing import Generic, TypeVar

from edgeresnet.errors import InputError

# Where in the latency budget a plan should land: below it, because a fresh process on a noisy
# machine may be slower, and not far below, because every channel counts.
AIM, MOST = 0.93, 0.97
MEASUREMENTS = 9
CLOSE = 0.015

Candidate = TypeVar("Candidate")


@dataclass(frozen=True)
class Trial:
    """One measured plan: its share of the planner's cost, and of the latency budget."""

    share: float
    load: float


def fit_latency(
    plan: Callable[[float], Candidate],
    load_of: Callable[[float, Candidate], float],
    dense_load: float,
    smallest_share: float,
) -> tuple[Candidate, float, list[Trial]]:
    """Find the widest plan whose measured latency keeps the budget.

    Args:
        plan: makes a plan of a share of the dense network's cost, in (0, 1).
        load_of: measures a plan (given with its share): its latency as a share of the budget.
        dense_load: of the dense network, above 1.
        smallest_share: that the planner can reach.

    Returns:
        The plan, its share, and all that was measured.

    Raises:
        InputError: even the narrowest widths are too slow.
    """
    # A dependency of scikit-learn's, and of the host alone.
    from scipy.optimize import brentq

    search = _Search(plan, load_of, dense_load)
    low = _fast_enough(search, math.log(min(1.0, smallest_share * 1.001)))
    if search.miss(low) < 0:
        brentq(search.miss, low, 0.0, xtol=CLOSE, maxiter=MEASUREMENTS, disp=False)
    kept = {x: candidate for x, (candidate, load) in search.measured.items() if load <= MOST}
    best = max(kept)
    trials = [Trial(math.exp(x), load) for x, (_, load) in search.measured.items()]
    return kept[best], math.exp(best), trials


class _Search(Generic[Candidate]):
    """What was measured so far, by the logarithm of the share."""

    def __init__(
        self,
        plan: Callable[[float], Candidate],
        load_of: Callable[[float, Candidate], float],
        dense_load: float,
    ) -> None:
        self._plan, self._load_of, self.dense_load = plan, load_of, dense_load
        self.measured: dict[float, tuple[Candidate, float]] = {}

    def miss(self, log_share: float) -> float:
        """How far beyond the aim, as a logarithm; 0 ends the search. Measured once."""
        if log_share >= 0:
            return math.log(self.dense_load / AIM)
        if log_share not in self.measured:
            share = math.exp(log_share)
            candidate = self._plan(share)
            self.measured[log_share] = candidate, self._load_of(share, candidate)
        load = self.measured[log_share][1]
        return 0.0 if 2 * AIM - MOST <= load <= MOST else math.log(load / AIM)


def _fast_enough(search: _Search[Candidate], narrowest: float) -> float:
    """The logarithm of a share whose plan is on the fast side of the budget."""
    # Latency falls more slowly than cost.
    low = max(narrowest, 1.3 * math.log(AIM / search.dense_load))
    while search.miss(low) > 0:
        if low <= narrowest:
            raise InputError(
                "the latency budget cannot be met: with every layer at its narrowest the network "
                f"still takes {search.measured[low][1]:.2f} times as long as it may",
                "give a larger budget, lower the floor, or allow whole blocks to be removed.",
            )
        low = max(narrowest, 1.5 * low)
    return low
