"""Bundles are checked on first use."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest

from edgeresnet.bundle import load_bundle
from edgeresnet.errors import CheckError
from edgeresnet.golden import check_golden
from tests.fakes import FakeSession


def test_check_golden_fails_and_remembers_nothing_when_logits_differ(files: Path) -> None:
    bundle = load_bundle(files / "onnx-int8")
    wrong = FakeSession(lambda batch: np.zeros((len(batch), 10)))
    for _ in range(2):
        with pytest.raises(CheckError, match="golden"):
            check_golden(bundle, wrong, "cpu", "machine-a")


def test_check_golden_runs_once_when_logits_are_right(files: Path) -> None:
    bundle = load_bundle(files / "onnx-int8")
    _, golden = bundle.golden()
    session = FakeSession(lambda batch: golden[: len(batch)])
    assert check_golden(bundle, session, "cpu", "machine-b") == 0.0
    assert check_golden(bundle, session, "cpu", "machine-b") is None
    assert check_golden(bundle, session, "cpu", "machine-c") == 0.0
    assert len(session.seen) == 2
