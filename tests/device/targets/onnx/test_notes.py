"""What ONNX Runtime's profiler writes, when the disk takes only a part of it."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import Any

import onnxruntime
import pytest

from edgeresnet.device.targets.onnx.facts import read_onnx
from edgeresnet.device.targets.onnxruntime_session import OnnxSession
from edgeresnet.errors import MissingError
from edgeresnet.settings.measuring import RunOptions
from tests.small_models import write_onnx


def kernels(path: Path) -> Any:
    with OnnxSession(path, "cpu", RunOptions()) as session:
        return session.kernels()


@pytest.mark.parametrize("read", [kernels, read_onnx])
def test_notes_that_are_cut_short_are_told_as_a_full_disk(
    read: Callable[[Path], Any], tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    real = onnxruntime.InferenceSession.end_profiling

    def cut(session: Any) -> str:
        path = Path(real(session))
        path.write_bytes(path.read_bytes()[:100])
        return str(path)

    path = write_onnx(tmp_path / "model.onnx")
    assert read(path)
    monkeypatch.setattr(onnxruntime.InferenceSession, "end_profiling", cut)
    with pytest.raises(MissingError, match=r"the disk may be full\nmake room there, or set TMPDIR"):
        read(path)
