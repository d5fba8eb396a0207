"""``edgeresnet shard`` as users meet it."""

from __future__ import annotations

import json
from pathlib import Path

import pytest

from tests.conftest import Command
from tests.shards import photos


def test_shard_says_what_it_wrote_and_that_it_was_there(
    tmp_path: Path, command: Command, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos")
    code, out, err = command("shard", "photos", "-o", "shards", "--images-per-shard", 4)
    assert (code, err) == (0, "")
    assert out.splitlines() == [
        "train: 10 images in 3 shards, 0.031 MB",
        "val: 6 images in 2 shards, 0.020 MB",
        "--data shards reads them",
    ]
    code, out, err = command(
        "shard", "photos", "-o", tmp_path / "shards", "--images-per-shard", 4, "--json", "-", "-q"
    )
    assert (code, err) == (0, "")
    assert json.loads(out) == {
        "schema": 1,
        "data": "shards",
        "classes": 2,
        "parts": {
            "train": {"images": 10, "bytes": 30720, "shards": 3, "kept": 3},
            "val": {"images": 6, "bytes": 20480, "shards": 2, "kept": 2},
        },
    }


@pytest.mark.parametrize(
    ("arguments", "told"),
    [
        (("nowhere", "-o", "shards"), "nowhere is no folder"),
        (("photos", "-o", "photos/shards"), "lie in each other"),
        (("photos", "-o", "photos.txt"), "is a file"),
        (("photos", "-o", "shards", "--images-per-shard", "0"), "--images-per-shard"),
    ],
)
def test_shard_refuses_what_cannot_be(
    tmp_path: Path,
    command: Command,
    monkeypatch: pytest.MonkeyPatch,
    arguments: tuple[str, ...],
    told: str,
) -> None:
    monkeypatch.chdir(tmp_path)
    photos(tmp_path / "photos", train=2, val=2)
    (tmp_path / "photos.txt").write_text("x")
    code, out, err = command("shard", *arguments)
    assert (code, out) == (2, "")
    assert told in err
    assert not (tmp_path / "shards").exists()
