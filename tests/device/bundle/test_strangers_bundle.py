"""A bundle is a stranger's folder: its files lie in it, are hashed, and say what they may."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Callable
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeresnet.device.bundle.build import build_bundle
from edgeresnet.device.bundle.bundle import Bundle, load_bundle
from edgeresnet.device.bundle.golden import check_golden
from edgeresnet.device.bundle.golden_file import read_golden
from edgeresnet.errors import CheckError, InputError
from tests.fakes import FakeSession
from tests.hostile.bundles import linked, listed, told, untold, weights_at, written
from tests.hostile.golden import IMAGE_SHAPE, golden_of, header, packed, plain
from tests.small_bundles import CLASSES, IMAGES, SIZE, write_small_bundle


@pytest.fixture(scope="module")
def good(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return write_small_bundle(tmp_path_factory.mktemp("good") / "b")


@pytest.fixture
def small(good: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(good, tmp_path / "b"))


@pytest.mark.parametrize(
    "name", [".manifest.json.partial", "engines/optimized.onnx", "example.py", "more/x"]
)
def test_load_bundle_refuses_a_link_wherever_it_is(small: Path, name: str) -> None:
    mine = small.parent / "mine"
    mine.write_text("mine")
    linked(name, str(mine))(small)
    for use in (load_bundle, build_bundle):
        with pytest.raises(InputError, match="has a link"):
            use(small)
    assert mine.read_text() == "mine"


def test_load_bundle_refuses_a_folder_of_engines_that_lies_elsewhere(small: Path) -> None:
    (small.parent / "mine").mkdir()
    linked("engines", "../mine")(small)
    with pytest.raises(InputError, match="has a link, engines"):
        build_bundle(small)


def test_a_bundle_that_is_named_by_a_link_opens(small: Path) -> None:
    link = small.with_name("link")
    link.symlink_to("b")
    assert load_bundle(link).manifest.target == "onnx"


@pytest.mark.parametrize("name", ["model.onnx", "golden.npz"])
def test_load_bundle_waits_for_no_pipe(small: Path, name: str) -> None:
    (small / name).unlink()
    os.mkfifo(small / name)
    with pytest.raises(InputError, match="no regular file"):
        load_bundle(small)


@pytest.mark.parametrize(
    "name",
    [
        "../other.onnx", "/etc/hostname", "a/../../b", "..\\b", "C:b", "C:\\b", "", ".", "a//b",
        "./model.onnx", "new\nline", "MODEL.onnx", "manifest.json", "Manifest.JSON",
        "manifest.json.sig",
    ],
)  # fmt: skip
def test_load_bundle_refuses_a_name_that_is_none_of_a_bundle(small: Path, name: str) -> None:
    shutil.copyfile(small / "model.onnx", small.parent / "other.onnx")
    listed(name)(small)
    with pytest.raises(InputError, match="damaged: files"):
        load_bundle(small)


@pytest.mark.parametrize("model", ["../other.onnx", "golden.npz", "engines/a.onnx", "b.onnx", ""])
def test_load_bundle_refuses_a_model_that_is_no_hashed_file_of_it(small: Path, model: str) -> None:
    shutil.copyfile(small / "model.onnx", small.parent / "other.onnx")
    written("engines/a.onnx", b"")(small)
    listed("engines/a.onnx")(small)
    told(model=model)(small)
    with pytest.raises(InputError, match="damaged: "):
        load_bundle(small)


@pytest.mark.parametrize("kept", ["model.onnx", "golden.npz"])
def test_load_bundle_refuses_when_model_or_golden_file_has_no_hash(small: Path, kept: str) -> None:
    told(files={})(small)
    listed(kept)(small)
    with pytest.raises(InputError, match="files lacks"):
        load_bundle(small)


@pytest.mark.parametrize("place", ["w.bin", "more/w.bin", "engines/w.bin"])
def test_load_bundle_refuses_weights_that_have_no_hash(small: Path, place: str) -> None:
    weights_at(place, place)(small)
    with pytest.raises(InputError, match=r"reads .*w\.bin, whose hash"):
        load_bundle(small)
    listed(place)(small)
    if not place.startswith("engines"):
        assert load_bundle(small).manifest.files[place]


def test_load_bundle_refuses_a_model_of_another_runtime(small: Path) -> None:
    told(target="openvino")(small)
    with pytest.raises(InputError, match=r"no model of target openvino, which has \.xml"):
        load_bundle(small)


@pytest.mark.parametrize(
    "change",
    [
        {"golden_tolerance": float("nan")}, {"golden_tolerance": float("inf")},
        {"golden_tolerance": None}, {"golden_tolerance": 0.99}, {"golden_tolerance": "0.1"},
        {"golden_tolerance": True}, {"golden_tolerance": -0.1}, {"golden_tolerance": 10**400},
        {"logit_bound": float("nan")}, {"logit_bound": float("inf")}, {"logit_bound": -1},
        {"logit_bound": "1"}, {"format_version": True}, {"format_version": "1"},
        {"format_version": 0}, {"classes": []}, {"classes": [1]}, {"layers": [{}]}, {"files": []},
        {"batch": {"smallest": 2, "best": 1, "largest": 1}}, {"macs": 10**400}, {"proof": []},
        {"input_spec": {"image_size": 20_000, "mean": [0, 0, 0], "std": [1, 1, 1]}},
        {"input_spec": {"image_size": 16, "mean": [0, 0, 0], "std": [0, 1, 1]}},
        {"provenance": {"pruning": {}}}, {"provenance": {"notes": [1]}}, {"target": ["onnx"]},
        {"precision": ""}, {"precision": "int3"}, {"precision": "int8+"},
    ],
    ids=lambda change: str(change)[:40],
)  # fmt: skip
def test_load_bundle_refuses_what_no_manifest_says(small: Path, change: dict[str, Any]) -> None:
    told(**change)(small)
    with pytest.raises(InputError, match=r"manifest\.json is damaged: "):
        load_bundle(small)


@pytest.mark.parametrize(
    "content", [b"[" * 100_000, b"", b"\xff", b'{"format_version": ' + b"1" * 9000 + b"}", b"[]"]
)
def test_load_bundle_refuses_what_is_no_manifest(small: Path, content: bytes) -> None:
    (small / "manifest.json").write_bytes(content)
    with pytest.raises(InputError, match=r"manifest\.json is damaged: "):
        load_bundle(small)


def test_load_bundle_takes_what_older_versions_did_not_write(small: Path) -> None:
    before = load_bundle(small).manifest
    untold("data_fingerprint", "classes_known", "stride_in")(small)
    assert load_bundle(small).manifest == before


def check_with(bundle: Bundle, change: Callable[[Any], Any], machine: str) -> float | None:
    images, logits = bundle.golden()
    session = FakeSession(lambda batch: change(logits)[: len(batch)])
    session.input_shape = (3, SIZE, SIZE)
    assert len(images) == IMAGES
    return check_golden(bundle, session, "cpu", machine)


def test_check_golden_refuses_a_bound_that_any_logits_keep(small: Path) -> None:
    told(logit_bound=1e9)(small)
    with pytest.raises(InputError, match="is explained"):
        check_with(load_bundle(small), lambda logits: logits, "wide")


def test_check_golden_remembers_the_whole_manifest(small: Path) -> None:
    bundle = load_bundle(small)
    assert check_with(bundle, lambda logits: logits, "marked") == 0.0
    assert check_with(bundle, lambda logits: logits, "marked") is None
    told(logit_bound=0.0005)(small)
    with pytest.raises(CheckError, match="golden logits"):
        check_with(load_bundle(small), lambda logits: logits + np.float32(0.0008), "marked")


IMAGES_FILE = plain(np.zeros(IMAGE_SHAPE, np.uint8))
LOGITS_FILE = plain(np.zeros((IMAGES, CLASSES), np.float32))


@pytest.mark.parametrize(
    ("images", "logits", "words"),
    [
        (header((1 << 40, SIZE, SIZE, 3), "|u1"), LOGITS_FILE, "bytes"),
        (header((0, SIZE, SIZE, 3), "|u1"), LOGITS_FILE, "of shape"),
        (header((IMAGES, 60_000, 60_000, 3), "|u1"), LOGITS_FILE, "of shape"),
        (plain(np.zeros(IMAGE_SHAPE, np.int8)), LOGITS_FILE, "are int8"),
        (plain(np.array([{}], object), pickled=True), LOGITS_FILE, "are object"),
        (IMAGES_FILE, plain(np.zeros((IMAGES, 3), np.float32)), "of shape"),
        (IMAGES_FILE, plain(np.zeros((2, CLASSES), np.float32)), "logits of 2"),
        (IMAGES_FILE, plain(np.full((IMAGES, CLASSES), np.nan, np.float32)), "not all finite"),
        (IMAGES_FILE[:-1], LOGITS_FILE, "bytes"),
        (IMAGES_FILE + b"x", LOGITS_FILE, "bytes"),
        (header("-" * 450 + "1", "|u1"), LOGITS_FILE, "malformed"),
    ],
)
def test_read_golden_refuses_what_the_manifest_does_not_know(
    tmp_path: Path, images: bytes, logits: bytes, words: str
) -> None:
    path = tmp_path / "golden.npz"
    path.write_bytes(packed({"images.npy": images, "logits.npy": logits}))
    with pytest.raises(InputError, match=rf"golden\.npz is damaged: .*{words}"):
        read_golden(path, SIZE, CLASSES)


def test_read_golden_reads_what_numpy_writes(tmp_path: Path) -> None:
    images = np.random.default_rng(0).integers(0, 256, IMAGE_SHAPE, np.uint8)
    logits = np.random.default_rng(0).random((IMAGES, CLASSES), np.float32)
    for name, write in (("a", np.savez), ("b", np.savez_compressed)):
        write(tmp_path / name, images=images, logits=logits)
        found = read_golden(tmp_path / f"{name}.npz", SIZE, CLASSES)
        assert all(np.array_equal(*pair) for pair in zip(found, (images, logits), strict=True))


def test_read_golden_reads_no_directory_of_thousands(tmp_path: Path) -> None:
    path = tmp_path / "golden.npz"
    path.write_bytes(packed({f"{i}.npy": b"" for i in range(5000)}))
    with pytest.raises(InputError, match="no zip file of two arrays"):
        read_golden(path, SIZE, CLASSES)


def test_a_golden_file_with_its_right_hash_is_no_more_believed(small: Path) -> None:
    golden_of(packed({"images.npy": IMAGES_FILE}))(small)
    with pytest.raises(InputError, match="damaged"):
        load_bundle(small).golden()


def test_the_manifest_is_written_through_no_link(small: Path) -> None:
    (small.parent / "mine").write_text("mine")
    written("engines/optimized.onnx", b"x")(small)
    listed("engines/optimized.onnx")(small)
    assert build_bundle(small) is None
    assert json.loads((small / "manifest.json").read_text())["files"].keys() == {
        "model.onnx", "golden.npz",
    }  # fmt: skip
    assert sorted(p.name for p in small.iterdir()) == ["golden.npz", "manifest.json", "model.onnx"]
