"""Bundles are checked on first use."""

from __future__ import annotations

from collections.abc import Callable
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeresnet.device.bundle import golden_runs
from edgeresnet.device.bundle.bundle import Bundle, load_bundle
from edgeresnet.device.bundle.golden import _marker_path, check_golden
from edgeresnet.device.data.preprocess import normalize
from edgeresnet.errors import CheckError
from edgeresnet.settings.export import BatchRange
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
    bundle = anywhere(load_bundle(files / "onnx-int8"))
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


def anywhere(bundle: Bundle) -> Bundle:
    """The bundle on a device whose kernels round differently."""
    return replace(bundle, manifest=replace(bundle.manifest, golden_from=None))


def test_check_golden_wants_the_same_logits_where_the_same_kernels_run(files: Path) -> None:
    bundle = load_bundle(files / "onnx-int8")
    bound = bundle.manifest.logit_bound
    _, golden = bundle.golden()
    assert bound is not None
    assert bundle.manifest.golden_from is not None
    near = FakeSession(lambda batch: golden[: len(batch)] + np.float32(0.09 * bound))
    assert check_golden(bundle, near, "cpu", "machine-h") is not None
    off = FakeSession(lambda batch: golden[: len(batch)] + np.float32(0.11 * bound))
    with pytest.raises(CheckError, match="the same kernels as here gave them"):
        check_golden(bundle, off, "cpu", "machine-i")
    # Of another device, or of another version's kernels, rounding explains as much.
    assert check_golden(bundle, off, "gpu", "machine-i") is not None
    assert check_golden(anywhere(bundle), off, "cpu", "machine-i") is not None


def of_sizes(bundle: Bundle, smallest: int, best: int, largest: int) -> Bundle:
    batch = BatchRange(smallest, best, largest)
    return replace(bundle, manifest=replace(bundle.manifest, batch=batch))


def answers_of(bundle: Bundle) -> Callable[[np.ndarray], np.ndarray]:
    """The golden logits of whichever golden images are in a batch."""
    images, golden = bundle.golden()
    inputs = normalize(images, bundle.manifest.input_spec)
    logits = {one.tobytes(): golden[i] for i, one in enumerate(inputs)}
    return lambda batch: np.stack([logits[one.tobytes()] for one in batch])


def test_check_golden_runs_the_smallest_the_best_and_the_largest_batch(files: Path) -> None:
    bundle = of_sizes(load_bundle(files / "onnx-int8"), 1, 4, 32)
    session = FakeSession(answers_of(bundle), batch_sizes=(1, 32), size=16)
    assert check_golden(bundle, session, "cpu", "machine-j") == 0.0
    assert sorted(session.seen) == [1, 1, 4, 32]


@pytest.mark.parametrize("size", [1, 4, 32])
@pytest.mark.parametrize(
    "mixed",
    [
        lambda logits: np.repeat(logits[-1:] * 0, len(logits), axis=0),
        lambda logits: np.repeat(logits[:1], len(logits), axis=0),
        lambda logits: np.roll(logits, 1, axis=0),
        lambda logits: logits[::-1],
    ],
)
def test_check_golden_fails_when_one_batch_size_answers_wrongly(
    files: Path, size: int, mixed: Callable[[np.ndarray], np.ndarray]
) -> None:
    bundle = of_sizes(anywhere(load_bundle(files / "onnx-int8")), 1, 4, 32)
    right = answers_of(bundle)

    def answer(batch: np.ndarray) -> np.ndarray:
        logits = right(batch)
        return mixed(logits) if len(batch) == size else logits

    session = FakeSession(answer, batch_sizes=(1, 32), size=16)
    if np.array_equal(mixed(np.eye(size)), np.eye(size)):
        return
    with pytest.raises(CheckError, match=f"in a batch of {size}: "):
        check_golden(bundle, session, "cpu", "machine-mixed")


def test_a_largest_batch_that_would_take_long_is_left_out(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(golden_runs, "MOST_SECONDS", 0.0)
    bundle = of_sizes(load_bundle(files / "onnx-int8"), 2, 4, 32)
    session = FakeSession(answers_of(bundle), batch_sizes=(2, 32), size=16)
    assert check_golden(bundle, session, "cpu", "machine-k") == 0.0
    images = len(bundle.golden()[0])
    assert sorted(session.seen) == [2, 2, *[4] * (-(-images // 4))]
