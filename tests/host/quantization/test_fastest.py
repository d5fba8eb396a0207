"""A network in each precision is written as an export would have it, and opened where it runs."""

from __future__ import annotations

from collections.abc import Mapping

import numpy as np
import pytest

from edgeresnet.device.session import ModelSource
from edgeresnet.device.targets.noise import noise
from edgeresnet.device.targets.onnx.target import OnnxTarget
from edgeresnet.device.targets.protocol import Device, Kernel
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import CheckError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.quantization import fastest as timing
from edgeresnet.host.quantization.latency_probe import Place
from tests.fakes import FakeSession


def plant(
    monkeypatch: pytest.MonkeyPatch, medians_ms: Mapping[str, float]
) -> list[tuple[str, list[Kernel]]]:
    """Models that are opened and run once, and whose times are these; what they execute."""
    opened: list[tuple[str, list[Kernel]]] = []

    class Planted:
        def __init__(self, source: ModelSource) -> None:
            self.precision = source.path.parent.name
            target = target_of(str(source.target))
            with target.load(source.path, str(source.device), source.options) as session:
                assert session.run(noise(session)).shape == (1, 10)
                opened.append((self.precision, session.kernels()))

        def warm_up(self) -> list[float]:
            return [100.0] * 5

        def block(self, runs: int) -> list[float]:
            return [medians_ms[self.precision]] * runs

        def cold(self, runs: int) -> None:
            return None

        def peak_memory_mib(self) -> None:
            return None

        def close(self) -> None:
            pass

    monkeypatch.setattr(timing, "FreshModel", Planted)
    return opened


def test_each_precision_of_the_device_is_timed_by_turns(
    checkpoint: Checkpoint, int8_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    opened = plant(monkeypatch, {"fp32": 2.0, "int8": 1.0})
    lines: list[str] = []
    place = Place("onnx", threads=1)
    latencies = timing.time_precisions(
        checkpoint, int8_checkpoint, place, rounds=40, on_step=lines.append
    )
    assert {name: one.percentile_ms(50) for name, one in latencies.items()} == {
        "fp32": 2.0, "int8": 1.0,
    }  # fmt: skip
    assert all(len(one.samples_ms) >= 40 for one in latencies.values())
    assert lines == ["timing fp32, int8 by turns on onnx's cpu"]
    integers = {name: {kernel.precision for kernel in kernels} for name, kernels in opened}
    assert integers["fp32"] == {"fp32"}
    assert "int8" in integers["int8"]


def test_what_falls_back_to_the_processor_is_not_timed_as_another_device(
    checkpoint: Checkpoint, int8_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    plant(monkeypatch, {})
    gpu = Device("gpu", "", ("fp32", "fp16", "int8"))
    monkeypatch.setattr(OnnxTarget, "devices", lambda self: [gpu])
    session = FakeSession(lambda batch: np.zeros((len(batch), 10)))
    monkeypatch.setattr(OnnxTarget, "load", lambda *arguments: session)
    with pytest.raises(CheckError, match="do not run on gpu but on the CPU"):
        timing.time_precisions(checkpoint, int8_checkpoint, Place("onnx", "gpu"), rounds=2)
