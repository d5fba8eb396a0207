"""Bundles are whole, unaltered and checked on first use."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeresnet.bundle import (
    BatchRange,
    check_golden,
    check_replaceable,
    load_bundle,
    run_padded,
)
from edgeresnet.errors import CheckError, InputError
from tests.fakes import FakeSession


@pytest.fixture
def bundle_dir(files: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(files / "onnx-int8", tmp_path / "bundle"))


@pytest.mark.parametrize(("text", "sizes"), [("4", (4, 4, 4)), ("1:8:32", (1, 8, 32))])
def test_batch_range_parses_when_well_formed(text: str, sizes: tuple[int, int, int]) -> None:
    assert BatchRange.parse(text) == BatchRange(*sizes)


@pytest.mark.parametrize("text", ["0", "8:1:32", "1:2", "many", ""])
def test_batch_range_refuses_when_malformed(text: str) -> None:
    with pytest.raises(InputError, match="is not a size or a range"):
        BatchRange.parse(text)


def test_load_bundle_names_the_file_when_one_is_altered(bundle_dir: Path) -> None:
    model = bundle_dir / "model.onnx"
    content = bytearray(model.read_bytes())
    content[len(content) // 2] ^= 1
    model.write_bytes(content)
    with pytest.raises(InputError, match=r"model\.onnx is not the file that was exported"):
        load_bundle(bundle_dir)


def test_load_bundle_names_the_file_when_one_is_missing(bundle_dir: Path) -> None:
    (bundle_dir / "golden.npz").unlink()
    with pytest.raises(InputError, match=r"golden\.npz is missing"):
        load_bundle(bundle_dir)


def test_load_bundle_refuses_when_the_format_is_newer(bundle_dir: Path) -> None:
    manifest = json.loads((bundle_dir / "manifest.json").read_text())
    manifest["format_version"] = 99
    (bundle_dir / "manifest.json").write_text(json.dumps(manifest))
    with pytest.raises(InputError, match="bundle format 99"):
        load_bundle(bundle_dir)


def test_check_replaceable_refuses_when_the_folder_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a bundle"):
        check_replaceable(tmp_path)


def test_check_golden_fails_and_remembers_nothing_when_logits_differ(bundle_dir: Path) -> None:
    bundle = load_bundle(bundle_dir)
    wrong = FakeSession(lambda batch: np.zeros((len(batch), 10)))
    for _ in range(2):
        with pytest.raises(CheckError, match="golden"):
            check_golden(bundle, wrong, "cpu", "machine-a")


def test_check_golden_runs_once_when_logits_are_right(bundle_dir: Path) -> None:
    bundle = load_bundle(bundle_dir)
    _, golden = bundle.golden()
    session = FakeSession(lambda batch: golden[: len(batch)])
    assert check_golden(bundle, session, "cpu", "machine-b") == 0.0
    assert check_golden(bundle, session, "cpu", "machine-b") is None
    assert check_golden(bundle, session, "cpu", "machine-c") == 0.0
    assert len(session.seen) == 2


def test_run_padded_fills_the_last_batch_when_sizes_do_not_divide() -> None:
    session = FakeSession(lambda batch: batch[:, :, 0, 0], batch_sizes=(4, 4))
    batch = np.arange(10 * 3, dtype=np.float32).reshape(10, 3, 1, 1)
    assert np.array_equal(run_padded(session, batch), batch[:, :, 0, 0])
    assert session.seen == [4, 4, 4]
