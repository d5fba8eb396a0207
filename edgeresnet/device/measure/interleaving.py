"""Several models timed in turn on one machine, so that they can be compared.

Turns are blocks of runs. Strict turn-taking, a run of each in every round, would let each model
find its caches full of the others' weights: a small network then takes three times as long.
"""

from __future__ import annotations

import math
import time
from collections.abc import Callable, Mapping, Sequence
from typing import TYPE_CHECKING, Protocol

import numpy as np

from edgeresnet.device.measure.latency import WINDOW, Latency, cold_ms, peak_memory_mib, warm_up
from edgeresnet.device.measure.ratio import Ratio, ratio_of
from edgeresnet.device.session import time_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

BLOCKS = 20
# Whoever had the turn before has left its data in the caches and the other threads asleep.
DROPPED_RUNS, DROPPED_S = 3, 0.05
BLOCK_S, LONGEST_BLOCK = 0.1, 500


def timed_block(run: Callable[[], object], runs: int) -> list[float]:
    """Milliseconds of ``runs`` calls in a row, behind some that are dropped."""
    start, dropped = time.perf_counter(), 0
    while dropped < DROPPED_RUNS or time.perf_counter() - start < DROPPED_S:
        run()
        dropped += 1
    return [time_ms(run) for _ in range(runs)]


class Contender(Protocol):
    """A model that takes part in a measurement by turns, here or in a process of its own."""

    def warm_up(self) -> list[float]:
        """Milliseconds of each run until they are steady."""
        ...

    def block(self, runs: int) -> list[float]:
        """Milliseconds of so many runs in a row, behind some that are dropped."""
        ...

    def cold(self, runs: int) -> NDArray[np.float64] | None:
        """Milliseconds of runs with cold caches; None where that means nothing."""
        ...

    def peak_memory_mib(self) -> float | None:
        """Largest resident memory so far of the process that runs the model."""
        ...


class Here:
    """A contender in this very process; a call of ``run`` is one run."""

    def __init__(self, run: Callable[[], object]) -> None:
        self.run = run

    def warm_up(self) -> list[float]:
        """Run until the times are steady."""
        return warm_up(self.run)

    def block(self, runs: int) -> list[float]:
        """Milliseconds of each of so many runs in a row."""
        return timed_block(self.run, runs)

    def cold(self, runs: int) -> NDArray[np.float64] | None:
        """Milliseconds of runs of which each finds empty caches."""
        return cold_ms(self.run, runs)

    def peak_memory_mib(self) -> float | None:
        """Largest resident memory of this process so far."""
        return peak_memory_mib()


def take_turns(
    contenders: Mapping[str, Contender],
    rounds: int,
    *,
    batch: int = 1,
    seed: int = 0,
    cold_runs: int = 0,
    on_block: Callable[[], object] | None = None,
) -> dict[str, Latency]:
    """Time several models in turn, so that a drifting machine hits all of them alike.

    A turn is a block of runs, the same number in each turn of a model, so that it runs as it would
    alone; see `BLOCKS`. Each round has a block of every model, in an order drawn with ``seed``.

    Args:
        contenders: what to time.
        rounds: samples of each at least, two or more; fast models have more of them.
        batch: inputs in a run.
        seed: of the order.
        cold_runs: further runs of each with cold caches, when all else is done.
        on_block: called after each block, for progress.

    Returns:
        For each name its samples; block i of all names is from the same round.
    """
    blocks = max(2, min(BLOCKS, rounds))
    warm = {name: one.warm_up() for name, one in contenders.items()}
    runs = {name: _block_runs(samples, -(-rounds // blocks)) for name, samples in warm.items()}
    samples: dict[str, list[float]] = {name: [] for name in contenders}
    generator = np.random.default_rng(seed)
    names = list(contenders)
    for _ in range(blocks):
        for i in generator.permutation(len(names)):
            samples[names[i]] += contenders[names[i]].block(runs[names[i]])
            if on_block is not None:
                on_block()
    return {
        name: _latency(one, samples[name], batch, len(warm[name]), runs[name], cold_runs)
        for name, one in contenders.items()
    }


def _latency(
    contender: Contender,
    samples_ms: Sequence[float],
    batch: int,
    warmup_runs: int,
    block_runs: int,
    cold_runs: int,
) -> Latency:
    # Before the cold runs: what empties the caches is no memory of the model's.
    peak_mib = contender.peak_memory_mib()
    cold = contender.cold(cold_runs) if cold_runs else None
    return Latency(np.array(samples_ms), batch, warmup_runs, peak_mib, block_runs, cold)


def interleave(
    runs: Mapping[str, Callable[[], object]], rounds: int, *, batch: int = 1, seed: int = 0
) -> dict[str, Latency]:
    """`take_turns` of callables in this process, each call a run."""
    contenders = {name: Here(run) for name, run in runs.items()}
    return take_turns(contenders, rounds, batch=batch, seed=seed)


def _block_runs(warm_ms: Sequence[float], smallest: int) -> int:
    """Runs in a block: enough of them to last `BLOCK_S`."""
    usual_ms = float(np.median(warm_ms[-WINDOW:]))
    return max(smallest, min(LONGEST_BLOCK, math.ceil(BLOCK_S * 1e3 / max(usual_ms, 1e-3))))


def speedup(baseline: Latency, candidate: Latency, *, seed: int = 0) -> Ratio:
    """How many times faster the candidate's median run is; see `ratio_of`.

    Args:
        baseline: timed in the same rounds as the candidate.
        candidate: likewise; of as many blocks.
        seed: of the resampling.
    """
    before, after = (each.samples_ms.reshape(-1, each.block_runs) for each in (baseline, candidate))
    return ratio_of(before, after, seed=seed)
