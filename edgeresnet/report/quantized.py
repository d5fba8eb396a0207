"""What quantizing cost, in a line."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def quantize_line(result: Mapping[str, Any], output: object) -> str:
    """What quantizing cost: of top-1, or without labels how often the answers are the same."""
    if result["top1_float"] is None:
        low, high = result["agreement_interval"]
        cost = (
            f"agreement with the float network {result['agreement']:.4f} ({low:.2f} to "
            f"{high:.2f}) on {result['images']} images without labels"
        )
    else:
        cost = (
            f"top-1 {result['top1_float']:.4f} -> {result['top1_int8']:.4f} "
            f"(agreement {result['agreement']:.4f})"
        )
    if cosine := result.get("cosine"):
        cost += (
            f"; by embeddings, cosine {cosine['mean']:.4f}, the smallest {cosine['smallest']:.4f}"
        )
    return f"{result['method']}: {cost}; {output}"


def rungs_table(result: Mapping[str, Any]) -> Table:
    """One row for each rung of the ladder that was tried, with the interval of what counts."""
    labelled = result["top1_float"] is not None
    table = Table(
        title="Rungs (* is the result)", title_justify="left", title_style="bold", box=None,
        pad_edge=False,
    )  # fmt: skip
    table.add_column("rung")
    for name in ["images", *(["top-1", "drop"] if labelled else []), "agreement", "s"]:
        table.add_column(name, justify="right")
    for row in result["rungs"]:
        agreement = f"{row['agreement']:.4f}"
        if labelled:
            least, most = row["drop_interval"]
            drop = f"{row['drop']:.4f} ({least:.4f} to {most:.4f})"
            figures = [f"{row['top1_int8']:.4f}", drop, agreement]
        else:
            low, high = row["agreement_interval"]
            figures = [f"{agreement} ({low:.4f} to {high:.4f})"]
        name = f"{row['method']} *" if row["method"] == result["method"] else row["method"]
        table.add_row(name, str(row["images"]), *figures, f"{row['seconds']:.1f}")
    return table
