"""A folder is replaced whole or not at all, and found again whenever a crash comes."""

from __future__ import annotations

import os
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.write_bundle import check_replaceable
from edgeresnet.files import folders
from edgeresnet.files.folders import atomic_folder, replace_folder
from tests.files.faults import in_process
from tests.small_bundles import write_small_bundle


def replace(place: Path, content: str) -> None:
    with atomic_folder(place) as partial:
        (partial / "inner").mkdir()
        (partial / "inner" / "x").write_text(content)


@pytest.fixture(params=["exchanged", "by two renamings"])
def exchanging(request: pytest.FixtureRequest, monkeypatch: pytest.MonkeyPatch) -> str:
    if request.param != "exchanged":
        monkeypatch.setattr(folders, "_exchanged", lambda one, other: False)
    return str(request.param)


@pytest.mark.usefixtures("exchanging")
def test_a_folder_is_replaced_and_nothing_is_left(tmp_path: Path) -> None:
    for content in ("old", "new"):
        replace(tmp_path / "a", content)
        assert (tmp_path / "a" / "inner" / "x").read_text() == content
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


@pytest.mark.usefixtures("exchanging")
def test_the_old_folder_stays_when_the_new_one_fails(tmp_path: Path) -> None:
    replace(tmp_path / "a", "old")

    def half() -> None:
        with atomic_folder(tmp_path / "a") as partial:
            (partial / "x").write_text("half")
            raise ZeroDivisionError

    with pytest.raises(ZeroDivisionError):
        half()
    assert (tmp_path / "a" / "inner" / "x").read_text() == "old"
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_a_link_stays_and_the_folder_that_it_leads_to_is_replaced(tmp_path: Path) -> None:
    (tmp_path / "a").symlink_to(tmp_path / "real")
    (tmp_path / "real").mkdir()
    replace(tmp_path / "a", "new")
    assert (tmp_path / "a").is_symlink()
    assert (tmp_path / "real" / "inner" / "x").read_text() == "new"


def test_a_crash_at_any_call_of_the_system_leaves_a_whole_folder(
    tmp_path: Path, exchanging: str
) -> None:
    """Killed before each call that changes the disk: then the place has the old or the new."""
    seen = set()
    for moment in range(40):
        root = tmp_path / str(moment)
        replace(root / "a", "old")
        if in_process(lambda r=root, m=moment: _replace_until(r / "a", m), root).code == 0:
            break
        folders.restore_folder(root / "a")
        seen.add((root / "a" / "inner" / "x").read_text())
        replace(root / "a", "again")
        assert (root / "a" / "inner" / "x").read_text() == "again"
    assert moment > 4
    assert seen == {"old", "new"}


def _replace_until(place: Path, moment: int) -> int:
    """End at once before the call of that number that changes the disk."""
    left = [moment]

    def ending(real: Any) -> Any:
        def call(*arguments: Any, **named: Any) -> Any:
            if not left[0]:
                os._exit(9)
            left[0] -= 1
            return real(*arguments, **named)

        return call

    with pytest.MonkeyPatch.context() as patch:
        for name in ("fsync", "rmdir", "unlink", "rename", "mkdir"):
            patch.setattr(os, name, ending(getattr(os, name)))
        patch.setattr(folders, "_exchanged", ending(folders._exchanged))
        patch.setattr(Path, "rename", ending(Path.rename))
        replace(place, "new")
    return 0


def test_a_bundle_between_two_renamings_is_opened_and_may_be_replaced(tmp_path: Path) -> None:
    for reader in (load_bundle, check_replaceable):
        place = write_small_bundle(tmp_path / "b")
        place.rename(tmp_path / ".b.old")
        reader(place)
        assert (place / "manifest.json").is_file()
        assert not (tmp_path / ".b.old").exists()


def test_what_is_there_already_is_never_restored_over(tmp_path: Path) -> None:
    replace(tmp_path / "a", "new")
    replace(tmp_path / ".a.old", "old")
    folders.restore_folder(tmp_path / "a")
    assert (tmp_path / "a" / "inner" / "x").read_text() == "new"
    replace_folder(_folder(tmp_path / "n", "newer"), tmp_path / "a")
    assert [path.name for path in tmp_path.iterdir()] == ["a"]


def test_all_of_a_folder_reaches_the_disk_before_it_takes_its_place(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    synced: list[int] = []
    monkeypatch.setattr(os, "fsync", lambda number: synced.append(os.fstat(number).st_ino))
    replace(tmp_path / "a", "new")
    places = (tmp_path / "a" / "inner" / "x", tmp_path / "a" / "inner", tmp_path / "a", tmp_path)
    assert synced[-1] == tmp_path.stat().st_ino
    assert {path.stat().st_ino for path in places} <= set(synced)


def _folder(path: Path, content: str) -> Path:
    path.mkdir()
    (path / "x").write_text(content)
    return path
