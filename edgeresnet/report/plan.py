"""What a run would do, as a table that fits 80 columns."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table


def plan_lines(plan: Mapping[str, Any]) -> list[str]:
    """What the run is about."""
    classes = "without labels" if plan["classes"] is None else f"{plan['classes']} classes"
    return [
        f"{plan['arch']} at {plan['image_size']} px on {plan['data']}: {classes}, "
        f"{plan['train_images']:,} training and {plan['val_images']:,} validation images",
        *(f"{name}: not measured here ({why})" for name, why in plan["elsewhere"].items()),
    ]


def plan_table(plan: Mapping[str, Any]) -> Table:
    """One row a stage."""
    table = Table(
        title=f"What a run of {plan['recipe']} would do", title_justify="left", title_style="bold",
        box=None, pad_edge=False,
    )  # fmt: skip
    for name in ("stage", "what it does"):
        table.add_column(name, overflow="fold")
    for name in ("images", "steps", "memory"):
        table.add_column(name, justify="right", no_wrap=True)
    for stage in plan["stages"]:
        taken = stage["memory_bytes"]
        name, _, bundle = stage["stage"].partition("/")
        table.add_row(
            name,
            f"{bundle}: {stage['what']}" if bundle else stage["what"],
            f"{stage['images']:,}" if stage["images"] else "",
            "" if stage["steps"] is None else f"{stage['steps']:,}",
            "" if taken is None else f"{taken / 2**20:,.0f} MiB",
        )
    return table
