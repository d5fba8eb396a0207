"""A million names in little memory, and each of them as it was."""

from __future__ import annotations

import os
import pickle
import tracemalloc
from pathlib import Path

import pytest

from edgeresnet.device.data.names import Names, Paths
from edgeresnet.device.data.open import open_dataset
from tests.class_folders import write_classes

TEXTS = ["a.jpg", "", "größe/ä.png", os.fsdecode(b"bad\xff.gif"), "a.jpg"]


def test_names_are_as_they_were_in_any_parts() -> None:
    names = Names([TEXTS[:2], [], TEXTS[2:]])
    assert list(names) == TEXTS
    assert [names[i] for i in range(len(names))] == TEXTS
    assert names[-1] == "a.jpg"
    assert list(names[1:3]) == TEXTS[1:3]
    assert list(names.take([3, 0])) == [TEXTS[3], TEXTS[0]]
    assert list(pickle.loads(pickle.dumps(names))) == TEXTS
    assert len(Names([])) == 0
    with pytest.raises(IndexError):
        names[5]


def test_paths_begin_with_their_folder() -> None:
    paths = Paths("photos/", Names([["cat/1.png", "dog/2.png"]]))
    assert list(paths) == [Path("photos/cat/1.png"), Path("photos/dog/2.png")]
    assert paths.below(Path("photos"), 1) == "dog/2.png"
    assert paths.below(Path("photos/dog"), 1) == "2.png"
    assert paths.below(Path("elsewhere"), 1) == "photos/dog/2.png"
    assert list(paths.take([1])) == [Path("photos/dog/2.png")]
    assert list(paths[:1]) == [Path("photos/cat/1.png")]


def test_names_take_their_letters_and_eight_bytes() -> None:
    parts = ([f"n{part:08d}/n{part:08d}_{i:05d}.JPEG" for i in range(100)] for part in range(100))
    tracemalloc.start()
    try:
        names = Names(parts)
        taken, _ = tracemalloc.get_traced_memory()
    finally:
        tracemalloc.stop()
    assert len(names) == 10_000
    assert taken < 10_000 * (len(names[0]) + 8) * 1.2


@pytest.mark.parametrize("place", [".", "photos", "photos/../photos"])
def test_images_of_a_folder_are_named_alike_however_it_is_called(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch, place: str
) -> None:
    root = write_classes(tmp_path / "photos" / "val", {"cat": (0, 2), "dog": (1, 1)}).parent
    monkeypatch.chdir(root if place == "." else tmp_path)
    dataset = open_dataset(place, "val")
    assert [dataset.file_name(i) for i in range(3)] == ["cat/0.png", "cat/1.png", "dog/0.png"]
    assert dataset.labels.tolist() == [0, 0, 1]
    assert dataset.subset([2]).image(0).size == (8, 8)
