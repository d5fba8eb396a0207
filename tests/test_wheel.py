"""The wheel alone, in an environment with no torch: what a device gets, and what it does there."""

from __future__ import annotations

import json
import os
import shutil
import subprocess
import sys
import zipfile
from pathlib import Path

import pytest

from edgeresnet import __version__
from edgeresnet.device.data.standard import standard_files
from edgeresnet.device.targets.registry import TARGETS
from tests.copies import REPOSITORY

# JetPack 6 has Python 3.10.
OLDEST = "python3.10"


def python_for_devices(capsys: pytest.CaptureFixture[str]) -> str:
    """The oldest Python that the wheel is for, where it is here; else the one of these tests."""
    found = shutil.which(OLDEST)
    if found is not None:
        command = [found, "-c", "import venv, ensurepip"]
        # A version manager's stand-in is there for Pythons that cannot be started, too.
        if subprocess.run(command, capture_output=True, check=False).returncode == 0:
            return found
    with capsys.disabled():
        print(f"{OLDEST} is not here: the wheel is tried with {sys.executable}")
    return sys.executable


def ran(*command: object, cwd: Path, **variables: str) -> str:
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "VIRTUAL_ENV")}
    done = subprocess.run(
        [*map(str, command)], cwd=cwd, capture_output=True, text=True, check=False,
        env={**environment, **variables},
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return done.stdout


def bin_of(environment: Path) -> Path:
    return environment / ("Scripts" if os.name == "nt" else "bin")


def assert_complete(wheel: Path) -> None:
    """Types, the license and what goes into bundles are in a wheel."""
    with zipfile.ZipFile(wheel) as archive:
        names = set(archive.namelist())
        about = next(name for name in names if name.endswith(".dist-info/METADATA"))
        metadata = archive.read(about).decode().split("\n\n", 1)[0].splitlines()
    assert "edgeresnet/py.typed" in names
    assert any(name.endswith("/licenses/LICENSE") for name in names)
    assert {"License-Expression: Apache-2.0", "Classifier: Typing :: Typed"} <= set(metadata)
    for target in TARGETS:
        assert f"edgeresnet/device/targets/{target}/example.py" in names


@pytest.mark.slow
def test_wheel_measures_a_bundle_when_only_onnx_is_installed(
    files: Path, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    source = tmp_path / "source"
    for name in ("pyproject.toml", "README.md", "LICENSE"):
        source.mkdir(exist_ok=True)
        shutil.copy(REPOSITORY / name, source)
    ignored = shutil.ignore_patterns("__pycache__")
    shutil.copytree(REPOSITORY / "edgeresnet", source / "edgeresnet", ignore=ignored)
    shutil.copytree(REPOSITORY / "recipes", source / "recipes")
    ran(sys.executable, "-m", "pip", "wheel", ".", "--no-deps", "-w", "dist", cwd=source)
    wheel = source / "dist" / f"edgeresnet-{__version__}-py3-none-any.whl"
    assert_complete(wheel)
    environment = tmp_path / "device"
    ran(python_for_devices(capsys), "-m", "venv", environment, cwd=tmp_path)
    python = bin_of(environment) / "python"
    ran(python, "-m", "pip", "install", "-q", f"{wheel}[onnx]", cwd=tmp_path)
    # What a message says to type works for who has installed the wheel: pip does not look for it.
    ran(
        python, "-m", "pip", "install", "--no-index", "edgeresnet[onnx]", cwd=tmp_path,
        PIP_NO_INPUT="1",
    )  # fmt: skip
    absent = "import importlib.util as u; print([n for n in ('torch', 'onnx') if u.find_spec(n)])"
    assert ran(python, "-c", absent, cwd=tmp_path).strip() == "[]"
    # The data of the bundle, which scikit-learn brings on the host.
    for place, path in standard_files("digits", "val").items():
        (tmp_path / "data" / place).parent.mkdir(parents=True)
        shutil.copy(path, tmp_path / "data" / place)
    variables = {"EDGERESNET_DATA": str(tmp_path / "data"), "XDG_CACHE_HOME": str(tmp_path)}
    program = bin_of(environment) / "edgeresnet"
    assert "evaluate" in ran(program, "--help", cwd=tmp_path)
    listed = ran(program, "recipes", cwd=tmp_path)
    assert all(path.stem in listed for path in (REPOSITORY / "recipes").glob("*.yaml"))
    ran(program, "recipes", "quickstart", "-o", "mine.yaml", cwd=tmp_path)
    shipped = REPOSITORY / "recipes" / "quickstart.yaml"
    assert (tmp_path / "mine.yaml").read_text() == shipped.read_text()
    bundle = shutil.copytree(files / "onnx-int8", tmp_path / "bundle")
    profiled = json.loads(ran(program, "profile", bundle, "--json", "-", cwd=tmp_path, **variables))
    assert 0 < profiled["p50_ms"] <= profiled["p99_ms"]
    versions = profiled["environment"]["versions"]
    assert versions["edgeresnet"] == __version__
    command = ("evaluate", bundle, "--limit", 50, "--json", "-")
    evaluated = json.loads(ran(program, *command, cwd=tmp_path, **variables))
    assert evaluated["n"] == 50
    low, high = evaluated["top1_interval"]
    assert low <= evaluated["top1"] <= high
