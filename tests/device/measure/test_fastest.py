"""Which precision is the fastest is decided by intervals; what cannot be timed is refused."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeresnet.device.measure.fastest import check_fastest, contenders, judge
from edgeresnet.device.measure.latency import Latency
from edgeresnet.device.targets.openvino.target import OpenVinoTarget
from edgeresnet.device.targets.protocol import Availability, Device
from edgeresnet.device.targets.qnn.target import QnnTarget
from edgeresnet.device.targets.tensorrt.target import TensorRtTarget
from edgeresnet.errors import EdgeResNetError, InputError, MissingError
from edgeresnet.settings.measuring import FastestOptions


def planted(median_ms: float, spread: float = 0.02, seed: int = 0) -> Latency:
    """20 blocks of 10 runs about a median, each block with a drift of its own."""
    generator = np.random.default_rng(seed)
    drift = generator.normal(1, spread, (20, 1))
    samples = median_ms * drift * generator.normal(1, 0.01, (20, 10))
    return Latency(samples.ravel(), 1, 5, None, block_runs=10)


@pytest.mark.parametrize(
    ("medians", "decision", "fastest", "advised"),
    [
        ({"fp32": 2.0, "int8": 1.0}, "faster", "int8", "int8"),
        ({"fp32": 1.0, "int8": 1.5}, "slower", "fp32", "fp32"),
        # Equal: neither is sure, and the float network costs no accuracy.
        ({"fp32": 1.0, "int8": 1.0}, "undecided", None, "fp32"),
        # Faster by its value, and not by its interval.
        ({"fp32": 1.005, "int8": 1.0}, "undecided", None, "fp32"),
        # As fast as bf16, and twice as fast as fp32, is not faster.
        ({"fp32": 2.0, "bf16": 1.0, "int8": 1.0}, "undecided", None, "bf16"),
        ({"fp32": 2.0, "bf16": 0.8, "int8": 1.0}, "slower", "bf16", "bf16"),
        ({"fp32": 0.9, "bf16": 0.6, "int8": 1.0}, "slower", "bf16", "bf16"),
        # The better INT8 stands for it.
        ({"fp32": 2.0, "fp16": 1.0, "int8": 1.5, "int8+fp16": 0.7}, "faster", "int8+fp16",
         "int8+fp16"),
    ],
)  # fmt: skip
def test_judge_goes_by_intervals(
    medians: dict[str, float], decision: str, fastest: str | None, advised: str
) -> None:
    latencies = {name: planted(ms, seed=i) for i, (name, ms) in enumerate(medians.items())}
    found = judge(latencies)
    assert (found["decision"], found["fastest"], found["advised"]) == (decision, fastest, advised)
    rows = {row["precision"]: row for row in found["precisions"]}
    assert [*rows] == [*medians]
    assert [name for name, row in rows.items() if row["fastest"]] == ([fastest] if fastest else [])
    for name, row in rows.items():
        assert row["p50_ms"] == pytest.approx(medians[name], rel=0.03)
        assert (row["int8_speedup"] is None) == name.startswith("int8")
    ratio = rows["fp32"]["int8_speedup"]
    assert ratio is not None
    assert ratio["low"] < ratio["value"] < ratio["high"]
    assert ratio["value"] == pytest.approx(medians["fp32"] / medians[found["int8"]], rel=0.05)


def test_judge_is_rarely_wrong_when_both_are_the_same() -> None:
    decided = [
        judge({"fp32": planted(1, seed=2 * i), "int8": planted(1, seed=2 * i + 1)})["decision"]
        for i in range(20)
    ]
    assert decided.count("undecided") >= 16


def test_contenders_are_what_the_device_computes_in(monkeypatch: pytest.MonkeyPatch) -> None:
    here = [Device("cpu", "", ("FP32", "BF16", "INT8", "BIN")), Device("npu", "", ("FP16", "INT8"))]
    monkeypatch.setattr(OpenVinoTarget, "devices", lambda self: here)
    assert contenders("openvino", "cpu") == ("fp32", "bf16", "int8")
    assert contenders("openvino", "npu") == ("fp16", "int8")
    assert contenders("openvino", "gpu") == ()
    gpu = [Device("gpu", "", ("fp32", "fp16", "int8")), Device("dla0", "", ("fp16",))]
    monkeypatch.setattr(TensorRtTarget, "devices", lambda self: gpu)
    assert contenders("tensorrt", "gpu") == ("fp32", "fp16", "int8", "int8+fp16")
    assert contenders("tensorrt", "dla0") == ()


@pytest.mark.parametrize(
    ("options", "kind", "told"),
    [
        ({"target": "abacus"}, InputError, "target abacus is not known"),
        ({"target": "onnx", "device": "abacus"}, InputError, "device abacus is not known"),
        ({"target": "onnx", "device": "dla0"}, InputError, "target onnx has no device dla0"),
        ({"target": "tensorrt"}, MissingError, "no NVIDIA GPU"),
        ({"target": "openvino", "device": "npu"}, MissingError, "openvino's npu"),
        ({"target": "qnn"}, MissingError, "the time of an emulator is no latency"),
    ],
)
def test_check_fastest_refuses_what_cannot_be_timed_here(
    monkeypatch: pytest.MonkeyPatch, options: dict[str, Any], kind: type, told: str
) -> None:
    emulated = [Device("npu", "", ("fp16", "int8", "w8a16"), emulated=True)]
    monkeypatch.setattr(QnnTarget, "devices", lambda self: emulated)
    monkeypatch.setattr(TensorRtTarget, "devices", lambda self: [])
    monkeypatch.setattr(
        TensorRtTarget,
        "available",
        lambda self: Availability(True, reason="no NVIDIA GPU is here"),
    )
    with pytest.raises(EdgeResNetError, match=told) as caught:
        check_fastest(FastestOptions(**options))
    assert isinstance(caught.value, kind)
    assert caught.value.fix


def test_check_fastest_refuses_a_device_of_one_precision_and_threads_of_none(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    gpu = [Device("gpu", "", ("fp32", "fp16", "int8")), Device("dla0", "", ("fp16",))]
    monkeypatch.setattr(TensorRtTarget, "devices", lambda self: gpu)
    check_fastest(FastestOptions(target="tensorrt"))
    with pytest.raises(InputError, match="dla0 computes in fp16 alone"):
        check_fastest(FastestOptions(target="tensorrt", device="dla0"))
    with pytest.raises(InputError, match="--threads would have no effect"):
        check_fastest(FastestOptions(target="tensorrt", threads=2))
    check_fastest(FastestOptions(target="onnx", threads=2))
