"""What is imported is declared, and what README tells people to install brings it."""

from __future__ import annotations

import ast
import re
import sys
from fnmatch import fnmatch
from functools import cache
from pathlib import Path
from typing import Any

import pytest

from edgeresnet import __version__
from edgeresnet.cli.output import show
from edgeresnet.report.tables import devices_table
from tests.copies import REPOSITORY

if sys.version_info >= (3, 11):
    import tomllib
else:
    from pip._vendor import tomli as tomllib

PACKAGE = REPOSITORY / "edgeresnet"
README = (REPOSITORY / "README.md").read_text()
DOCKERFILE = (REPOSITORY / "Dockerfile.jetson").read_text()
# Distributions whose name is not the module's.
DISTRIBUTIONS = {
    "PIL": {"pillow"},
    "cuda": {"cuda-python", "cuda-bindings"},
    "onnx_ir": {"onnx-ir"},
    "onnxruntime_qnn": {"onnxruntime-qnn"},
    # Pydantic's compiled half, which it pins: its errors are made there.
    "pydantic_core": {"pydantic"},
    "pynvml": {"nvidia-ml-py"},
    "sklearn": {"scikit-learn"},
    "tensorrt_rtx_bindings": {"tensorrt-rtx-cu13-bindings"},
    "typing_extensions": {"typing-extensions"},
    "yaml": {"pyyaml"},
}
# probe.py runs in Pythons that have nothing but pip, and takes what is there.
FOREIGN_TO = {"probe.py": {"packaging", "pip"}}


def pyproject() -> dict[str, Any]:
    return tomllib.loads((REPOSITORY / "pyproject.toml").read_text())


def names(requirements: list[str]) -> set[str]:
    return {re.split(r"[^\w.-]", text, maxsplit=1)[0].lower() for text in requirements}


@cache
def imports(path: Path) -> list[tuple[str, bool]]:
    """Each foreign module that a file imports, and whether merely importing the file does."""
    tree = ast.parse(path.read_text())
    found = []
    at_import = {id(node) for node in tree.body}
    for node in ast.walk(tree):
        if isinstance(node, ast.Import):
            modules = [alias.name for alias in node.names]
        elif isinstance(node, ast.ImportFrom) and node.level == 0:
            modules = [node.module or ""]
        else:
            continue
        for module in {name.split(".")[0] for name in modules}:
            if module in sys.stdlib_module_names or module == "edgeresnet":
                continue
            found.append((module, id(node) in at_import))
    return found


def undeclared(declared: set[str], *, at_import: bool) -> set[str]:
    """Modules of the package's files (host half left out for ``at_import``) that nothing brings."""
    ignores = pyproject()["tool"]["ruff"]["lint"]["per-file-ignores"]
    host = [pattern for pattern, rules in ignores.items() if "TID253" in rules]
    lacking = set()
    for path in PACKAGE.rglob("*.py"):
        relative = path.relative_to(REPOSITORY)
        if at_import and any(fnmatch(relative.as_posix(), pattern) for pattern in host):
            continue
        for module, on_import in imports(path):
            if module in FOREIGN_TO.get(path.name, ()) or (at_import and not on_import):
                continue
            if not DISTRIBUTIONS.get(module, {module}) & declared:
                lacking.add(f"{relative}: {module}")
    return lacking


def test_every_import_is_declared_in_the_base_or_in_an_extra() -> None:
    project = pyproject()["project"]
    extras = project["optional-dependencies"]
    declared = names(project["dependencies"]).union(
        *(names(listed) for extra, listed in extras.items() if extra != "test")
    )
    assert undeclared(declared, at_import=False) == set()


def test_device_half_imports_only_the_base() -> None:
    base = names(pyproject()["project"]["dependencies"])
    assert undeclared(base, at_import=True) == set()
    # The check is no empty one.
    assert any("numpy" in text for text in undeclared(base - {"numpy"}, at_import=True))


def test_jetson_gets_cuda_python_of_its_cuda_version() -> None:
    from packaging.requirements import Requirement

    extra = [Requirement(r) for r in pyproject()["project"]["optional-dependencies"]["jetson"]]
    for python, fits, too_new in (("3.10", "12.6.2", "13.0.0"), ("3.12", "13.0.0", "14.0.0")):
        board = {"platform_machine": "aarch64", "python_version": python}
        chosen = [r for r in extra if r.marker is None or r.marker.evaluate(board)]
        assert [r.name for r in chosen] == ["cuda-python"]
        assert fits in chosen[0].specifier
        assert too_new not in chosen[0].specifier


def test_jetson_steps_and_image_install_what_the_session_needs() -> None:
    steps = README.split("## On a Jetson", 1)[1].split("\n## ", 1)[0]
    assert f"pip install './edgeresnet-{__version__}-py3-none-any.whl[jetson]'" in steps
    assert "pip install --no-cache-dir '/opt/edgeresnet[jetson]'" in DOCKERFILE


def test_readme_installs_from_files_because_no_index_has_edgeresnet() -> None:
    installed = re.findall(r"pip install (?:-e )?(\S+)", README)
    assert installed
    by_name = [name for name in installed if name.strip("'\"`").startswith("edgeresnet")]
    assert by_name == []
    wheels = set(re.findall(r"edgeresnet-([\d.]+)-py3-none-any\.whl", README))
    assert wheels == {__version__}
    ignored = (REPOSITORY / ".gitignore").read_text().split()
    assert {"dist/", "build/"} <= set(ignored)


@pytest.mark.parametrize(
    "extra", ["host", "onnx", "openvino", "nvml", "qnn", "tensorrt", "jetson", "sign"]
)
def test_extra_that_a_message_names_exists(extra: str) -> None:
    assert extra in pyproject()["project"]["optional-dependencies"]


def test_tables_show_what_stands_in_brackets(capsys: pytest.CaptureFixture[str]) -> None:
    lacking = {
        "name": "openvino", "available": False, "version": None, "reason": "no [openvino]",
        "fix": "pip install 'edgeresnet[openvino]'", "devices": [], "missing": [],
    }  # fmt: skip
    line = "[onnx] is an extra"
    show(devices_table({"targets": [lacking]}), line, quiet=False, json=None)
    shown = capsys.readouterr().out
    assert all(text in shown for text in ("no [openvino]", lacking["fix"], line))
