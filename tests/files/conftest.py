"""What tries of commands on failing disks share: it takes seconds to begin."""

from __future__ import annotations

from collections.abc import Iterator
from concurrent.futures import ProcessPoolExecutor
from pathlib import Path

import pytest

from tests.files.commands import fresh_process, prepare_apart


@pytest.fixture(scope="session")
def pool() -> Iterator[ProcessPoolExecutor]:
    """A process that has imported all, and of which each try is a copy."""
    with fresh_process() as started:
        yield started


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, pool: ProcessPoolExecutor) -> Path:
    """What the commands are given, and outputs of before."""
    folder = tmp_path_factory.mktemp("prepared") / "root"
    made = pool.submit(prepare_apart, folder).result(320)
    assert made.code == 0, made.err
    return folder
