"""The share of the peak and what keeps from it, on planted times."""

from __future__ import annotations

import pytest

from edgeresnet.device.measure.layers import TimedLayers
from edgeresnet.device.measure.limits import LIMITS, best_rates, of_peak
from edgeresnet.device.targets.protocol import LayerProfile

# GMAC/s; so a layer of 1e6 multiply-accumulates takes 0.1 ms at the peak.
PEAKS = {"int8": 10.0, "fp32": 5.0}


def timed(conv_ms: float = 0.1, pool_ms: float = 0.0, layout_ms: float = 0.0, run_ms: float = 0.0,
          precision: str = "int8") -> TimedLayers:  # fmt: skip
    layers = (
        LayerProfile("c", "Conv", precision, "cpu", conv_ms, role="convolution", nodes=("conv1",)),
        LayerProfile("p", "MaxPool", "int8", "cpu", pool_ms, role="pool", nodes=("maxpool",)),
        LayerProfile("t", "Transpose", "int8", "cpu", layout_ms, role="layout", before="conv1"),
    )
    total = sum(layer.time_ms for layer in layers)
    return TimedLayers(layers, run_ms or total, {"conv1": 10**6}, {}, 1, "onnx", "cpu")


@pytest.mark.parametrize(
    ("planted", "limit", "lost_ms"),
    [({"conv_ms": 0.5}, "below_peak", 0.4), ({"pool_ms": 0.3}, "other_layers", 0.3),
     ({"layout_ms": 0.2}, "conversions", 0.2), ({"run_ms": 1.1}, "between", 1.0)],
)  # fmt: skip
def test_of_peak_names_what_takes_the_most(
    planted: dict[str, float], limit: str, lost_ms: float
) -> None:
    found = of_peak(timed(**planted), PEAKS, p50_ms=0.4)
    assert found is not None
    assert found["limit"] == limit
    assert found["lost_ms"][limit] == pytest.approx(lost_ms)
    assert found["share"] == pytest.approx(0.1 / 0.4)
    assert found["gmacs_per_s"] == pytest.approx(2.5)
    assert found["text"].startswith("25 % of the peak here (2.5 GMAC/s of 10 in int8); what limits")
    assert LIMITS[limit] in found["text"]


def test_of_peak_says_so_when_the_machine_was_busy() -> None:
    calm, busy = (of_peak(timed(), PEAKS, p50_ms=0.4, busy=busy) for busy in (False, True))
    assert calm is not None
    assert busy is not None
    assert "other programs" not in calm["text"]
    assert busy["text"].endswith(", while other programs wanted the processor too")


def test_of_peak_says_nothing_when_a_precision_has_no_peak() -> None:
    assert of_peak(timed(precision="fp16"), PEAKS, p50_ms=0.4) is None


def test_best_rates_are_those_of_the_fastest_layer_of_each_precision() -> None:
    assert best_rates(timed(conv_ms=0.5)) == {"int8": pytest.approx(2.0)}
