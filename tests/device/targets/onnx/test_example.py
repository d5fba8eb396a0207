"""A bundle's example answers as edgeresnet does, and says when the bundle does not."""

from __future__ import annotations

import io
import json
import runpy
import shutil
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.logits import compare_logits
from edgeresnet.device.data.preprocess import normalize, to_pixels
from edgeresnet.device.targets.registry import example_of
from edgeresnet.errors import InputError
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.settings.export import BatchRange, ExportOptions
from edgeresnet.settings.inputs import InputSpec
from tests.examples import (
    POISONED,
    alter,
    assert_example_answers_as_edgeresnet,
    python_in,
    write_images,
)


@pytest.fixture
def bundle_dir(files: Path, tmp_path: Path) -> Path:
    return Path(shutil.copytree(files / "onnx-int8", tmp_path / "bundle"))


def rows(content: np.ndarray, images: np.ndarray) -> bytes:
    """A golden.npz."""
    file = io.BytesIO()
    np.savez_compressed(file, images=images, logits=content)
    return file.getvalue()


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_example_answers_as_edgeresnet(files: Path, tmp_path: Path, precision: str) -> None:
    assert_example_answers_as_edgeresnet(files / f"onnx-{precision}", tmp_path)


@pytest.mark.parametrize(
    "options",
    [ExportOptions(embed_preprocess=True), ExportOptions(batch=BatchRange(4, 4, 4))],
    ids=["pixels", "batch-4"],
)
def test_example_answers_as_edgeresnet_when_the_input_is_another(
    checkpoint: Checkpoint, tmp_path: Path, options: ExportOptions
) -> None:
    export_bundle(
        checkpoint, target="onnx", precision="fp32", out_dir=tmp_path / "b", options=options
    )
    assert_example_answers_as_edgeresnet(tmp_path / "b", tmp_path)


@pytest.mark.parametrize("name", POISONED)
def test_python_in_a_bundle_tells_when_an_example_imports_what_it_must_not(
    bundle_dir: Path, tmp_path: Path, name: str
) -> None:
    done = python_in(bundle_dir, tmp_path, "-c", f"import {name}")
    assert (done.returncode, done.stderr.strip()) == (1, f"{name} was imported")


@pytest.mark.parametrize("name", ["golden.npz", "model.onnx"])
def test_example_ends_with_1_when_a_file_is_damaged(
    bundle_dir: Path, tmp_path: Path, name: str
) -> None:
    content = bytearray((bundle_dir / name).read_bytes())
    content[len(content) // 2] ^= 1
    alter(bundle_dir, name, bytes(content), recorded=False)
    done = python_in(bundle_dir, tmp_path, "example.py")
    assert (done.returncode, done.stderr) == (1, f"damaged: {name}; copy the bundle again\n")


def test_example_ends_with_1_when_the_logits_are_not_the_golden_ones(
    bundle_dir: Path, tmp_path: Path
) -> None:
    images, logits = load_bundle(bundle_dir).golden()
    alter(bundle_dir, "golden.npz", rows(logits[:, ::-1], images), recorded=True)
    done = python_in(bundle_dir, tmp_path, "example.py", "--check")
    assert (done.returncode, done.stderr) == (1, "")
    assert done.stdout.rstrip().endswith(": NOT good")


def test_example_ends_with_2_and_a_line_each_when_images_cannot_be_read(
    bundle_dir: Path, tmp_path: Path
) -> None:
    folder = tmp_path / "images"
    folder.mkdir()
    noise = np.random.default_rng(0).integers(0, 256, (20, 20, 3), np.uint8)
    Image.fromarray(noise).save(folder / "fine.png")
    (folder / "text.jpg").write_text("no image")
    (folder / "cut.png").write_bytes((folder / "fine.png").read_bytes()[:600])
    Image.fromarray(np.ones((8, 8), np.float32)).save(folder / "float.tiff")
    (folder / "folder.png").mkdir()
    broken = [folder / n for n in ("text.jpg", "cut.png", "float.tiff", "folder.png", "none.png")]
    done = python_in(bundle_dir, tmp_path, "example.py", *broken, folder / "fine.png")
    assert done.returncode == 2
    lines = done.stderr.splitlines()
    assert len(lines) == len(broken)
    for path, line in zip(broken, lines, strict=True):
        assert line.startswith(f"{path} is no image that can be read: ")
    assert "floats of unknown range" in lines[2]
    assert done.stdout.startswith(f"{folder / 'fine.png'}: ")


@pytest.mark.parametrize("size", [8, 32, 128, 160])
@pytest.mark.parametrize("embedded", [False, True])
def test_inputs_of_the_example_are_edgeresnets(tmp_path: Path, size: int, embedded: bool) -> None:
    spec = InputSpec(size, (0.4, 0.5, 0.6), (0.2, 0.3, 0.1))
    example = example_in(tmp_path, {"input_spec": spec.to_dict(), "embed_preprocess": embedded})
    (tmp_path / "images").mkdir()
    for path in write_images(tmp_path / "images"):
        with Image.open(path) as image:
            found, wanted = example["to_pixels"](image), to_pixels(image, spec)
        np.testing.assert_array_equal(found, wanted, err_msg=path.name)
        inputs = example["to_input"](found[None])
        expected = wanted[None] if embedded else normalize(wanted[None], spec)
        assert inputs.dtype == expected.dtype
        np.testing.assert_array_equal(inputs, expected)


@pytest.mark.parametrize("precision", ["fp32", "int8", "int8+fp16", "w8a16"])
@pytest.mark.parametrize("images", [2, 8, 200])
def test_check_of_the_example_decides_as_edgeresnets(
    tmp_path: Path, precision: str, images: int
) -> None:
    bound = 0.1
    about = {
        "precision": precision, "logit_bound": bound, "embed_preprocess": True,
        "batch": {"smallest": 1},
    }  # fmt: skip
    example = example_in(tmp_path, about)
    generator = np.random.default_rng(0)
    wanted = generator.normal(0, 0.3, (images, 40)).astype(np.float32)
    pixels = np.arange(images, dtype=np.uint8)[:, None]
    (tmp_path / "golden.npz").write_bytes(rows(wanted, pixels))
    decided = []
    for share in (0, 0.005, 0.011, 0.03, 0.045, 0.06):
        for wrong in (bound * 0.9, bound * 1.1, 5.0, np.nan):
            logits = wanted.copy()
            logits.flat[: round(logits.size * share)] += wrong
            columns = wanted.copy()
            columns[: round(images * share * 40), 0] += wrong
            for found in (logits, columns):
                fault = compare_logits(found, wanted, bound, precision).fault()
                assert example["check"](lambda batch, found=found: found[batch[:, 0]]) is (
                    fault is None
                )
                decided.append(fault is None)
    assert {True, False} == set(decided)


def test_bundle_opens_without_its_example_and_not_with_another(bundle_dir: Path) -> None:
    example = bundle_dir / "example.py"
    assert example_of("onnx").read_bytes() == example.read_bytes()  # type: ignore[union-attr]
    alter(bundle_dir, "example.py", b"print('mine')", recorded=False)
    with pytest.raises(InputError, match=r"example\.py is not the file that was exported"):
        load_bundle(bundle_dir)
    example.unlink()
    load_bundle(bundle_dir)
    # As bundles were before there were examples.
    manifest = json.loads((bundle_dir / "manifest.json").read_text())
    del manifest["files"]["example.py"]
    (bundle_dir / "manifest.json").write_text(json.dumps(manifest))
    load_bundle(bundle_dir)


def example_in(folder: Path, manifest: dict[str, object]) -> dict[str, object]:
    """The names of the example, as it stands beside a manifest."""
    path = example_of("onnx")
    assert path is not None
    (folder / "manifest.json").write_text(json.dumps(manifest))
    return runpy.run_path(str(shutil.copy(path, folder)))
