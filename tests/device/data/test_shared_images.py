"""Images that are measured on and were learned from too are found by their content."""

from __future__ import annotations

import shutil
from pathlib import Path

import pytest

from edgeresnet.device.data import shared_images as module
from edgeresnet.device.data.folder import FolderDataset
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.shared_images import shared_line
from tests.cli.test_app import image_folder


def parts(root: Path) -> tuple[FolderDataset, FolderDataset]:
    """The validation and the training images of a folder."""
    opened = [open_dataset(str(root), "val"), open_dataset(str(root), "train")]
    val, train = opened
    assert isinstance(val, FolderDataset)
    assert isinstance(train, FolderDataset)
    return val, train


@pytest.fixture
def photos(tmp_path: Path) -> Path:
    """24 distinct images of two classes, split by their folders."""
    image_folder(tmp_path / "photos" / "train", ["a", "b"], images=12, size=8)
    for name in ("a", "b"):
        place = tmp_path / "photos" / "val" / name
        place.mkdir(parents=True)
        for number in range(6):
            shutil.move(tmp_path / "photos" / "train" / name / f"{number}.png", place)
    return tmp_path / "photos"


def test_no_line_when_the_parts_share_no_image(photos: Path) -> None:
    assert shared_line(*parts(photos), "training") is None
    assert shared_line(open_dataset("digits", "val"), open_dataset("digits", "train"), "x") is None


def test_a_shared_image_is_told_under_another_name_and_class(photos: Path) -> None:
    shutil.copy(photos / "val" / "a" / "3.png", photos / "train" / "b" / "copied.png")
    told = shared_line(*parts(photos), "training")
    assert told is not None
    assert told.startswith(
        "1 of 12 images to measure on are among the 13 for training too, bit by bit (the first: "
        "a/3.png is b/copied.png)"
    )


def test_a_draw_is_looked_at_when_there_are_very_many(
    photos: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(module, "MOST_MEASURED", 5)
    val, _ = parts(photos)
    told = shared_line(val, val, "calibration")
    assert told is not None
    assert told.startswith("5 of 5 images to measure on are among the 12 for calibration too")
