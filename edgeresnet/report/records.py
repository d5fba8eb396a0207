"""Two records of ``profile`` as a table, and whether they are comparable."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from rich.table import Table

from edgeresnet.report.figures import DASH, figure, ratio_text


def records_table(result: Mapping[str, Any]) -> Table:
    """One row a batch size that both have."""
    title = f"Latency in ms · {result['records'][0]} and {result['records'][1]}"
    table = Table(title=title, title_justify="left", title_style="bold", box=None, pad_edge=False)
    for name in ("batch", "p50", "then", "p99", "then", "speed-up"):
        table.add_column(name, justify="right")
    for row in result["rows"]:
        cells = [figure(ms, 2) for key in ("p50_ms", "p99_ms") for ms in row[key]]
        ratio = DASH if row["speedup"] is None else ratio_text(row["speedup"])
        table.add_row(str(row["batch"]), *cells, ratio)
    return table


def records_lines(result: Mapping[str, Any]) -> list[str]:
    """Whether the ratio says anything, and what speaks against it."""
    notes = dict.fromkeys(row["speedup_note"] for row in result["rows"] if row["speedup_note"])
    models = {True: "the same model", False: "of two models", None: "models are not told"}
    if result["comparable"]:
        return [
            *notes,
            f"comparable: one machine, the same options ({models[result['same_model']]})",
        ]
    return [*notes, "not comparable:", *(f"  {reason}" for reason in result["reasons"])]
