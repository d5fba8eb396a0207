"""Which precision is the fastest, as a table and in words."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from edgeresnet.report.figures import DASH, ratio_text


def fastest_table(result: Mapping[str, Any]) -> Table:
    """One row a precision; of a float one how many times as fast INT8 is."""
    title = f"Latency in ms · {result['target']} · {result['device']} (* is the fastest)"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("precision")
    for name in ("p50", "p99", f"{result['int8']} against it"):
        table.add_column(name, justify="right")
    for row in result["precisions"]:
        ratio = row["int8_speedup"]
        table.add_row(
            f"{row['precision']} *" if row["fastest"] else row["precision"],
            f"{row['p50_ms']:.2f}",
            f"{row['p99_ms']:.2f}",
            _ratio(ratio),
        )
    return table


def fastest_line(result: Mapping[str, Any]) -> str:
    """Whether INT8 is faster, and what says so."""
    ratios = {row["precision"]: row["int8_speedup"] for row in result["precisions"]}
    name, place = result["int8"], f"on {result['target']}'s {result['device']}"
    if result["decision"] == "faster":
        told = ", ".join(f"{_ratio(r)} of {other}" for other, r in ratios.items() if r is not None)
        return f"{name} is the fastest {place}: {told}"
    other = result["advised"]
    # Results that a stranger wrote may advise what they do not have.
    ratio = _ratio(ratios.get(other))
    if result["decision"] == "slower":
        return f"{name} is not faster {place}: {other} is, of which it has {ratio}"
    return (
        f"{name} is not shown to be faster {place}: it has {ratio} of {other}, and the interval "
        "does not settle which is the faster"
    )


def _ratio(interval: Mapping[str, Any] | None) -> str:
    if interval is None:
        return DASH
    return ratio_text(interval)
