"""The device half on arm64: installed there, the same top-1 as on x86.

Takes an hour where the root must be made first: ``sudo -E pytest -m slow -s tests/arm64``. The root
folder stays in ``$EDGERESNET_ARM64_ROOT``, if that is set.
"""

from __future__ import annotations

import json
import os
import platform
import shutil
import subprocess
from pathlib import Path

import pytest

from edgeresnet.device.data.standard import standard_files
from tests.conftest import CommandLine

SCRIPT = Path(__file__).parent / "make_root.sh"
PROGRAM = "/opt/edgeresnet/bin/edgeresnet"
IMAGES = 500


def lacking() -> str | None:
    """Why this test cannot run here."""
    if os.getuid() != 0:
        return "needs root, to change the root folder"
    if shutil.which("debootstrap") is None or shutil.which("qemu-aarch64-static") is None:
        return "sudo apt-get install debootstrap qemu-user-static"
    if not standard_files("fashion-mnist", "val"):
        return "sudo apt-get install dataset-fashion-mnist"
    return None


@pytest.fixture(scope="module")
def root(tmp_path_factory: pytest.TempPathFactory) -> Path:
    kept = os.environ.get("EDGERESNET_ARM64_ROOT")
    return Path(kept) if kept else tmp_path_factory.mktemp("arm64")


def in_root(root: Path, *command: str) -> str:
    """Run a command in the arm64 root, which is made first if need be."""
    done = subprocess.run(
        [str(SCRIPT), str(root), *command], stdout=subprocess.PIPE, text=True, check=True
    )
    return done.stdout


def make_bundle(edgeresnet: CommandLine, folder: Path) -> Path:
    """A network that has learned something, in integer kernels."""
    # The stem of ImageNet makes a small network of it: seconds to train, and to emulate.
    common = ("--data", "fashion-mnist", "--stem", "imagenet", "--image-size", 32)
    steps = [
        ("train", "--arch", "resnet18", *common, "--limit", 6000, "--epochs", 2, "-o", "float.pt"),
        ("quantize", "float.pt", "--data", "fashion-mnist", "--method", "ptq", "-o", "int8.pt"),
        ("export", "int8.pt", "--target", "onnx", "--int8", "-o", "bundle"),
    ]
    for step in steps:
        done = edgeresnet(*step, timeout=1800)
        assert done.returncode == 0, done.stderr
    return folder / "bundle"


@pytest.mark.slow
@pytest.mark.skipif(lacking() is not None, reason=str(lacking()))
def test_top1_is_that_of_x86_when_on_arm64(
    edgeresnet: CommandLine, tmp_path: Path, root: Path
) -> None:
    bundle = make_bundle(edgeresnet, tmp_path)
    near = edgeresnet("evaluate", bundle, "--limit", IMAGES, "--json", "-")
    assert near.returncode == 0, near.stderr

    assert in_root(root, "uname", "-m").strip() == "aarch64"
    packages = in_root(root, "/opt/edgeresnet/bin/pip", "list", "--format=freeze")
    assert "onnxruntime==" in packages
    assert not [line for line in packages.splitlines() if line.startswith(("torch", "onnx=="))]

    shutil.rmtree(root / "bundle", ignore_errors=True)
    shutil.copytree(bundle, root / "bundle")
    for name, path in standard_files("fashion-mnist", "val").items():
        (root / "data" / name).parent.mkdir(parents=True, exist_ok=True)
        shutil.copy(path, root / "data" / name)
    evaluate = ("evaluate", "/bundle", "--limit", str(IMAGES), "--json", "-")
    far = json.loads(in_root(root, "env", "EDGERESNET_DATA=/data", PROGRAM, *evaluate))
    profile = json.loads(in_root(root, PROGRAM, "profile", "/bundle", "--layers", "--json", "-"))

    here = json.loads(near.stdout)
    assert (far["n"], far["precision"]) == (IMAGES, "int8")
    assert here["top1"] > 0.5
    assert abs(far["top1"] - here["top1"]) * IMAGES <= 1 + 1e-9
    assert profile["environment"]["machine"] == "aarch64"
    assert profile["n"] > 0
    record = {
        "top1": {platform.machine(): here["top1"], "aarch64": far["top1"]},
        "n": IMAGES,
        "p50_ms_emulated": profile["p50_ms"],
        "kernels": sorted({f"{layer['op']} {layer['precision']}" for layer in profile["layers"]}),
        "versions": profile["environment"]["versions"],
    }
    print(json.dumps(record, indent=2))
