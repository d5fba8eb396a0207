"""What profile measures of a model, and in which order."""

from __future__ import annotations

import time
from dataclasses import replace
from itertools import chain, repeat
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeresnet.api.opening import open_model
from edgeresnet.device import session as session_module
from edgeresnet.device.bundle.bundle import MANIFEST, load_bundle
from edgeresnet.device.measure import layers as timing
from edgeresnet.device.measure import profile as profile_module
from edgeresnet.device.measure.profile import profile_model
from edgeresnet.device.targets.onnxruntime_session import OnnxSession
from edgeresnet.device.targets.openvino.session import OpenVinoSession
from edgeresnet.device.targets.protocol import Kernel, LayerProfile, layer_profiles
from edgeresnet.device.targets.qnn.session import QnnSession
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.device.targets.tensorrt import target as tensorrt
from edgeresnet.device.targets.tensorrt import trtexec
from edgeresnet.errors import MissingError
from edgeresnet.settings.export import BuildOptions
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions
from tests.device.targets.tensorrt.test_trtexec import fake_tool
from tests.fakes import FakeSession, opened


class SlowStart(FakeSession):
    """Takes 50 ms for its first run."""

    def run(self, batch: Any) -> Any:
        if not self.seen:
            time.sleep(0.05)
        return super().run(batch)


class FakeTarget:
    """Loads one session."""

    spec = TARGETS["onnx"].spec

    def __init__(self, session: FakeSession) -> None:
        self.session = session

    def load(self, path: Path, device: str, options: RunOptions) -> FakeSession:
        return self.session


def test_first_ms_is_of_the_first_run_when_the_golden_check_is_still_to_come(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    bundle = load_bundle(files / "onnx-fp32")
    _, logits = bundle.golden()
    answers = chain([logits[:1], *logits[:, None]], repeat(logits[:1]))
    session = SlowStart(lambda batch: next(answers), batch_sizes=(1, 1), size=16)
    monkeypatch.setattr(session_module, "target_of", lambda name: FakeTarget(session))
    (row,), _ = profile_model(bundle.path, open_model)
    assert row["first_ms"] >= 50
    assert row["p50_ms"] < 50


def test_layer_times_leave_out_what_came_before_the_last_runs() -> None:
    times = {("conv1", "Conv", "int8", "cpu"): [90.0, 2.0, 1.0, 3.0]}
    assert layer_profiles(times, 3) == [
        LayerProfile("conv1", "Conv", "int8", "cpu", 2.0, (2.0, 1.0, 3.0))
    ]


def test_figures_stay_when_the_layers_cannot_be_timed_and_were_not_asked_for(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def full(self: Any, runs: int) -> list[LayerProfile]:
        raise MissingError("no room", "make some.")

    monkeypatch.setattr(OnnxSession, "layers", full)
    (row,), timed = profile_model(files / "onnx-fp32", open_model, options=RunOptions(threads=1))
    assert row["p50_ms"] > 0
    assert timed is None
    assert row["warnings"][-1] == "what limits this model is not told: no room"
    with pytest.raises(MissingError, match="no room"):
        profile_model(files / "onnx-fp32", open_model, options=RunOptions(threads=1), layers=True)


@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_layers_of_a_profile_do_not_include_the_cold_run(
    files: Path, target: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: list[int] = []
    kind: Any = OnnxSession if target == "onnx" else OpenVinoSession
    layers = kind.layers

    def spied(self: Any, runs: int) -> list[LayerProfile]:
        asked.append(runs)
        return layers(self, runs)

    monkeypatch.setattr(kind, "layers", spied)
    _, found = profile_model(
        files / f"{target}-int8", open_model, options=RunOptions(threads=1), layers=True
    )
    assert asked == [timing.RUNS]
    assert found is not None
    assert found.profiles


@pytest.mark.parametrize(
    ("target", "device", "nvidia"),
    [("onnx", "gpu", True), ("tensorrt", "gpu", True), ("openvino", "gpu", False),
     ("onnx", "cpu", False)],
)  # fmt: skip
def test_energy_is_the_gpus_when_an_nvidia_gpu_runs_the_model(
    target: str, device: str, nvidia: bool, monkeypatch: pytest.MonkeyPatch, tmp_path: Path
) -> None:
    asked: list[bool] = []

    def find_meter(root: Path, *, nvidia_gpu: bool) -> tuple[None, str]:
        asked.append(nvidia_gpu)
        return None, "no meter"

    monkeypatch.setattr(profile_module, "find_meter", find_meter)
    model = replace(opened("m", FakeSession(lambda x: x), InputSpec(8), target), device=device)
    images = np.zeros((1, 3, 8, 8), np.float32)
    told = {"energy": {"sensor": None, "reason": "no meter"}}
    assert profile_module._energy(model, images, tmp_path) == (told, ["no meter"])
    assert asked == [nvidia]


def test_rows_of_trtexec_have_board_and_warnings(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    bundle = load_bundle(files / "onnx-int8")
    made = tmp_path / "bundle"
    made.mkdir()
    for name in ("model.onnx", "golden.npz"):
        (made / name).write_bytes((bundle.path / name).read_bytes())
    (made / MANIFEST).write_text(replace(bundle.manifest, target="tensorrt").to_json())
    tool = fake_tool(tmp_path)
    trtexec.help_text.cache_clear()
    (made / "engines").mkdir()
    trtexec.save_engine(
        tool, made / "model.onnx", "gpu", made / "engines", BuildOptions(batch=(1, 1, 1))
    )
    monkeypatch.setattr(trtexec, "find_tool", lambda: tool)
    monkeypatch.setattr(tensorrt, "find_bindings", lambda: "none are here")
    (row,), _ = profile_model(made, open_model, root=tmp_path / "root")
    assert row["p50_ms"] == 2.0
    assert row["warnings"] == []
    assert set(row["board"]) == {"before", "after"}
    with pytest.raises(MissingError, match="the times of layers need TensorRT's Python bindings"):
        profile_model(made, open_model, layers=True)


def test_layers_on_the_npu_have_the_precision_that_they_were_placed_in(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    timed = [LayerProfile("conv1_token_3", "Conv", "fp32", "npu", 1.0)]
    monkeypatch.setattr(OnnxSession, "layers", lambda self, runs: timed)
    session = QnnSession.__new__(QnnSession)
    session.emulated = False
    session._kernels = [Kernel("Conv", "fp16", "npu", ("conv1",))]
    assert [layer.precision for layer in session.layers(1)] == ["fp16"]
