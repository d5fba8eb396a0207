"""The width step that timings of a target say."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.device.machine import width_steps
from edgeresnet.host.pruning.width_step import WIDEST, WIDTHS, best_step


@pytest.mark.parametrize("step", [4, 8, 16, 32, 64])
def test_best_step_finds_the_width_that_kernels_are_good_at(step: int) -> None:
    """A machine on which widths that are no multiple of its step cost a third more."""
    ms = {w: w**2 * (1.0 if w % step == 0 else 1.33) for w in (*WIDTHS.values(), WIDEST)}
    assert best_step(ms) == step


def test_width_step_is_what_was_remembered(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path))
    assert width_steps.width_step("onnx", "cpu") == width_steps.DEFAULT_STEP
    path = width_steps.remember_step("onnx", "cpu", 32)
    assert width_steps.width_step("onnx", "cpu") == 32
    assert width_steps.width_step("openvino", "cpu") == width_steps.DEFAULT_STEP
    damaged = (
        "{",
        "[" * 100_000,
        '{"onnx cpu": 1e9}',
        '{"onnx cpu": 1000000000}',
        '{"onnx cpu": 0}',
    )
    for text in damaged:
        path.write_text(text)
        assert width_steps.width_step("onnx", "cpu") == width_steps.DEFAULT_STEP
