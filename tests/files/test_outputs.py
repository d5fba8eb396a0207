"""Trying a place out changes nothing there for others who try it out at the same moment."""

from __future__ import annotations

import os
import threading
from contextlib import suppress
from pathlib import Path

import pytest

from edgeresnet.errors import InputError
from edgeresnet.files.outputs import check_output_file, check_output_folder

TIMES, AT_ONCE = 150, 6


def test_checks_pass_when_others_check_the_same_new_place_at_once(tmp_path: Path) -> None:
    place, ended = tmp_path / "run" / "stages", threading.Event()
    faults: list[InputError] = []

    def check() -> None:
        try:
            for _ in range(TIMES):
                check_output_folder(place, "-o")
                check_output_file(place / "out.pt", "-o", "out.pt")
        except InputError as error:
            faults.append(error)

    def lock() -> None:
        """As a lock's folders are made, and go with it."""
        while not ended.is_set():
            with suppress(OSError):
                place.parent.mkdir(exist_ok=True)
                # It stays where somebody tries something out in it just now.
                place.parent.rmdir()

    others = threading.Thread(target=lock)
    several = [threading.Thread(target=check) for _ in range(AT_ONCE)]
    for thread in (others, *several):
        thread.start()
    for thread in several:
        thread.join()
    ended.set()
    others.join()
    assert faults == []
    assert [*tmp_path.rglob("*")] in ([], [place.parent])


def test_check_makes_no_folder_of_the_places_own_name(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    made: list[str] = []
    real = os.mkdir

    def mkdir(path: str, *told: int, **named: int) -> None:
        made.append(Path(path).name)
        real(path, *told, **named)

    monkeypatch.setattr(os, "mkdir", mkdir)
    check_output_file(tmp_path / "a" / "b" / "out.pt", "-o", "out.pt")
    first, *inner = made
    assert first.startswith(".")
    assert {*inner} == {"a", "b"}
    assert [*tmp_path.iterdir()] == []


def test_check_refuses_when_a_folder_above_is_a_link_to_nothing(tmp_path: Path) -> None:
    (tmp_path / "link").symlink_to(tmp_path / "nothing")
    with pytest.raises(InputError, match="link is a link to nothing"):
        check_output_file(tmp_path / "link" / "a" / "out.pt", "-o", "out.pt")
