"""What quantizing each layer costs, as a terminal table with bars."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.bar import Bar
from rich.table import Table


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
    # With the longest names these fill 80 columns.
    only, rest, width = ("KL only", "KL rest", 6)
    if any(row["kl_only"] is None for row in result["layers"]):
        only, rest, width = ("1-cos", "1-cos rest", 3)
    for name in ("SQNR dB", only):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", width=width)
    for name in (f"{cost} only", rest, f"{cost} rest"):
        table.add_column(name, justify="right", no_wrap=True)
    largest = max((_distance(row, "only") for row in result["layers"]), default=0.0) or 1.0
    for row in result["layers"]:
        sqnr = row["sqnr_db"]
        table.add_row(
            row["name"],
            "–" if sqnr is None else f"{sqnr:.1f}",
            f"{_distance(row, 'only'):.1e}",
            Bar(largest, 0, _distance(row, "only"), width=width),
            _cost(row, "only"),
            f"{_distance(row, 'rest'):.1e}",
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
    kl = result["kl"]
    far = f"cosine {result['cosine']:.4f}" if kl is None else f"KL {kl:.2g}"
    return f"all layers ({how}): {far}, {lost}, on {result['images']} images"


def _distance(row: Mapping[str, Any], which: str) -> float:
    """How far from the float network: divergence, of embeddings one minus the cosine."""
    kl = row[f"kl_{which}"]
    return float(1 - row[f"cosine_{which}"] if kl is None else kl)


def _cost(row: Mapping[str, Any], which: str) -> str:
    change = row[f"top1_change_{which}"]
    return f"{row[f'agreement_{which}']:.4f}" if change is None else f"{change:+.4f}"
