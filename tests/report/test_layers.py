"""Layers and losses as a terminal shows them, in 80 columns."""

from __future__ import annotations

import io
from typing import Any

from rich.console import Console

from edgeresnet.report.layers import layers_table, why_slow_lines

LONGEST = "layout change before layer4.0.downsample.0"


def shown(*things: Any) -> str:
    console = Console(width=80, record=True, file=io.StringIO())
    for thing in things:
        console.print(thing)
    return console.export_text()


def row(name: str, time_ms: float, **facts: Any) -> dict[str, Any]:
    return {
        "name": name, "op": "Conv", "precision": "int8", "unit": "cpu", "time_ms": time_ms,
        "share": time_ms / 4, "macs": None, "gmacs_per_s": None, "peak_share": None, **facts,
    }  # fmt: skip


def test_layers_table_shows_the_slowest_first_with_work_and_rate() -> None:
    layers = [
        row(LONGEST, 1.0),
        row("conv1 + relu", 3.0, macs=10**7, gmacs_per_s=3.3, peak_share=0.5),
    ]
    text = shown(layers_table({"layers": layers, "layers_ms": 4.0, "layers_run_ms": 4.25}))
    assert text.index("conv1 + relu") < text.index("layer4.0.downsample.0")
    assert "all: 4.00 of 4.25 ms" in text
    assert "10.0    3.3    50 %" in text
    assert max(map(len, text.splitlines())) <= 80


def test_why_slow_lines_give_each_command_once_and_say_so_when_nothing_is_lost() -> None:
    loss = {
        "kind": "unfused add",
        "layer": "layer1.0.add",
        "why": "x",
        "lost_ms": 0.5,
        "command": "c",
    }
    text = shown(*why_slow_lines([loss, {**loss, "layer": "layer2.0.add"}]))
    assert "Lost to the graph: 1.00 ms" in text
    assert text.count("unfused add: c") == 1
    assert "nothing is lost" in shown(*why_slow_lines([]))
