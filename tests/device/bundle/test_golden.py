"""Bundles are checked on first use."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.golden import _marker_path, check_golden
from edgeresnet.errors import CheckError
from tests.fakes import FakeSession
from tests.small_bundles import write_small_bundle


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


@pytest.mark.parametrize("damaged", [b"", b"0.0\x00half", b"\0" * 8])
def test_check_golden_runs_again_when_a_loss_of_power_damaged_its_mark(
    tmp_path: Path, damaged: bytes
) -> None:
    bundle = load_bundle(write_small_bundle(tmp_path / "b"))
    _, golden = bundle.golden()
    session = FakeSession(lambda batch: golden[: len(batch)])
    machine = f"machine-of-{damaged!r}"
    assert check_golden(bundle, session, "cpu", machine) == 0.0
    _marker_path(bundle, "cpu", machine).write_bytes(damaged)
    assert check_golden(bundle, session, "cpu", machine) == 0.0
    assert check_golden(bundle, session, "cpu", machine) is None


def test_check_golden_holds_the_bound_that_the_export_derived(files: Path) -> None:
    bundle = load_bundle(files / "onnx-int8")
    bound = bundle.manifest.logit_bound
    assert bound is not None
    _, golden = bundle.golden()
    assert 1.1 * bound < 0.1 * np.ptp(golden), "ten per cent of the range were allowed once"
    near = FakeSession(lambda batch: golden[: len(batch)] + np.float32(0.9 * bound))
    assert check_golden(bundle, near, "cpu", "machine-d") is not None
    far = FakeSession(lambda batch: golden[: len(batch)] + np.float32(1.1 * bound))
    with pytest.raises(CheckError, match="golden logits: logits up to"):
        check_golden(bundle, far, "cpu", "machine-e")


def test_check_golden_keeps_the_tolerance_of_a_bundle_without_a_bound(files: Path) -> None:
    bundle = load_bundle(files / "onnx-int8")
    older = replace(
        bundle, manifest=replace(bundle.manifest, logit_bound=None, golden_tolerance=0.1)
    )
    _, golden = bundle.golden()
    spread = np.ptp(golden)
    near = FakeSession(lambda batch: golden[: len(batch)] + np.float32(0.09 * spread))
    assert check_golden(older, near, "cpu", "machine-f") == pytest.approx(0.09, rel=1e-3)
    far = FakeSession(lambda batch: golden[: len(batch)] + np.float32(0.11 * spread))
    with pytest.raises(CheckError, match=r"0\.110 of their range away; 0\.1 is allowed"):
        check_golden(older, far, "cpu", "machine-g")
