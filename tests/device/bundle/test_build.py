"""Engines that are loaded are built; where a target compiles when it loads, nothing is written."""

from __future__ import annotations

import json
import shutil
from pathlib import Path

import pytest

from edgeresnet.api.opening import open_model
from edgeresnet.device.bundle.build import build_bundle
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.write_bundle import record_engines
from edgeresnet.device.targets.onnxruntime_session import optimized_graph
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import InputError
from tests.conftest import CommandLine


@pytest.mark.parametrize("name", ["onnx-int8", "openvino-int8"])
def test_build_writes_nothing_and_says_so_when_the_target_compiles_as_it_loads(
    edgeresnet: CommandLine, files: Path, tmp_path: Path, name: str
) -> None:
    bundle = Path(shutil.copytree(files / name, tmp_path / name))
    before = {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()}
    found = edgeresnet("build", bundle, "--json", "b.json")
    assert found.returncode == 0, found.stderr
    assert "compiles for cpu when it loads" in found.stdout
    assert "nothing is written" in found.stdout
    result = json.loads((tmp_path / "b.json").read_text())
    assert (result["device"], result["engine"], result["size_bytes"]) == ("cpu", None, None)
    assert {path: path.read_bytes() for path in bundle.rglob("*") if path.is_file()} == before
    assert not (bundle / "engines").exists()


@pytest.mark.parametrize("name", ["onnx-int8", "openvino-int8"])
def test_build_leaves_no_folder_when_it_fails(
    edgeresnet: CommandLine, files: Path, tmp_path: Path, name: str
) -> None:
    bundle = Path(shutil.copytree(files / name, tmp_path / name))
    target = TARGETS[name.split("-")[0]]
    here = [device.name for device in target.devices()]
    elsewhere = next(device for device in target.spec.devices if device not in here)
    found = edgeresnet("build", bundle, "--device", elsewhere)
    assert found.returncode == 3, found.stderr
    assert not (bundle / "engines").exists()


@pytest.mark.parametrize(
    ("name", "left"),
    [("onnx-int8", ["optimized.onnx"]), ("openvino-int8", ["cpu.blob", "cpu.blob.json"])],
)
def test_bundle_opens_and_builds_when_an_older_build_left_what_nothing_loads(
    files: Path, tmp_path: Path, name: str, left: list[str]
) -> None:
    path = Path(shutil.copytree(files / name, tmp_path / name))
    (path / "engines").mkdir()
    for file_name in left:
        (path / "engines" / file_name).write_text("{}")
    record_engines(load_bundle(path))
    assert f"engines/{left[0]}" in load_bundle(path).manifest.files
    with open_model(path):
        pass
    # Altered since, it stops the bundle, and the build that the message asks for must mend it.
    (path / "engines" / left[0]).write_text("altered")
    with pytest.raises(InputError, match="build it again"):
        load_bundle(path)
    assert build_bundle(path) is None
    assert not (path / "engines").exists()
    assert all(not name.startswith("engines/") for name in load_bundle(path).manifest.files)
    with open_model(path):
        pass


def test_optimized_graph_is_what_onnxruntime_makes_of_a_model(files: Path, tmp_path: Path) -> None:
    path = optimized_graph(load_bundle(files / "onnx-int8").model_path, tmp_path / "o.onnx")
    assert b"QLinearConv" in path.read_bytes()
