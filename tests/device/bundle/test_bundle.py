"""Bundles are whole and unaltered."""

from __future__ import annotations

import errno
import json
import shutil
import tempfile
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.write_bundle import check_replaceable, write_bundle
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files import folders


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


def test_bundle_has_the_format_whose_readers_cut_out_its_centre(bundle_dir: Path) -> None:
    manifest = load_bundle(bundle_dir).manifest
    spec = replace(manifest.input_spec, crop_rounding="down")
    formats = [
        json.loads(replace(manifest, input_spec=s).to_json())["format_version"]
        for s in (manifest.input_spec, replace(spec, crop_rounding="even", resize=20), spec)
    ]
    assert formats == [1, 2, 3]
    (bundle_dir / "manifest.json").write_text(replace(manifest, input_spec=spec).to_json())
    assert load_bundle(bundle_dir).manifest.input_spec == spec


def test_check_replaceable_refuses_when_the_folder_is_no_bundle(tmp_path: Path) -> None:
    (tmp_path / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a bundle"):
        check_replaceable(tmp_path)


def write_again(path: Path) -> None:
    """Write a bundle in place of the one that is there."""
    bundle = load_bundle(path.resolve())
    images, logits = bundle.golden()
    names = [name for name in bundle.manifest.files if name != "golden.npz"]
    with tempfile.TemporaryDirectory() as folder:
        files = {}
        for name in names:
            files[name] = Path(folder) / name
            files[name].parent.mkdir(exist_ok=True)
            shutil.copyfile(bundle.path / name, files[name])
        write_bundle(path, bundle.manifest, files, images, logits)


@pytest.fixture
def bundle(files: Path, tmp_path: Path) -> Path:
    shutil.copytree(files / "onnx-fp32", tmp_path / "bundle")
    return tmp_path / "bundle"


@pytest.mark.parametrize(
    "name",
    [
        "results.csv",
        "notes/today.txt",
        ".git/config",
        "engines/notes.txt",
        "model.onnx.bak",
        "link",
    ],
)
def test_a_bundle_with_a_users_file_is_never_replaced(bundle: Path, name: str) -> None:
    place = bundle / name
    place.parent.mkdir(exist_ok=True)
    if name == "link":
        place.symlink_to(bundle)
    else:
        place.write_text("mine")
    for write in (check_replaceable, write_again):
        # Whoever opens it refuses a link.
        words = "has a link" if name == "link" and write is write_again else f"its own: {name}"
        with pytest.raises(InputError, match=words):
            write(bundle)
    assert place.is_symlink() or place.read_text() == "mine"
    assert [p.name for p in bundle.parent.iterdir()] == ["bundle"]


def test_a_bundle_with_a_changed_example_is_never_replaced(bundle: Path) -> None:
    (bundle / "example.py").write_text("mine")
    with pytest.raises(InputError, match=r"example.py \(changed\)"):
        check_replaceable(bundle)


def test_a_bundle_with_engines_and_a_file_managers_traces_is_replaced(bundle: Path) -> None:
    (bundle / "engines").mkdir()
    for name in ("engines/npu.blob", "engines/npu.blob.json", ".DS_Store", "Thumbs.db"):
        (bundle / name).write_text("")
    write_again(bundle)
    assert not (bundle / "engines").exists()
    assert load_bundle(bundle).manifest.target == "onnx"


@pytest.mark.parametrize("text", ['{"name": "an app", "version": 3}', "not JSON", "{}"])
def test_a_folder_with_somebody_elses_manifest_is_never_replaced(tmp_path: Path, text: str) -> None:
    (tmp_path / "manifest.json").write_text(text)
    with pytest.raises(InputError, match="no bundle that could be replaced"):
        check_replaceable(tmp_path)


def test_a_link_to_a_bundle_stays_a_link(bundle: Path) -> None:
    link = bundle.with_name("link")
    link.symlink_to(bundle.name)
    write_again(link)
    assert link.is_symlink()
    assert load_bundle(bundle).manifest.target == "onnx"
    assert sorted(p.name for p in bundle.parent.iterdir()) == ["bundle", "link"]


def test_no_half_bundle_is_left_when_writing_fails(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_bundle(bundle).manifest

    def full(*args: object, **kwargs: object) -> None:
        raise OSError(errno.ENOSPC, "No space left on device")

    monkeypatch.setattr(np, "savez_compressed", full)
    with pytest.raises(MissingError, match="make room there"):
        write_again(bundle)
    assert load_bundle(bundle).manifest == before
    assert [p.name for p in bundle.parent.iterdir()] == ["bundle"]


def test_the_old_bundle_is_put_back_when_the_new_one_cannot_take_its_place(
    bundle: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    before = load_bundle(bundle).manifest
    real = Path.rename

    def rename(path: Path, target: Path) -> Path:
        if path.name.endswith(".partial"):
            raise OSError(errno.EIO, "Input/output error")
        return real(path, target)

    monkeypatch.setattr(Path, "rename", rename)
    # As where the file system exchanges no folders.
    monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    with pytest.raises(MissingError, match="Input/output error"):
        write_again(bundle)
    assert load_bundle(bundle).manifest == before
