"""Intervals of latency, outliers, and what speaks against a measurement, in lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeresnet.report.figures import DASH, row_name

PERCENTILES = (50, 90, 95, 99)


def interval_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The 95 % intervals of each row's percentiles, and why one is missing."""
    lines = []
    for row in rows:
        if "p50_interval_ms" not in row:
            continue
        spans = [f"p{q} {_span(row[f'p{q}_interval_ms'])}" for q in PERCENTILES]
        lines.append(f"{row_name(row)}, 95 % intervals: {', '.join(spans)}")
        if row.get("interval_note"):
            lines.append(f"  {row['interval_note']}")
    return lines


def outlier_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What runs lie far above all others, where the rows say so."""
    return [
        f"{row_name(row)}: {finding['cause']}"
        for row in rows
        for finding in (row.get("stability") or {}).get("findings", ())
        if finding["word"] in ("spikes", "unjudged")
    ]


def warning_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Each warning once: with the rows' names, where it is not of all of them."""
    named: dict[str, list[str]] = {}
    for row in rows:
        for text in row.get("warnings", ()):
            named.setdefault(text, []).append(row_name(row))
    return [
        f"warning: {text}"
        if len(names) == len(rows)
        else f"warning: {', '.join(dict.fromkeys(names))}: {text}"
        for text, names in named.items()
    ]


def note_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why a speed-up has no interval, of each candidate."""
    return [f"{row['name']}: {row['speedup_note']}" for row in rows[1:] if row.get("speedup_note")]


def _span(interval: Sequence[float] | None) -> str:
    return DASH if interval is None else f"{interval[0]:.2f}-{interval[1]:.2f}"


def no_energy_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """Why there are no figures of energy, where that is no warning already."""
    reasons = dict.fromkeys(
        row["energy"]["reason"]
        for row in rows
        if row.get("energy") and row["energy"]["reason"] not in (None, *row["warnings"])
    )
    return [f"energy: {reason}" for reason in reasons]


def idle_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """The first run after a pause, which a device sees that is asked now and then."""
    told = [f"{row_name(row)} {row['after_idle_ms']:.2f}" for row in rows if "after_idle_ms" in row]
    return [f"first run after a pause, in ms: {', '.join(told)}"] if told else []


def preset_lines(rows: Sequence[Mapping[str, Any]]) -> list[str]:
    """What MLPerf's scenarios report: p90 of a single stream, and throughput offline."""
    return [
        f"{row_name(row)}, single stream: p90 {row['p90_ms']:.2f} ms "
        f"({_span(row['p90_interval_ms'])}) of {row['n']:,} runs; offline: "
        f"{row['offline']['throughput_ips']:.1f} img/s at batch {row['offline']['batch']}"
        for row in rows
        if "offline" in row
    ]
