"""The device half stands without torch: its types are checked where no host package is.

``.ci/run`` does this with the other types, while it waits for packages.
"""

from __future__ import annotations

import os
import subprocess
import sys
import venv
from importlib import metadata
from pathlib import Path

import pytest
from packaging.requirements import Requirement

from tests.copies import REPOSITORY
from tests.test_packaging import pyproject

# As in the import contract of pyproject.toml; `remote` is the device half's other end.
DEVICE_HALF = (
    "device", "remote", "report", "results", "settings", "files", "progress", "closing", "errors",
)  # fmt: skip
# Types of base packages that do not bring their own, and what any Python has that `probe` meets.
BESIDE_THE_BASE = ["types-PyYAML", "pip", "packaging"]
# The package's face names the public functions to type checkers, so that mypy would go on through
# it into the host half. That the device half itself does not is a contract of the imports.
NOT_FOLLOWED = """
[[tool.mypy.overrides]]
module = ["edgeresnet.api.*", "edgeresnet.run.*", "edgeresnet.cli.*", "edgeresnet.host.*"]
follow_imports = "skip"
"""


def base_distributions() -> list[metadata.Distribution]:
    """The package's dependencies outside every extra, and theirs."""
    waiting = pyproject()["project"]["dependencies"] + BESIDE_THE_BASE
    known: dict[str, metadata.Distribution] = {}
    while waiting:
        need = Requirement(waiting.pop())
        if need.marker is not None and not need.marker.evaluate({"extra": ""}):
            continue
        if need.name.lower() not in known:
            distribution = metadata.distribution(need.name)
            known[need.name.lower()] = distribution
            waiting += distribution.requires or []
    return list(known.values())


def make_base_venv(folder: Path) -> Path:
    """A virtual environment of links to the base packages installed here; returns its Python."""
    venv.create(folder, symlinks=True)
    python = folder / "bin" / "python"
    site = next((folder / "lib").glob("python*/site-packages"))
    for distribution in base_distributions():
        for entry in distribution.files or ():
            top = entry.parts[0]
            if top not in ("..", "__pycache__") and not (site / top).exists():
                (site / top).symlink_to(Path(str(distribution.locate_file(top))))
    return python


@pytest.mark.slow
def test_types_of_the_device_half_hold_where_no_host_package_is(tmp_path: Path) -> None:
    python = make_base_venv(tmp_path / "venv")
    environment = {k: v for k, v in os.environ.items() if k not in ("PYTHONPATH", "MYPYPATH")}
    there = subprocess.run(
        [python, "-c", "import numpy, pydantic, torch"],
        env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert "No module named 'torch'" in there.stderr
    config = tmp_path / "pyproject.toml"
    config.write_text((REPOSITORY / "pyproject.toml").read_text() + NOT_FOLLOWED)
    packages = [argument for name in DEVICE_HALF for argument in ("-p", f"edgeresnet.{name}")]
    checked = subprocess.run(
        [sys.executable, "-m", "mypy", "--config-file", config, "--python-executable", python,
         "--cache-dir", tmp_path / "cache", *packages],
        cwd=REPOSITORY, env=environment, capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert checked.returncode == 0, checked.stdout + checked.stderr
    assert "no issues found" in checked.stdout
