"""The peak of a device: a network that both runtimes run, and what is remembered of it."""

from __future__ import annotations

import json
from pathlib import Path

import onnx
import pytest

from edgeresnet.device.measure import peak as peak_module
from edgeresnet.device.measure.peak import fastest_rate, is_busy, peak_rates
from edgeresnet.device.targets.ideal_network import ideal_macs, write_ideal_network
from edgeresnet.device.targets.protocol import LayerProfile


@pytest.fixture
def cache(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    return tmp_path / "cache"


def machine(folder: Path, load: float) -> Path:
    """A machine of two cores with so much to do."""
    (folder / "proc/self").mkdir(parents=True, exist_ok=True)
    (folder / "proc/loadavg").write_text(f"{load} 0.50 0.25 1/100 12345\n")
    (folder / "proc/self/status").write_text("Name:\tx\nCpus_allowed_list:\t0-1\n")
    (folder / "sys/devices/system/cpu").mkdir(parents=True, exist_ok=True)
    (folder / "sys/devices/system/cpu/online").write_text("0-1\n")
    return folder


@pytest.mark.parametrize("quantized", [False, True])
def test_ideal_network_is_valid_and_has_the_work_it_says(tmp_path: Path, quantized: bool) -> None:
    """onnx is the oracle: its checker, its shapes."""
    path = write_ideal_network(tmp_path / "ideal.onnx", quantized=quantized)
    model = onnx.load(path)
    onnx.checker.check_model(model, full_check=True)
    inferred = onnx.shape_inference.infer_shapes(model, strict_mode=True).graph
    shapes = {
        one.name: [side.dim_value for side in one.type.tensor_type.shape.dim]
        for one in [*inferred.value_info, *inferred.output]
    }
    weights = {one.name: list(one.dims) for one in inferred.initializer}
    for name, macs in ideal_macs().items():
        made, taken, height, width = weights[f"{name}.weight"]
        out = shapes[f"{name}.out"]
        assert out == [1, made, out[2], out[3]]
        assert macs == made * taken * height * width * out[2] * out[3]


@pytest.mark.parametrize("target", ["onnx", "openvino"])
@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_peak_rates_measure_a_layer_in_that_precision(
    cache: Path, target: str, precision: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_module, "SECONDS", 0.0)
    found = peak_rates(target, "cpu", {precision: 0.0}, 1)
    assert set(found) == {precision}
    assert found[precision] > 0
    # From the cache, to the last digit.
    monkeypatch.setattr(peak_module, "is_busy", lambda root: True)
    assert peak_rates(target, "cpu", {precision: 0.0}, 1) == found


def test_peak_rates_are_measured_again_when_the_machine_was_busy_and_is_not(
    cache: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    measured = iter([10.0, 20.0, 30.0])
    monkeypatch.setattr(peak_module, "_measured", lambda *of: next(measured))
    busy, calm = machine(tmp_path / "busy", 2.5), machine(tmp_path / "calm", 1.5)
    assert peak_rates("onnx", "cpu", {"int8": 1.0}, 2, busy) == {"int8": 10.0}
    assert peak_rates("onnx", "cpu", {"int8": 1.0}, 2, busy) == {"int8": 10.0}
    assert peak_rates("onnx", "cpu", {"int8": 1.0}, 2, calm) == {"int8": 20.0}
    assert peak_rates("onnx", "cpu", {"int8": 1.0}, 2, calm) == {"int8": 20.0}
    assert peak_rates("onnx", "cpu", {"int8": 1.0}, 1, calm) == {"int8": 30.0}


def test_peak_rates_rise_when_a_layer_was_faster(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_module, "_measured", lambda *of: 10.0)
    assert peak_rates("onnx", "cpu", {"fp32": 12.0}, 2) == {"fp32": 12.0}
    assert peak_rates("onnx", "cpu", {"fp32": 1.0}, 2) == {"fp32": 12.0}


def test_peak_rates_measure_anew_when_what_is_kept_is_damaged(
    cache: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(peak_module, "_measured", lambda *of: 10.0)
    peak_rates("onnx", "cpu", {"fp32": 1.0}, 2)
    (path,) = (cache / "edgeresnet" / "peaks").glob("*.json")
    path.write_text(json.dumps({"onnx cpu fp32 2 threads": {"gmacs_per_s": -1, "busy": False}}))
    assert peak_rates("onnx", "cpu", {"fp32": 1.0}, 2) == {"fp32": 10.0}


def test_peak_rates_tell_nothing_when_the_target_cannot_run_the_network(cache: Path) -> None:
    assert peak_rates("tensorrt", "gpu", {"int8": 1.0}, None) == {}
    assert peak_rates("torch", "cpu", {"fp32": 1.0}, None) == {}


def test_peak_rates_tell_nothing_of_a_gpu_when_kernels_are_timed_as_they_start(cache: Path) -> None:
    assert peak_rates("onnx", "gpu", {"fp32": 1.0}, None) == {}


def test_fastest_rate_is_of_the_best_run_of_the_best_layer_in_the_precision() -> None:
    def timed(node: str, precision: str, *times_ms: float) -> LayerProfile:
        return LayerProfile(node, "Conv", precision, "cpu", 9.0, times_ms, nodes=(node,))

    layers = [
        timed("narrow1", "int8", 4.0, 2.0),
        timed("wide1", "fp32", 0.001),
        timed("stem", "int8", 0.1),
    ]
    assert fastest_rate(layers, "int8") == pytest.approx(ideal_macs()["narrow1"] / 2e6)
    assert fastest_rate(layers, "bf16") is None


def test_is_busy_is_false_when_the_machine_does_not_tell(tmp_path: Path) -> None:
    assert not is_busy(tmp_path)
