"""What the tree promises: no hidden imports, a short front page, functions of one screen."""

from __future__ import annotations

import ast
import re
from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.copies import REPOSITORY

PACKAGE = REPOSITORY / "edgeresnet"
FILES = sorted(PACKAGE.rglob("*.py"))
# Where our own modules may be named by a string: the lazy face, the commands and the targets.
BY_STRING = {"__init__.py", "cli/app.py", "device/targets/registry.py"}
OWN_MODULE = re.compile(r"edgeresnet\.(?:\w+(?:\.\w+)*)?")
# Other ways to import what no checker of imports sees.
HIDDEN = {"__import__", "__package__", "runpy", "pkgutil", "exec", "eval"}
MOST_ENTRIES, MOST_LINES_OF_FUNCTION, MOST_LINES_OF_FILE = 9, 40, 300

Function = ast.FunctionDef | ast.AsyncFunctionDef


def name_of(path: Path) -> str:
    return path.relative_to(PACKAGE).as_posix()


def imports_by_string(tree: ast.Module) -> Iterator[str]:
    """Own modules named by a string (whole, or the start of an f-string), and hidden imports.

    ``edgeresnet`` alone is the program: ``-m edgeresnet`` starts it here and on a device.
    """
    for node in ast.walk(tree):
        if isinstance(node, ast.Constant) and isinstance(node.value, str):
            if OWN_MODULE.fullmatch(node.value):
                yield f"line {node.lineno}: {node.value!r}"
        elif isinstance(node, ast.Name) and node.id in HIDDEN:
            yield f"line {node.lineno}: {node.id}"
        elif isinstance(node, ast.Call) and "import_module" in ast.unparse(node.func):
            if len(node.args) != 1 or node.keywords:
                yield f"line {node.lineno}: import_module of a relative name"
        elif isinstance(node, ast.Import | ast.ImportFrom):
            modules = [alias.name for alias in node.names]
            modules += [node.module or "."] if isinstance(node, ast.ImportFrom) else []
            yield from (f"line {node.lineno}: {m}" for m in modules if m in {*HIDDEN, "."})


@pytest.mark.parametrize(
    "code",
    [
        'import_module("edgeresnet.host.training.fit")',
        'import_module(f"edgeresnet.{name}")',
        'import_module(".fit", "edgeresnet")',
        'run([python, "-m", "edgeresnet.remote.probe"])',
        '__import__("edgeresnet")',
        "import runpy",
        "from . import fit",
    ],
)
def test_imports_by_string_are_seen(code: str) -> None:
    assert list(imports_by_string(ast.parse(code)))


def test_no_own_module_is_imported_past_the_contracts() -> None:
    hidden = {
        name_of(path): list(imports_by_string(ast.parse(path.read_text())))
        for path in FILES
        if name_of(path) not in BY_STRING
    }
    assert {name: lines for name, lines in hidden.items() if lines} == {}


def test_the_program_itself_may_be_started_by_its_name() -> None:
    assert list(imports_by_string(ast.parse('run([python, "-m", "edgeresnet", "build"])'))) == []


def test_the_front_page_is_short() -> None:
    entries = [path.name for path in PACKAGE.iterdir() if path.is_file()]
    assert len(entries) <= MOST_ENTRIES, sorted(entries)


def test_init_of_every_sub_package_is_empty() -> None:
    full = [name_of(p) for p in PACKAGE.rglob("__init__.py") if p.read_text().strip()]
    assert full == ["__init__.py"]


def test_every_folder_of_modules_is_a_package() -> None:
    folders = {path.parent for path in FILES}
    assert [str(folder) for folder in folders if not (folder / "__init__.py").is_file()] == []


def is_command(path: Path, function: Function) -> bool:
    """Whether Typer makes a command of it: each of its options is a line of the signature."""
    return path.parent.name == "cli" and function.name == path.stem.removesuffix("_command")


def span(node: ast.stmt) -> int:
    return (node.end_lineno or node.lineno) - node.lineno + 1


def lines_of(path: Path, function: Function) -> int:
    """Lines of the code: without the docstring, and of a command without its signature."""
    docstring = span(function.body[0]) if ast.get_docstring(function) else 0
    signature = function.body[0].lineno - function.lineno if is_command(path, function) else 0
    return span(function) - docstring - signature


def test_no_function_is_longer_than_a_screen() -> None:
    long = {
        f"{name_of(path)}: {node.name}": lines
        for path in FILES
        for node in ast.walk(ast.parse(path.read_text()))
        if isinstance(node, Function)
        if (lines := lines_of(path, node)) > MOST_LINES_OF_FUNCTION
    }
    assert long == {}


def test_no_file_is_longer_than_300_lines() -> None:
    lengths = {name_of(path): len(path.read_text().splitlines()) for path in FILES}
    assert {name: n for name, n in lengths.items() if n > MOST_LINES_OF_FILE} == {}
