"""How often the interval of a speed-up holds the true one where rounds depend on each other.

    python -m tests.benchmarks.ratio_coverage [REPETITIONS]

Rounds are simulated: the machine's speed in each resembles that in the one before (a first-order
autoregression) and is another for each of two models. Of each correlation of neighbouring rounds
it prints how many of the intervals hold the true ratio, how many series have one, and how wide
they are, as many times those of independent rounds; for ``compare`` and for two records.
"""

from __future__ import annotations

import sys
from dataclasses import dataclass

import numpy as np

from edgeresnet.device.measure.interleaving import BLOCKS
from edgeresnet.device.measure.ratio import ratio_of
from tests.device.measure.series_of import correlated

RHOS = (0.0, 0.2, 0.4, 0.6, 0.8)
# Of a run: of the machine's speed in a round, and of single runs in it; logarithms.
ROUNDS_SPREAD, RUNS_SPREAD, RUNS = 0.05, 0.01, 10
SLOW_MS, FAST_MS = 10.0, 5.0


@dataclass(frozen=True)
class Coverage:
    """What came of the intervals of one correlation.

    Attributes:
        told: share of the series that have an interval.
        covered: share of the intervals that hold the true ratio.
        width: their median, as the logarithm of upper over lower end.
    """

    told: float
    covered: float
    width: float


def simulate(
    rho: float, *, paired: bool = True, repetitions: int = 2000, rounds: int = BLOCKS
) -> Coverage:
    """Intervals of simulated series whose true ratio is known.

    Args:
        rho: correlation of neighbouring rounds.
        paired: compare the models round by round, as ``compare`` does; else as two records.
        repetitions: so many series.
        rounds: of each.
    """
    generator = np.random.default_rng([round(100 * rho), paired, rounds])
    covered, widths = [], []
    for seed in range(repetitions):
        before, after = (_rounds(generator, rounds, rho, ms) for ms in (SLOW_MS, FAST_MS))
        found = ratio_of(before, after, seed=seed, paired=paired)
        if found.low is None or found.high is None:
            continue
        covered.append(found.low <= SLOW_MS / FAST_MS <= found.high)
        widths.append(np.log(found.high / found.low))
    return Coverage(len(covered) / repetitions, float(np.mean(covered)), float(np.median(widths)))


def _rounds(
    generator: np.random.Generator, rounds: int, rho: float, ms: float
) -> np.ndarray[tuple[int, ...], np.dtype[np.float64]]:
    """(rounds, runs) milliseconds whose median is ``ms``."""
    speeds = ROUNDS_SPREAD * correlated(generator, rounds, rho)[:, None]
    noise = RUNS_SPREAD * generator.standard_normal((rounds, RUNS))
    return np.asarray(ms * np.exp(speeds + noise))


def main(repetitions: int) -> None:
    """A line of README's table for each correlation."""
    independent: dict[bool, float] = {}
    for rho in RHOS:
        cells = []
        for paired in (True, False):
            one = simulate(rho, paired=paired, repetitions=repetitions)
            wider = one.width / independent.setdefault(paired, one.width)
            cells.append(f"{one.covered:.3f} | {one.told:.3f} | {wider:.2f}")
        print(f"| {rho:.1f} | {' | '.join(cells)} |", flush=True)


if __name__ == "__main__":
    main(int(sys.argv[1]) if len(sys.argv) > 1 else 2000)
