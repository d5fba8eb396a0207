"""What is opened is closed again, also when something after the opening fails."""

from __future__ import annotations

import gc
import tempfile
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeresnet.api.opening import open_model
from edgeresnet.device.targets.onnxruntime_session import OnnxSession
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import CheckError, InputError
from edgeresnet.settings.measuring import RunOptions
from tests.conftest import CommandLine
from tests.fakes import FakeSession
from tests.small_models import write_onnx


class ClosingSession(FakeSession):
    """Knows whether it was closed."""

    closed = 0

    def __exit__(self, *args: object) -> None:
        self.closed += 1


@pytest.fixture
def session(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> ClosingSession:
    """What target onnx opens, whatever it is given; no golden check is remembered."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    made = ClosingSession(lambda batch: np.zeros((len(batch), 10)), size=16, batch_sizes=(1, 4))
    target = type(
        "Fake",
        (),
        {
            "spec": TARGETS["onnx"].spec,
            "load": lambda *args: made,
            "available": TARGETS["onnx"].available,
        },
    )()
    monkeypatch.setitem(TARGETS, "onnx", target)
    return made


def test_session_is_closed_when_the_golden_check_fails(
    session: ClosingSession, files: Path
) -> None:
    with pytest.raises(CheckError, match="golden"), open_model(files / "onnx-int8"):
        pass
    assert session.closed == 1


@pytest.mark.parametrize("bare", [False, True])
def test_session_is_closed_when_the_batch_is_not_its(
    session: ClosingSession, files: Path, tmp_path: Path, bare: bool
) -> None:
    path = write_onnx(tmp_path / "m.onnx") if bare else files / "onnx-int8"
    with pytest.raises(InputError, match="not 8"), open_model(path, options=RunOptions(batch=8)):
        pass
    assert session.closed == 1


def test_session_is_closed_once_when_all_is_well(session: ClosingSession, tmp_path: Path) -> None:
    with open_model(write_onnx(tmp_path / "m.onnx")):
        assert session.closed == 0
    assert session.closed == 1


def test_no_folder_is_left_when_a_profiled_session_cannot_be_opened(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    model = write_onnx(tmp_path / "m.onnx", outputs=2)
    options = RunOptions(profile_layers=True)
    gc.disable()
    try:
        for path, device in ((model, "cpu"), (tmp_path / "none.onnx", "cpu")):
            with pytest.raises(InputError) as caught:
                OnnxSession(path, device, options)
            # The traceback keeps what was half made alive, as a caller's would.
            assert caught.value
            assert list(tmp_path.glob("edgeresnet-*")) == []
    finally:
        gc.enable()


def test_no_folder_is_left_when_the_dense_network_cannot_be_measured(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Any
) -> None:
    from edgeresnet.host.quantization import latency_probe

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))

    def fail(*args: object) -> Path:
        raise InputError("no model", "none.")

    monkeypatch.setattr(latency_probe, "int8_model_path", fail)
    with pytest.raises(InputError) as caught:
        latency_probe.LatencyProbe(checkpoint, latency_probe.Place("onnx"))
    assert caught.value
    assert list(tmp_path.glob("edgeresnet-*")) == []


def test_no_folder_is_left_when_the_layers_cannot_be_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, checkpoint: Any
) -> None:
    from edgeresnet.host.pruning import cut_to_budget
    from edgeresnet.host.quantization import latency_probe
    from edgeresnet.settings.pruning import PruneOptions

    monkeypatch.setattr(tempfile, "tempdir", str(tmp_path))
    monkeypatch.setattr(latency_probe, "int8_model_path", lambda *args: tmp_path / "none.onnx")
    options = PruneOptions(latency=0.5, target="onnx", step=16)
    with pytest.raises(InputError) as caught:
        cut_to_budget.Shaper(checkpoint, options, lambda text: None)
    assert caught.value
    assert list(tmp_path.glob("edgeresnet-*")) == []


def test_profile_works_when_the_system_tells_no_peak_memory(
    edgeresnet: CommandLine, files: Path, tmp_path: Path
) -> None:
    """As on Windows, which has neither /proc nor a module ``resource``."""
    before = """
import sys
sys.modules["resource"] = None
from edgeresnet.device.measure import latency
latency.read_text = lambda path: ""
"""
    found = edgeresnet("profile", files / "onnx-int8", "--json", "p.json", changed=before)
    assert found.returncode == 0, found.stderr
    assert '"peak_memory_mib": null' in (tmp_path / "p.json").read_text()
