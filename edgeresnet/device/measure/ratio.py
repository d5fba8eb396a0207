"""How many times faster one model is than another, with an interval from whole rounds."""

from __future__ import annotations

import math
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.measure.dependence import rounds_worth

if TYPE_CHECKING:
    from numpy.typing import NDArray

RESAMPLES = 1000
# Of fewer rounds, or such as are worth fewer independent ones, intervals hold less often than they
# say: tests/benchmarks/ratio_coverage.py shows how often.
LEAST_ROUNDS, LEAST_WORTH = 20, 1
# How far runs depend on each other does not show in fewer of them.
LEAST_RUNS = 100


@dataclass(frozen=True)
class Ratio:
    """Times as fast, with a 95 % interval.

    Attributes:
        value: ratio of the medians of all runs.
        low: None, as ``high``, where the rounds are worth too few independent ones.
        high: see ``low``.
        note: a sentence on why there is no interval; None where there is one.
    """

    value: float
    low: float | None
    high: float | None
    note: str | None = None

    def to_dict(self) -> dict[str, Any]:
        """``value``, ``low`` and ``high``, for JSON."""
        return {"value": self.value, "low": self.low, "high": self.high}


def ratio_of(
    before: NDArray[np.float64], after: NDArray[np.float64], *, seed: int = 0, paired: bool = True
) -> Ratio:
    """The median of ``before`` over that of ``after``, with an interval from blocks of runs.

    Runs within a block depend on each other; so the blocks are what is drawn (Efron and Tibshirani,
    "An Introduction to the Bootstrap", 1993, section 8.6), and their standard error is widened by
    how rounds depend on each other, as far as so few of them tell; see `rounds_worth`.

    Args:
        before: (rounds, runs) milliseconds, each row a block in the order of time.
        after: likewise; with as many rounds where they are ``paired``.
        seed: of the drawing.
        paired: row i of both is from the same round, in which a drifting machine hits both.
    """
    value = float(np.median(before) / np.median(after))
    generator = np.random.default_rng(seed)
    if paired:
        drawn = generator.integers(len(before), size=(RESAMPLES, len(before)))
        logs = np.log(_medians(before, drawn) / _medians(after, drawn))
        own = np.log(np.median(before, axis=1) / np.median(after, axis=1))
        parts = [(float(logs.var()), own)]
    else:
        parts = []
        for blocks in (before, after):
            drawn = generator.integers(len(blocks), size=(RESAMPLES, len(blocks)))
            logs = np.log(_medians(blocks, drawn))
            parts.append((float(logs.var()), np.log(np.median(blocks, axis=1))))
    rounds, runs = min(len(own) for _, own in parts), min(before.size, after.size)
    if rounds < LEAST_ROUNDS or runs < LEAST_RUNS:
        return Ratio(value, None, None, _too_few(runs))
    worth = [rounds_worth(own) for _, own in parts]
    if min(one.effective for one in worth) < LEAST_WORTH:
        return Ratio(value, None, None, _too_dependent(rounds))
    half = math.sqrt(
        sum(
            drawn * len(own) / (len(own) - 1) * one.errors**2
            for (drawn, own), one in zip(parts, worth, strict=True)
        )
    )
    return Ratio(value, value * math.exp(-half), value * math.exp(half))


def _too_few(runs: int) -> str:
    return (
        f"no interval of the speed-up: {runs} timed runs are too few; give --rounds "
        f"{LEAST_RUNS} or more."
    )


def _too_dependent(rounds: int) -> str:
    return (
        f"no interval of the speed-up: {rounds} blocks of runs resemble those before them so much "
        "that they are worth less than one independent one; measure on a quieter machine, or give "
        "more --rounds."
    )


def _medians(blocks: NDArray[np.float64], drawn: NDArray[np.int64]) -> NDArray[np.float64]:
    """Median of the samples of each draw of blocks; a few draws at a time, to bound the memory."""
    parts = np.array_split(drawn, -(-len(drawn) // 100))
    return np.concatenate([np.median(blocks[p].reshape(len(p), -1), axis=1) for p in parts])
