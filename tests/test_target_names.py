"""Nobody outside the targets' folder asks for a target by its name; read from the syntax trees."""

from __future__ import annotations

import ast
from collections.abc import Iterator
from pathlib import Path

from edgeresnet.device.targets.registry import TARGETS
from tests.copies import REPOSITORY

PACKAGE = REPOSITORY / "edgeresnet"

# Tables of Python packages, of which some are called like a target.
PACKAGE_TABLES = {
    "device/machine/environment.py": "PACKAGES",
    "cli/app.py": "HOST_PACKAGES",
    "run/preflight.py": "HOST_MODULES",
}


def is_text(node: ast.AST, names: set[str]) -> bool:
    return isinstance(node, ast.Constant) and node.value in names


def excepted(tree: ast.Module, relative: str) -> set[ast.AST]:
    """Constants in tables of packages, and defaults of settings."""
    allowed: set[ast.AST] = set()
    for node in ast.walk(tree):
        if isinstance(node, ast.Assign):
            table = PACKAGE_TABLES.get(relative)
            if any(isinstance(t, ast.Name) and t.id == table for t in node.targets):
                allowed |= set(ast.walk(node))
            if relative.startswith("settings/"):
                allowed |= set(ast.walk(node.value))
        if isinstance(node, ast.AnnAssign) and node.value and relative.startswith("settings/"):
            allowed |= set(ast.walk(node.value))
    return allowed


def named_targets(root: Path, names: set[str]) -> Iterator[str]:
    """Where a target's name is a string constant outside of the targets' own folder."""
    for path in sorted(root.rglob("*.py")):
        relative = path.relative_to(root).as_posix()
        if relative.startswith("device/targets/"):
            continue
        tree = ast.parse(path.read_text(encoding="utf-8"))
        allowed = excepted(tree, relative)
        for node in ast.walk(tree):
            if is_text(node, names) and node not in allowed:
                assert isinstance(node, ast.Constant)
                yield f"{relative}:{node.lineno} {node.value}"


def test_no_target_is_asked_for_by_name_outside_the_targets_folder() -> None:
    assert list(named_targets(PACKAGE, set(TARGETS))) == []


def test_a_name_is_seen_wherever_it_is_asked_for(tmp_path: Path) -> None:
    """Each way in which code asked for a target before there was a `TargetSpec`."""
    (tmp_path / "settings").mkdir()
    (tmp_path / "device" / "targets").mkdir(parents=True)
    (tmp_path / "device" / "targets" / "own.py").write_text("name = 'qnn'")
    (tmp_path / "settings" / "s.py").write_text(
        "target: str = 'qnn'\nT = 'onnx'\nif x == 'onnx': pass"
    )
    (tmp_path / "m.py").write_text(
        "if t == 'qnn': pass\nT = {'onnx': 1}\nU = t in ('tensorrt',)\n"
        "L: Literal['openvino']\ndef f(t='onnx'): 'qnn: a docstring'\nHELP = 'onnx, or qnn.'\n"
        "match t:\n    case 'qnn': pass"
    )
    assert sorted(named_targets(tmp_path, set(TARGETS))) == [
        "m.py:1 qnn", "m.py:2 onnx", "m.py:3 tensorrt", "m.py:4 openvino", "m.py:5 onnx",
        "m.py:8 qnn", "settings/s.py:3 onnx",
    ]  # fmt: skip
