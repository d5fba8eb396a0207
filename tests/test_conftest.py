"""Which tests go side by side."""

from __future__ import annotations

import os
from types import SimpleNamespace
from typing import Any

import pytest

from tests import conftest

PATHS, NONE = pytest.Config.ArgsSource.ARGS, pytest.Config.ArgsSource.TESTPATHS
DEFAULT = conftest.DEFAULT_TESTS[0]


@pytest.mark.parametrize(
    ("changed", "expected"),
    [
        ({}, 2),
        ({"markexpr": "not slow"}, 2),
        ({"cores": 64}, conftest.MOST_PROCESSES),
        ({"cores": 1}, None),
        ({"markexpr": "slow"}, None),
        ({"markexpr": "gpu"}, None),
        ({"args_source": PATHS}, None),
        ({"usepdb": True}, None),
        ({"collectonly": True}, None),
        ({"workerinput": {}}, None),
        ({"numprocesses": 0}, 0),
        ({"numprocesses": 3}, 3),
    ],
)
def test_only_all_default_tests_go_side_by_side(
    changed: dict[str, Any], expected: int | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(conftest, "default_threads", lambda: changed.get("cores", 2))
    told = {"markexpr": DEFAULT, "numprocesses": None, "collectonly": False, "usepdb": False}
    option = SimpleNamespace(dist="no", loadscopereorder=True, **told)
    config: Any = SimpleNamespace(
        args_source=NONE, ArgsSource=pytest.Config.ArgsSource, option=option
    )
    for name, value in changed.items():
        setattr(option if hasattr(option, name) else config, name, value)
    conftest.pytest_cmdline_main(config)
    assert option.numprocesses == expected
    assert option.dist == ("loadfile" if expected not in (told | changed).values() else "no")


def test_the_default_tests_are_those_of_the_project(pytestconfig: pytest.Config) -> None:
    (line,) = [one for one in pytestconfig.getini("addopts") if one.startswith("not ")]
    assert line in conftest.DEFAULT_TESTS


def test_threads_of_all_processes_are_no_more_than_there_are_cores() -> None:
    for processes in (1, 2, 1000):
        assert 1 <= conftest.threads_each(processes) <= max(1, (os.cpu_count() or 1) // processes)
