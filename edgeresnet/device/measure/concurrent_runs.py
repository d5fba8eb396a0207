"""Several runs of one model under way at once: what each takes, and what comes out in all."""

from __future__ import annotations

import time
from collections.abc import Callable
from concurrent.futures import ThreadPoolExecutor
from typing import TYPE_CHECKING, Any

import numpy as np

from edgeresnet.device.targets.protocol import QueuesRuns, RunsFromThreads, Session
from edgeresnet.errors import InputError

if TYPE_CHECKING:
    from numpy.typing import NDArray


def check_concurrency(session: Session, concurrency: int, target: str) -> None:
    """Refuse more than one run at once where the runtime's session takes one at a time.

    Raises:
        InputError: it does.
    """
    if concurrency > 1 and not isinstance(session, (QueuesRuns, RunsFromThreads)):
        raise InputError(
            f"--concurrency {concurrency}: a session of {target} runs one batch at a time here",
            "leave it out, or measure target openvino or onnx.",
        )


def run_at_once(
    session: Session, batch: NDArray[Any], concurrency: int, seconds: float
) -> tuple[NDArray[np.float64], float, str]:
    """Keep so many runs under way for a while.

    Args:
        session: opened, for so many runs.
        batch: what each run gets.
        concurrency: runs at once.
        seconds: to start new ones for.

    Returns:
        (n,) milliseconds of each run from its start to its end, by the order of their ends; the
        seconds from the first start to the last end; and ``async`` (the runtime's own queue) or
        ``sync`` (a thread each).
    """
    if isinstance(session, QueuesRuns):
        samples_ms, took_s = session.queue_runs(batch, concurrency, seconds)
        return np.array(samples_ms), took_s, "async"
    samples: list[float] = []
    begun = time.perf_counter()
    with ThreadPoolExecutor(concurrency) as pool:
        waiting = [
            pool.submit(_worker, lambda: session.run(batch), begun + seconds, samples)
            for _ in range(concurrency)
        ]
        for one in waiting:
            one.result()
    return np.array(samples), time.perf_counter() - begun, "sync"


def _worker(run: Callable[[], object], end_s: float, samples_ms: list[float]) -> None:
    while True:
        start = time.perf_counter()
        run()
        now = time.perf_counter()
        samples_ms.append((now - start) * 1e3)
        if now >= end_s:
            return
