"""What quantizing each layer costs, as a terminal table with bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.bar import Bar
from rich.table import Table

# With the longest names this fills 80 columns.
WIDTH = 6


def sensitivity_table(result: Mapping[str, Any]) -> Table:
    """One row a layer, the most sensitive first; its bar is its divergence among the others'."""
    labelled = result["top1_float"] is not None
    cost = "top-1" if labelled else "agree"
    table = Table(
        title="Quantized: only the layer, and all but it",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    table.add_column("layer", no_wrap=True)
    for name in ("SQNR dB", "KL only"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", width=WIDTH)
    for name in (f"{cost} only", "KL rest", f"{cost} rest"):
        table.add_column(name, justify="right", no_wrap=True)
    largest = max((row["kl_only"] for row in result["layers"]), default=0.0) or 1.0
    for row in result["layers"]:
        sqnr = row["sqnr_db"]
        table.add_row(
            row["name"],
            "–" if sqnr is None else f"{sqnr:.1f}",
            f"{row['kl_only']:.1e}",
            Bar(largest, 0, row["kl_only"], width=WIDTH),
            _cost(row, "only"),
            f"{row['kl_rest']:.1e}",
            _cost(row, "rest"),
        )
    return table


def sensitivity_line(result: Mapping[str, Any]) -> str:
    """What all layers cost together."""
    weights = f"{result['weight_bits']}-bit weights"
    calibrated = result["calibration_images"]
    how = weights if calibrated is None else f"{weights}, calibrated on {calibrated} images"
    change = result["top1_change"]
    lost = f"agreement {result['agreement']:.4f}"
    if change is not None:
        lost = f"top-1 {result['top1_float']:.4f} {change:+.4f}, {lost}"
    return f"all layers ({how}): KL {result['kl']:.2g}, {lost}, on {result['images']} images"


def _cost(row: Mapping[str, Any], which: str) -> str:
    change = row[f"top1_change_{which}"]
    return f"{row[f'agreement_{which}']:.4f}" if change is None else f"{change:+.4f}"
