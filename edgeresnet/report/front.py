"""Several depths of a network side by side, as a table that fits 80 columns."""

from __future__ import annotations

from collections.abc import Iterator, Mapping
from typing import Any

from rich.table import Table

from edgeresnet.report.figures import DASH, figure


def front_table(front: Mapping[str, Any]) -> Table:
    """One row a network and precision; a star marks what nothing else beats at both."""
    title = "Depth against cost (* nothing has less of it at the same top-1 or a higher one)"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    table.add_column("network", overflow="fold")
    for name in ("top-1", "95 % interval", "lost", "p50 ms", "MB", "mJ"):
        table.add_column(name, justify="right", no_wrap=True)
    for point in front["points"]:
        table.add_row(point["name"], *point_figures(point))
    return table


def point_figures(point: Mapping[str, Any]) -> list[str]:
    """Top-1, its interval, what INT8 lost, and each cost, with a star where it is the best."""
    interval = point["top1_interval"]
    costs = (("latency", "p50_ms", 2), ("size", "megabytes", 1), ("energy", "energy_mj", 2))
    return [
        figure(point["top1"], 4),
        DASH if interval is None else f"{interval[0]:.4f}-{interval[1]:.4f}",
        figure(point["drop"], 4),
        *(f"{figure(point[key], n)}{'*' * (name in point['best_at'])}" for name, key, n in costs),
    ]


def front_lines(front: Mapping[str, Any]) -> Iterator[str]:
    """Where the energy is from, and what was not made."""
    yield f"energy: {front['energy']}"
    for one in front["unfinished"]:
        yield f"not in the comparison: {one['arch']}, {one['why']}; repeat the command to go on"
