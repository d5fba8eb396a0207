"""A latency measured in a process of its own."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.errors import MissingError
from edgeresnet.fresh import fresh_p50_ms


def test_fresh_p50_is_that_of_the_model_when_it_loads(files: Path) -> None:
    ms = fresh_p50_ms(files / "onnx-int8" / "model.onnx", "onnx", "cpu", threads=1)
    assert 0.001 < ms < 1000


def test_fresh_p50_tells_the_cause_when_the_process_fails(tmp_path: Path) -> None:
    (tmp_path / "model.onnx").write_bytes(b"no model")
    with pytest.raises(MissingError, match=r"on onnx cpu in a process of its own failed: \S"):
        fresh_p50_ms(tmp_path / "model.onnx", "onnx", "cpu")
