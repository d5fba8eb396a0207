"""How long a model is profiled, and in which ways: presets and sweeps."""

from __future__ import annotations

import time
from collections.abc import Mapping, Sequence
from dataclasses import dataclass, replace
from itertools import product
from typing import TYPE_CHECKING, Any

from edgeresnet.device.measure.concurrent_runs import run_at_once
from edgeresnet.device.measure.latency import (
    COLD_RUNS,
    Latency,
    after_idle_ms,
    measure,
    peak_memory_mib,
    warm_up,
)
from edgeresnet.device.session import Opened
from edgeresnet.device.targets.noise import noise
from edgeresnet.errors import InputError
from edgeresnet.results.stability import OfflineResults
from edgeresnet.settings.measuring import PresetName, ProfileSettings, RunOptions

if TYPE_CHECKING:
    from numpy.typing import NDArray

MOST_THREADS, MOST_CONCURRENCY = 4096, 1024
OFFLINE_BATCH = 32


@dataclass(frozen=True)
class Duration:
    """How long one row is measured: runs and seconds at least, seconds at most."""

    runs: int
    seconds: float
    most_seconds: float


# MLPerf Inference's rules ask of a single stream 60 s and 1024 queries at least, and report p90.
DURATIONS: dict[PresetName, Duration] = {
    "quick": Duration(30, 0.5, 20.0),
    "default": Duration(50, 2.0, 60.0),
    "mlperf": Duration(1024, 60.0, 1800.0),
}


def swept(
    options: RunOptions, batches: Sequence[int] | None, how: ProfileSettings
) -> list[RunOptions]:
    """The options of each row: every batch size with every number of threads and of runs at once.

    Raises:
        InputError: what is to be swept over is no list of numbers, or threads are given twice.
    """
    if how.sweep_threads is not None and options.threads is not None:
        raise InputError(
            "--threads and --sweep-threads say two things", "give one of them, as 1,2,4."
        )
    sizes: list[int | None] = [*batches] if batches else [None]
    threads: list[int | None] = [options.threads]
    if how.sweep_threads is not None:
        threads = [*numbers("--sweep-threads", how.sweep_threads, MOST_THREADS)]
    at_once = numbers("--concurrency", how.concurrency, MOST_CONCURRENCY) or [options.concurrency]
    return [
        replace(options, batch=batch, threads=own, concurrency=concurrency)
        for batch, own, concurrency in product(sizes, threads, at_once)
    ]


def labels(runs: Sequence[RunOptions], rows: Sequence[Mapping[str, Any]]) -> list[dict[str, str]]:
    """For each row its ``label``, where rows differ in more than the batch size."""
    threads, at_once = ({getattr(run, key) for run in runs} for key in ("threads", "concurrency"))
    told = []
    for run, row in zip(runs, rows, strict=True):
        parts = [f"batch {row['batch']}"]
        parts += [f"{run.threads} threads"] if len(threads) > 1 else []
        parts += [f"{run.concurrency} at once"] if at_once != {1} else []
        told.append({"label": ", ".join(parts)} if len(parts) > 1 else {})
    return told


def numbers(option: str, text: str | None, most: int) -> list[int]:
    """``1,2,4`` as numbers; none where the option was not given.

    Raises:
        InputError: it is something else, or a number is not from 1 to ``most``.
    """
    if text is None:
        return []
    parts = [part.strip() for part in text.split(",")]
    fine = all(part.isascii() and part.isdigit() and len(part) < 9 for part in parts)
    if not fine or not all(1 <= int(part) <= most for part in parts):
        raise InputError(
            f"{option} {text} is no list of numbers from 1 to {most}", f"give it as {option} 1,2,4."
        )
    return list(dict.fromkeys(int(part) for part in parts))


def timed(
    opened: Opened, images: NDArray[Any], options: RunOptions, preset: PresetName
) -> tuple[Latency, dict[str, Any]]:
    """Times of one row, and what its preset adds to its figures.

    Args:
        opened: the model.
        images: one batch.
        options: how it runs.
        preset: how long.
    """
    lasting = DURATIONS[preset]
    if options.concurrency > 1:
        return _at_once(opened, images, options.concurrency, lasting)
    # The processor's caches say nothing about another device.
    latency = measure(
        opened.session, images, min_runs=lasting.runs, min_seconds=lasting.seconds,
        max_seconds=lasting.most_seconds, cold_runs=COLD_RUNS if opened.device == "cpu" else 0,
    )  # fmt: skip
    figures: dict[str, Any] = {
        "preset": preset,
        "concurrency": 1,
        "after_idle_ms": after_idle_ms(lambda: opened.session.run(images)),
    }
    if preset == "mlperf":
        figures["offline"] = offline(opened, lasting.seconds)
    return latency, figures


def offline(opened: Opened, seconds: float) -> OfflineResults:
    """Throughput of batches back to back, at `OFFLINE_BATCH` or what the model takes of it."""
    smallest, largest = opened.session.batch_sizes
    batch = max(smallest, min(OFFLINE_BATCH, largest))
    images = noise(opened.session, batch, pixels=opened.embed_preprocess)
    warm_up(lambda: opened.session.run(images), seconds / 4)
    runs, begun = 0, time.perf_counter()
    while (took := time.perf_counter() - begun) < seconds or not runs:
        opened.session.run(images)
        runs += 1
    return OfflineResults(batch=batch, runs=runs, seconds=took, throughput_ips=runs * batch / took)


def _at_once(
    opened: Opened, images: NDArray[Any], concurrency: int, lasting: Duration
) -> tuple[Latency, dict[str, Any]]:
    warm = warm_up(lambda: opened.session.run(images), lasting.most_seconds / 4)
    # The queue's own requests, or the threads, have their first runs now.
    run_at_once(opened.session, images, concurrency, min(0.2, lasting.seconds))
    samples_ms, took_s, kind = run_at_once(opened.session, images, concurrency, lasting.seconds)
    latency = Latency(samples_ms, len(images), len(warm), peak_memory_mib())
    throughput_ips = len(samples_ms) * len(images) / took_s
    return latency, {
        "concurrency": concurrency,
        "concurrency_kind": kind,
        # Of all runs together: a run's own time is no measure of it here.
        "throughput_ips": throughput_ips,
    }
