"""The example of an OpenVINO bundle answers as edgeresnet does."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.settings.export import BatchRange, ExportOptions
from tests.examples import alter, assert_example_answers_as_edgeresnet, python_in


@pytest.mark.parametrize("precision", ["fp32", "int8"])
def test_example_answers_as_edgeresnet(files: Path, tmp_path: Path, precision: str) -> None:
    assert_example_answers_as_edgeresnet(files / f"openvino-{precision}", tmp_path)


# By default pixels and several images are tried in ONNX Runtime's examples, and what such a bundle
# answers in tests/host/export/test_export_bundle.py.
@pytest.mark.slow
def test_example_answers_as_edgeresnet_when_the_batch_is_open_and_pixels_go_in(
    int8_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    export_bundle(
        int8_checkpoint, target="openvino", precision="int8", out_dir=tmp_path / "b",
        options=ExportOptions(batch=BatchRange(2, 4, 8), embed_preprocess=True),
    )  # fmt: skip
    assert_example_answers_as_edgeresnet(tmp_path / "b", tmp_path)


def test_example_ends_with_1_when_the_weights_are_damaged(files: Path, tmp_path: Path) -> None:
    bundle_dir = Path(shutil.copytree(files / "openvino-int8", tmp_path / "bundle"))
    alter(bundle_dir, "model.bin", (bundle_dir / "model.bin").read_bytes()[:-1], recorded=False)
    done = python_in(bundle_dir, tmp_path, "example.py", "--check")
    assert (done.returncode, done.stderr) == (1, "damaged: model.bin; copy the bundle again\n")
