"""Bars of layers on a run's page: before and after, and what quantizing each alone costs."""

from __future__ import annotations

from typing import Any
from xml.etree import ElementTree

import pytest

from edgeresnet.report.figures import DASH
from edgeresnet.report.page.bars import MOST_BARS, layer_charts, sensitivity_chart, times
from edgeresnet.report.page.page import page
from tests.report.results import results, row, rung

STRANGE = "</svg><script>alert(1)</script>$x^2$ \x1b[31m"


def layer(name: str, time_ms: float, *, added: bool = False) -> dict[str, Any]:
    """A kernel as `profile --layers` tells it."""
    return {
        "name": name, "op": "Conv", "precision": "int8", "unit": "CPU", "time_ms": time_ms,
        "share": 0.1, "macs": None, "gmacs_per_s": None, "peak_share": None,
        "nodes": [] if added else name.split(" + "), "kernel": name,
    }  # fmt: skip


BEFORE = [layer("conv1 + relu", 2.0), layer("layer1.0.conv1 + relu", 1.0), layer("fc", 0.5)]
AFTER = [
    layer("quantize before conv1", 0.1, added=True), layer("conv1", 0.75),
    layer("layer1.0.conv2", 0.125), layer("layout change before fc", 0.2, added=True),
    layer("fc + add", 0.25),
]  # fmt: skip


def drawn(svg: str) -> str:
    """The words of a chart."""
    return " ".join(text.strip() for text in ElementTree.fromstring(svg).itertext())  # noqa: S314 (drawn here)


def test_each_layer_stands_beside_itself_before() -> None:
    rows = [row("onnx-fp32", 2.0, layers=BEFORE), row("onnx-int8", 1.0, layers=AFTER)]
    (chart,) = layer_charts(rows)
    assert chart["title"] == "Where the time goes: onnx-int8, before onnx-fp32"
    assert chart["rows"] == [
        ["conv1", "2.0000", "0.7500"], ["layer1.0.conv2", DASH, "0.1250"],
        ["layer1.0.conv1", "1.0000", DASH], ["fc", "0.5000", "0.2500"],
        ["added by the runtime", DASH, "0.3000"],
    ]  # fmt: skip
    for name, *_ in chart["rows"]:
        assert name in drawn(chart["svg"])
    assert "Where the time goes" in page(results(rows=rows))


def test_blocks_share_a_bar_where_layers_are_many() -> None:
    many = [layer(f"layer1.{k}.conv{i}", 1.0) for k in range(MOST_BARS) for i in (1, 2, 3)]
    rows = [row("onnx-fp32", 2.0, layers=many), row("onnx-int8", 1.0, layers=many)]
    (chart,) = layer_charts(rows)
    assert len(chart["rows"]) == 3 * MOST_BARS
    seen = drawn(chart["svg"])
    assert "layer1.7" in seen
    assert "conv2" not in seen


def test_no_bars_without_a_before() -> None:
    assert not [*layer_charts([row("onnx-fp32", 2.0), row("onnx-int8", 1.0, layers=AFTER)])]
    assert not [*layer_charts([row("onnx-fp32", 2.0, layers=BEFORE)])]


@pytest.mark.parametrize("value", [1e300, -1.0, 0.0])
def test_times_that_cannot_be_are_no_bars(value: float) -> None:
    assert times([layer("conv1", value)]) in ({}, {"conv1": 0.0})
    rows = [row("onnx-fp32", 2.0, layers=BEFORE), row("b", 1.0, layers=[layer("conv1", value)])]
    assert [*layer_charts(rows)]


def test_the_last_sensitivities_are_drawn_the_worst_first() -> None:
    rungs = [
        {**rung("mixed", 0.1), "sensitivities": {"conv1": 1.0}},
        {**rung("mixed", 0.1), "sensitivities": {"fc": 1e-4, "layer1.0.conv1": 0.25}},
        rung("qat", 0.0),
    ]
    chart = sensitivity_chart(rungs)
    assert chart is not None
    assert chart["rows"] == [["layer1.0.conv1", "0.25"], ["fc", "0.0001"]]
    assert "fc" in drawn(chart["svg"])
    assert "What quantizing each layer costs" in page(results(rungs=rungs))
    assert sensitivity_chart([rung("ptq", 0.1)]) is None
    assert sensitivity_chart([{**rung("mixed", 0.1), "sensitivities": {"fc": 0.0}}]) is None


def test_names_of_strangers_are_words() -> None:
    layers = [layer(STRANGE, 1.0)]
    told = results(
        rows=[row("onnx-fp32", 2.0, layers=layers), row(STRANGE, 1.0, layers=layers)],
        rungs=[{**rung("mixed", 0.1), "sensitivities": {STRANGE: 0.5}}, rung("qat", 0.1)],
    )
    html = page(told)
    assert "<script" not in html
    assert "\x1b" not in html
