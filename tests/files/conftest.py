"""What tries of commands on failing disks share: it takes seconds to begin."""

from __future__ import annotations

from collections.abc import Iterator
from pathlib import Path

import pytest

from tests.files.commands import Tries, prepare_apart


@pytest.fixture(scope="session")
def tries() -> Iterator[Tries]:
    """A process that has imported all, and of which each try is a copy."""
    with Tries() as begun:
        yield begun


@pytest.fixture(scope="session")
def prepared(tmp_path_factory: pytest.TempPathFactory, tries: Tries) -> Path:
    """What the commands are given, and outputs of before."""
    folder = tmp_path_factory.mktemp("prepared") / "root"
    made = tries.call(prepare_apart, folder)
    assert made.code == 0, made.err
    return folder
