"""What `adopt` tried and found, for a terminal of 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

TITLES = {
    "weights": "weights",
    "stem": "stem",
    "stride_in": "stride in",
    "size": "input px",
    "crop": "crop",
    "interpolation": "interpolation",
    "channels": "channels",
    "normalization": "normalization",
    "shape": "several",
    "classes": "class order",
}


def adoption_table(result: Mapping[str, Any]) -> Table:
    """A row for each option that was compared to the taken one, on the same images."""
    table = Table(
        title=f"What fits {result['n']} labelled images",
        title_justify="left",
        title_style="bold",
        box=None,
        pad_edge=False,
    )
    for name in ("setting", "option"):
        table.add_column(name, overflow="fold")
    for name in ("images", "top-1", "to the taken", "differ"):
        table.add_column(name, justify="right", no_wrap=True)
    table.add_column("", no_wrap=True)
    compared = {row["setting"] for row in result["rows"] if row["decision"] != "taken"}
    last = None
    for row in result["rows"]:
        if row["setting"] not in compared:
            continue
        setting = TITLES[row["setting"]] if row["setting"] != last else ""
        last = row["setting"]
        taken = row["decision"] == "taken"
        low, high = row["difference"]["low"], row["difference"]["high"]
        table.add_row(
            setting,
            str(row["option"]),
            str(row["n"]),
            f"{row['top1']:.4f}",
            "" if taken else f"{low:+.3f} to {high:+.3f}",
            "" if taken else f"{row['differing']:.3f}",
            {"not distinguished": "?", "worse": ""}.get(row["decision"], row["decision"]),
        )
    return table


def adoption_lines(result: Mapping[str, Any]) -> list[str]:
    """What was taken, and what the images do not say."""
    low, high = result["top1_interval"]
    lines = [
        f"top-1 {result['top1']:.4f} ({low:.4f} to {high:.4f}); {result['candidates']} ways of "
        f"training tried on {result['images_run']} images in {result['seconds']:.0f} s"
    ]
    for setting in dict.fromkeys(row["setting"] for row in result["not_distinguished"]):
        rows = [row for row in result["not_distinguished"] if row["setting"] == setting]
        others = ", ".join(f"{row['option']} ({row['differing']:.1%} differ)" for row in rows)
        taken = next(
            row["option"]
            for row in result["rows"]
            if row["setting"] == setting and row["decision"] == "taken"
        )
        lines.append(f"not distinguished: {TITLES[setting]} {taken} (taken) from {others}")
    return lines
