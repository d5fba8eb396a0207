"""What the figures of a comparison say of each other: no image and no model is needed for that."""

from __future__ import annotations

import math
from collections.abc import Iterator, Mapping, Sequence
from typing import Any

import numpy as np

from edgeresnet.device.measure.budgets import check_time_budgets, verdict_of
from edgeresnet.device.measure.statistics import wilson
from edgeresnet.settings.measuring import Budgets

# Of figures that were computed from each other in float64, written and read.
CLOSE = 1e-6
PERCENTILES = ("p50_ms", "p90_ms", "p95_ms", "p99_ms")
OF_TIME = ("max_p99_ms", "min_speedup")


def answer_faults(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> list[str]:
    """What of a row's figures of accuracy cannot be at once.

    Args:
        row: of ``rows`` of a comparison.
        baseline: its first row.
    """
    return [*_top1(row, baseline), *_same(row)]


def _top1(row: Mapping[str, Any], baseline: Mapping[str, Any]) -> Iterator[str]:
    n, top1 = row["n"], row["top1"]
    if n < 1:
        yield f"{n} images are none"
        return
    if top1 is None:
        return
    right = _count(top1, n)
    if right is None:
        yield f"top-1 {top1:.6g} is no share of {n} images"
        return
    low, high = wilson(right, n)
    if row["top1_interval"] and not _close(row["top1_interval"], (low, high)):
        yield f"top1_interval of {right} of {n} images is {low:.4f} to {high:.4f}, not {_pair(row)}"
    if row["top5"] < top1 - CLOSE or _count(row["top5"], n) is None:
        yield f"top-5 {row['top5']:.6g} cannot be beside top-1 {top1:.6g} of {n} images"
    difference, before = row["top1_difference"], baseline["top1"]
    if difference is None or before is None:
        return
    value = difference["value"]
    if not _close((value,), (top1 - before,)):
        yield f"top-1 is {top1 - before:+.4f} from the baseline's, and {value:+.4f} is told"
    lost, gained = row.get("lost"), row.get("gained")
    if lost is not None and gained is not None and not _close((value,), ((gained - lost) / n,)):
        yield f"{lost} images lost and {gained} gained of {n} are no difference of {value:+.4f}"
    if not difference["low"] - CLOSE <= value <= difference["high"] + CLOSE:
        yield f"top1_difference {value:+.4f} lies outside of its interval"


def _same(row: Mapping[str, Any]) -> Iterator[str]:
    n, same = max(1, row["n"]), row["agreement"]
    kept = _count(same, n)
    if kept is None:
        yield f"agreement {same:.6g} is no share of {n} images"
    elif n - kept < (row.get("lost") or 0) + (row.get("gained") or 0):
        yield f"{row['lost']} images lost and {row['gained']} gained, and only {n - kept} differ"


def time_faults(row: Mapping[str, Any], rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What of a row's times cannot be at once.

    Args:
        row: of ``rows`` of a comparison.
        rows: all of them.
    """
    if row["p50_ms"] is None:
        return []
    if row["p50_ms"] <= 0:
        return [f"p50 is {row['p50_ms']:g} ms"]
    faults = [*_percentiles(row), *_samples(row)]
    reference = next((one for one in rows if one["name"] == row["speedup_against"]), None)
    faster = row["speedup"]
    if reference is None:
        faults.append(f"speedup_against names {row['speedup_against']}, which is no row")
    elif faster is not None and reference["p50_ms"] is not None:
        value = reference["p50_ms"] / row["p50_ms"]
        if not _close((faster["value"],), (value,)):
            faults.append(
                f"speed-up is {faster['value']:.3g}, and the medians' ratio is {value:.3g}"
            )
    return faults


def _percentiles(row: Mapping[str, Any]) -> Iterator[str]:
    told = [float(row[key]) for key in PERCENTILES if row.get(key) is not None]
    if sorted(told) != told or told[0] <= 0:
        yield f"the percentiles do not rise: {', '.join(f'{value:.3g}' for value in told)} ms"
    mean, rate, batch = (row.get(key) for key in ("mean_ms", "throughput_ips", "batch"))
    if mean and rate and batch and not _close((rate,), (batch / mean * 1e3,)):
        yield f"{rate:.4g} images per second are not those of a mean of {mean:.4g} ms"
    interval = row.get("p99_interval_ms")
    if interval and not interval[0] - CLOSE <= row["p99_ms"] <= interval[1] + CLOSE:
        yield f"p99 {row['p99_ms']:.3g} ms lies outside of its interval"


def _samples(row: Mapping[str, Any]) -> Iterator[str]:
    """Where the raw samples are kept, the figures are theirs."""
    samples = row.get("samples_ms")
    if not samples:
        return
    for key in PERCENTILES:
        own = float(np.percentile(samples, int(key[1:3])))
        if row.get(key) is not None and not math.isclose(own, row[key], rel_tol=1e-3):
            yield f"{key} is {row[key]:.4g}, and that of the raw samples {own:.4g}"


def verdict_faults(results: Mapping[str, Any], *, same_version: bool) -> list[str]:
    """Where budgets of time and the verdict do not follow from the rows.

    Args:
        results: of a comparison.
        same_version: of edgeresnet, so that sentences are made alike.
    """
    told = results["budgets"]
    if not results["rows"]:
        return []
    limits = {b["name"]: b["limit"] for b in told if b["name"] in OF_TIME}
    found = {b["name"]: b for b in check_time_budgets(results["rows"], Budgets(**limits))}
    faults = []
    for budget in told:
        if (own := found.get(budget["name"])) is None:
            continue
        pairs: Mapping[str, tuple[object, object]] = {
            "value": (budget["value"], own["value"]),
            "met": (budget["met"], own["met"]),
            "decision": (budget["decision"], own["decision"]),
            "candidate": (budget["candidate"], own["candidate"]),
        }
        faults += [
            f"{budget['name']} has {key} {one}, and by the rows {other}"
            for key, (one, other) in pairs.items()
            if not _alike(other, one)
        ]
    doubts, strict = results.get("doubts", ()), results["strict"]
    anew = verdict_of(told, strict=strict, doubts=doubts, rows=results["rows"])
    keys = ("verdict", "verdict_text") if same_version else ("verdict",)
    return faults + [
        f"{key} is {results[key]!r}, and by the budgets {anew[key]!r}"
        for key in keys
        if anew[key] != results[key]
    ]


def _alike(one: object, other: object) -> bool:
    if isinstance(one, float) and isinstance(other, (int, float)):
        return _close((one,), (other,))
    return one == other


def _count(share: float, n: int) -> int | None:
    """How many of ``n`` images a share is; None: of no whole number."""
    count = round(share * n)
    return count if abs(share * n - count) <= 1e-4 and 0 <= count <= n else None


def _close(told: Sequence[float], own: Sequence[float]) -> bool:
    return all(
        math.isclose(a, b, rel_tol=CLOSE, abs_tol=CLOSE) for a, b in zip(told, own, strict=True)
    )


def _pair(row: Mapping[str, Any]) -> str:
    return f"{row['top1_interval'][0]:.4f} to {row['top1_interval'][1]:.4f}"
