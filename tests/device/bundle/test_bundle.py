"""Bundles are whole and unaltered."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgeresnet.device.bundle.bundle import check_replaceable, load_bundle
from edgeresnet.errors import InputError


@pytest.fixture
def bundle_dir(files: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(files / "onnx-int8", tmp_path / "bundle"))


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
