"""Which data the commands for a device copy there."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.run.device_commands import data_there


def test_data_is_copied_as_its_folder_and_called_as_it_lies_there(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    (tmp_path / "data" / "shards").mkdir(parents=True)
    assert data_there("data/shards") == (["data/shards"], "shards")
    named = "train-{000000..000009}.tar"
    assert data_there(f"data/shards/{named}") == (["data/shards"], f"shards/{named}")
    assert data_there("digits") == ([], "digits")
