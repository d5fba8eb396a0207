"""How long a session takes: one timing loop for every runtime."""

from __future__ import annotations

import re
import sys
import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from dataclasses import dataclass
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.machine.board import ROOT, read_text
from edgeresnet.device.machine.cpu import usable_cores
from edgeresnet.device.measure.percentiles import TOLD, Percentile, interval_note, percentile
from edgeresnet.device.session import time_ms

if TYPE_CHECKING:
    from numpy.typing import NDArray

    from edgeresnet.device.targets.protocol import Session

MIN_WARMUP_RUNS, WINDOW = 5, 5
STABLE_WITHIN = 0.05
MOST_WARMUP_S = 15.0
COLD_RUNS = 20
IDLE_PAUSES, IDLE_S = 3, 0.4
# Read and written, more than the last-level cache of any processor that a ResNet is likely to meet
# at the edge; and for one core, more than a second-level cache.
COPIED_MIB, LEAST_MIB = 64, 4
# Of recorded samples in ms: to 10 ns.
DIGITS = 5


@dataclass(frozen=True, eq=False)
class Latency:
    """Raw samples, nothing clipped, and what they say.

    Attributes:
        samples_ms: (n,) one run each, in order.
        batch: inputs in a run.
        warmup_runs: runs before the first sample.
        peak_memory_mib: of the process that ran the model, so far; None on Windows.
        block_runs: neighbouring samples that were taken in one turn; ``n`` is a multiple of it.
        cold_ms: (m,) runs each of which found the processor's caches full of something else; None
            where that was not measured.
    """

    samples_ms: NDArray[np.float64]
    batch: int
    warmup_runs: int
    peak_memory_mib: float | None
    block_runs: int = 1
    cold_ms: NDArray[np.float64] | None = None

    def percentile_ms(self, q: float) -> float:
        """The q-th percentile, 0 to 100."""
        return float(np.percentile(self.samples_ms, q))

    def percentiles(self) -> dict[int, Percentile]:
        """Those that are told, each with its interval."""
        return {q: percentile(self.samples_ms, q) for q in TOLD}

    def to_dict(self) -> dict[str, Any]:
        """The figures of the JSON contract."""
        mean = float(self.samples_ms.mean())
        cold, told = self.cold_ms, self.percentiles()
        return {
            "batch": self.batch,
            **{f"p{q}_ms": one.value_ms for q, one in told.items()},
            **{f"p{q}_interval_ms": one.interval_ms for q, one in told.items()},
            "effective_runs": {f"p{q}": round(one.effective, 1) for q, one in told.items()},
            "interval_note": interval_note(told, len(self.samples_ms)),
            "mean_ms": mean,
            "std_ms": float(self.samples_ms.std(ddof=1)) if len(self.samples_ms) > 1 else 0.0,
            "throughput_ips": self.batch / mean * 1e3,
            "n": len(self.samples_ms),
            "warmup_runs": self.warmup_runs,
            "cold_p50_ms": None if cold is None else float(np.median(cold)),
            "peak_memory_mib": self.peak_memory_mib,
            "block_runs": self.block_runs,
            "samples_ms": [round(ms, DIGITS) for ms in self.samples_ms.tolist()],
        }


def warm_up(run: Callable[[], object], max_seconds: float = 10.0) -> list[float]:
    """Run until two windows in a row have the same median, or time is up.

    Returns:
        Milliseconds of each run.
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
    return samples


def measure(
    session: Session,
    batch: NDArray[Any],
    *,
    min_runs: int = 50,
    min_seconds: float = 2.0,
    max_seconds: float = 60.0,
    cold_runs: int = 0,
    on_run: Callable[[], object] | None = None,
) -> Latency:
    """Time a session on one batch.

    Args:
        session: opened; the caller closes it.
        batch: what `Session.run` takes; made before, so preprocessing is not in the time.
        min_runs: samples to take at least, time permitting.
        min_seconds: go on sampling for so long.
        max_seconds: stop then, whatever was reached (but after one sample).
        cold_runs: further runs, each with cold caches; see `cold_ms`.
        on_run: called between samples, for progress.
    """

    def run() -> object:
        return session.run(batch)

    warm = warm_up(run, min(MOST_WARMUP_S, max_seconds / 4))
    samples: list[float] = []
    start = time.perf_counter()
    while True:
        samples.append(time_ms(run))
        if on_run is not None:
            on_run()
        elapsed = time.perf_counter() - start
        if elapsed >= max_seconds or (len(samples) >= min_runs and elapsed >= min_seconds):
            break
    # Before the caches are emptied, which takes memory that is not the model's.
    memory = peak_memory_mib()
    cold = cold_ms(run, cold_runs) if cold_runs else None
    return Latency(np.array(samples), len(batch), len(warm), memory, cold_ms=cold)


def cold_ms(run: Callable[[], object], runs: int) -> NDArray[np.float64]:
    """(runs,) milliseconds of calls that find the caches full of something else.

    That is what a device sees that does other work between two images. Before each call every core
    copies its part of `COPIED_MIB`, and enough to fill what caches it has for itself.
    """
    cores = usable_cores()
    size = max(COPIED_MIB // cores, LEAST_MIB) * 2**20
    buffers = [(np.ones(size, np.uint8), np.zeros(size, np.uint8)) for _ in range(cores)]
    samples = []
    with ThreadPoolExecutor(cores) as pool:
        for _ in range(runs):
            list(pool.map(lambda pair: np.copyto(pair[1], pair[0]), buffers))
            samples.append(time_ms(run))
    return np.array(samples)


def after_idle_ms(run: Callable[[], object]) -> float:
    """Milliseconds of the first run after a pause, the median of a few: clocks and threads sleep.

    That is what a device sees that is asked now and then.
    """
    samples = []
    for _ in range(IDLE_PAUSES):
        time.sleep(IDLE_S)
        samples.append(time_ms(run))
    return float(np.median(samples))


def peak_memory_mib() -> float | None:
    """Largest resident memory of this process so far; None on Windows."""
    # Linux hands ru_maxrss down from the process that started this one, which may be a training.
    status = read_text(ROOT / "proc/self/status")
    if found := re.search(r"^VmHWM:\s*(\d+) kB", status, re.M):
        return int(found[1]) / 2**10
    try:
        import resource
    except ImportError:
        return None
    peak = resource.getrusage(resource.RUSAGE_SELF).ru_maxrss
    return peak / (2**20 if sys.platform == "darwin" else 2**10)
