"""Where the time of a run goes, as a terminal table and lines."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from rich.table import Table

from edgeresnet.report.tables import table_of

MOST_SHOWN = 25


def layers_table(result: Mapping[str, Any]) -> Table:
    """The slowest layers first, and what all of them come to."""
    layers = result["layers"]
    shown = sorted(layers, key=lambda layer: -layer["time_ms"])[:MOST_SHOWN]
    title = f"Slowest {len(shown)} of {len(layers)} layers"
    if result.get("layers_run_ms"):
        title += f" · all: {result['layers_ms']:.2f} of {result['layers_run_ms']:.2f} ms"
    units = {layer["unit"] for layer in layers}
    columns = [
        ("layer", False), ("in", False), ("ms", True), ("%", True), ("MMACs", True),
        ("GMAC/s", True), ("of peak", True),
    ]  # fmt: skip
    table = table_of(title if len(units) > 1 else f"{title} · {''.join(units)}", columns)
    table.collapse_padding = True  # leaves the names 6 characters more
    for layer in shown:
        where = layer["precision"] if len(units) == 1 else f"{layer['precision']} {layer['unit']}"
        macs, rate, peak = (layer.get(key) for key in ("macs", "gmacs_per_s", "peak_share"))
        table.add_row(
            layer["name"],
            where,
            f"{layer['time_ms']:.3f}",
            f"{100 * layer['share']:.1f}",
            "–" if macs is None else f"{macs / 1e6:.1f}",
            "–" if rate is None else f"{rate:.1f}",
            "–" if peak is None else f"{100 * peak:.0f} %",
        )
    return table


def why_slow_lines(losses: Sequence[Mapping[str, Any]]) -> list[Any]:
    """What each departure from the ideal graph costs, and below it what wins it back."""
    if not losses:
        return ["nothing is lost to the graph: each layer is fused, aligned and in its precision"]
    total = sum(loss["lost_ms"] for loss in losses)
    columns = [("ms", True), ("what", False), ("layer", False), ("why", False)]
    table = table_of(f"Lost to the graph: {total:.2f} ms of a run", columns)
    for loss in losses:
        table.add_row(f"{loss['lost_ms']:.3f}", loss["kind"], loss["layer"], loss["why"])
    kinds: dict[str, list[str]] = {}
    for loss in losses:
        if loss["kind"] not in kinds.setdefault(loss["command"], []):
            kinds[loss["command"]].append(loss["kind"])
    return [table, *(f"{', '.join(names)}: {command}" for command, names in kinds.items())]
