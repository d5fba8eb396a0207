"""How long a session takes: one timing loop for every runtime."""

from __future__ import annotations

import resource
import sys
import time
from collections.abc import Callable, Mapping, Sequence
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.interval import Interval

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.targets.protocol import Session

MIN_WARMUP_RUNS, WINDOW = 5, 5
STABLE_WITHIN = 0.05
RESAMPLES = 2000


@dataclass(frozen=True, eq=False)
class Latency:
    """Raw samples, nothing clipped, and what they say.

    Attributes:
        samples_ms: (n,) one run each, in order.
        batch: inputs in a run.
        first_ms: the very first run after loading.
        warmup_runs: runs before the first sample.
        peak_memory_mib: of the whole process so far.
    """

    samples_ms: NDArray[np.float64]
    batch: int
    first_ms: float
    warmup_runs: int
    peak_memory_mib: float

    def percentile_ms(self, q: float) -> float:
        """The q-th percentile, 0 to 100."""
        return float(np.percentile(self.samples_ms, q))

    def to_dict(self) -> dict[str, Any]:
        """The figures of the JSON contract."""
        mean = float(self.samples_ms.mean())
        return {
            "batch": self.batch,
            "first_ms": self.first_ms,
            **{f"p{q}_ms": self.percentile_ms(q) for q in (50, 90, 95, 99)},
            "mean_ms": mean,
            "std_ms": float(self.samples_ms.std(ddof=1)) if len(self.samples_ms) > 1 else 0.0,
            "throughput_ips": self.batch / mean * 1e3,
            "n": len(self.samples_ms),
            "warmup_runs": self.warmup_runs,
            "peak_memory_mib": self.peak_memory_mib,
        }


def noise(session: Session, batch: int = 1) -> NDArray[np.float32]:
    """Input of noise (batch, *input_shape) float32: a network's time does not depend on values."""
    generator = np.random.default_rng(0)
    return generator.standard_normal((batch, *session.input_shape), dtype=np.float32)


def time_ms(run: Callable[[], object]) -> float:
    """Milliseconds of one call."""
    start = time.perf_counter_ns()
    run()
    return (time.perf_counter_ns() - start) / 1e6


def warm_up(run: Callable[[], object], max_seconds: float = 10.0) -> tuple[float, int]:
    """Run until two windows in a row have the same median, or time is up.

    Returns:
        (milliseconds of the first run, number of runs).
    """
    samples = [time_ms(run)]
    deadline = time.perf_counter() + max_seconds
    while time.perf_counter() < deadline:
        samples.append(time_ms(run))
        if len(samples) < MIN_WARMUP_RUNS + 2 * WINDOW:
            continue
        before, now = np.median(samples[-2 * WINDOW : -WINDOW]), np.median(samples[-WINDOW:])
        if abs(now - before) <= STABLE_WITHIN * before:
            break
    return samples[0], len(samples)


def measure(
    session: Session,
    batch: NDArray[Any],
    *,
    min_runs: int = 50,
    min_seconds: float = 2.0,
    max_seconds: float = 60.0,
    on_run: Callable[[], object] | None = None,
) -> Latency:
    """Time a session on one batch.

    Args:
        session: opened; the caller closes it.
        batch: what `Session.run` takes; made before, so preprocessing is not in the time.
        min_runs: samples to take at least, time permitting.
        min_seconds: go on sampling for so long.
        max_seconds: stop then, whatever was reached (but after one sample).
        on_run: called between samples, for progress.
    """
    first_ms, warmup_runs = warm_up(lambda: session.run(batch), max_seconds / 4)
    samples: list[float] = []
    start = time.perf_counter()
    while True:
        samples.append(time_ms(lambda: session.run(batch)))
        if on_run is not None:
            on_run()
        elapsed = time.perf_counter() - start
        if elapsed >= max_seconds or (len(samples) >= min_runs and elapsed >= min_seconds):
            break
    return Latency(np.array(samples), len(batch), first_ms, warmup_runs, peak_memory_mib())


def interleave(
    runs: Mapping[str, Callable[[], object]],
    rounds: int,
    *,
    batch: int = 1,
    seed: int = 0,
    on_round: Callable[[], object] | None = None,
) -> dict[str, Latency]:
    """Time several candidates in turn, so that a drifting machine hits all of them alike.

    Each round runs every candidate once, in an order drawn with ``seed``; a run takes ``batch``
    inputs.

    Returns:
        For each name its samples; sample i of all names is from the same round.
    """
    warm = {name: warm_up(run) for name, run in runs.items()}
    generator = np.random.default_rng(seed)
    names = list(runs)
    samples = np.empty((len(names), rounds))
    for i in range(rounds):
        for j in generator.permutation(len(names)):
            samples[j, i] = time_ms(runs[names[j]])
        if on_round is not None:
            on_round()
    memory = peak_memory_mib()
    return {
        name: Latency(samples[j], batch, warm[name][0], warm[name][1], memory)
        for j, name in enumerate(names)
    }


def speedup(
    baseline_ms: Sequence[float] | NDArray[np.float64],
    candidate_ms: Sequence[float] | NDArray[np.float64],
    *,
    seed: int = 0,
) -> Interval:
    """How many times faster the candidate's median run is, with a 95 % interval.

    Percentile bootstrap over rounds, pairs kept together (Efron and Tibshirani, "An Introduction
    to the Bootstrap", 1993, chapter 13).

    Args:
        baseline_ms: (n,) samples; sample i in the same round as the candidate's.
        candidate_ms: (n,) samples.
        seed: of the resampling.
    """
    baseline, candidate = np.asarray(baseline_ms), np.asarray(candidate_ms)
    rounds = len(baseline)
    drawn = np.random.default_rng(seed).integers(rounds, size=(RESAMPLES, rounds))
    ratios = np.median(baseline[drawn], axis=1) / np.median(candidate[drawn], axis=1)
    low, high = np.percentile(ratios, (2.5, 97.5))
    return Interval(float(np.median(baseline) / np.median(candidate)), float(low), float(high))


def peak_memory_mib() -> float:
    """Largest resident memory of this process so far."""
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
