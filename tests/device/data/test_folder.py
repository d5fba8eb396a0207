"""Folders as people have them: parts of any name, junk, links, other formats, odd names."""

from __future__ import annotations

import errno
import json
import os
import re
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.dataset import fingerprint
from edgeresnet.device.data.folder import FolderDataset
from edgeresnet.device.data.open import open_dataset
from edgeresnet.errors import InputError
from edgeresnet.files.writing import write_json
from tests.class_folders import write_classes

TWO = {"cat": (0, 3), "dog": (1, 2)}


def folder(root: Path, split: str = "val") -> FolderDataset:
    dataset = open_dataset(str(root), split)  # type: ignore[arg-type]
    assert isinstance(dataset, FolderDataset)
    return dataset


@pytest.mark.parametrize(
    ("train", "val"),
    [
        ("Train", "Test"), ("training", "validation"), ("TRAIN", "Val"), ("train", "valid"),
        ("train", "dev"), ("Training", "Testing"), ("train", "eval"), ("training_set", "test_set"),
        ("seg_train", "seg_test"), ("trainset", "testset"), ("train2017", "val2017"),
        ("trn", "tst"), ("my train images", "my val images"),
    ],
)  # fmt: skip
def test_parts_are_known_by_their_usual_names_in_any_case(
    tmp_path: Path, train: str, val: str
) -> None:
    write_classes(tmp_path / train, {"cat": (0, 5), "dog": (1, 5)})
    write_classes(tmp_path / val, TWO)
    dataset = folder(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [0, 0, 0, 1, 1]
    assert len(folder(tmp_path, "train")) == 10
    assert any(str(tmp_path / val) in note for note in dataset.notes) == (val != "val")


def test_first_of_several_validation_parts_is_taken_and_said(tmp_path: Path) -> None:
    for part in ("train", "test", "val"):
        write_classes(tmp_path / part, TWO)
    assert folder(tmp_path).notes == (
        f"validation images are those of {tmp_path / 'val'}; not of test",
    )


def test_validation_part_is_enough_to_validate(tmp_path: Path) -> None:
    write_classes(tmp_path / "val", TWO)
    assert len(folder(tmp_path)) == 5
    with pytest.raises(InputError, match="has no training folder beside val"):
        folder(tmp_path, "train")


def test_folder_named_like_a_part_is_no_class(tmp_path: Path) -> None:
    write_classes(tmp_path, {"car": (0, 9), "bus": (1, 9), "train": (2, 9)})
    with pytest.raises(InputError, match="train is no class"):
        folder(tmp_path)


def test_class_of_a_part_may_be_called_train(tmp_path: Path) -> None:
    for part in ("train", "val"):
        write_classes(tmp_path / part, {"car": (0, 1), "train": (1, 1)})
    assert folder(tmp_path).classes == ("car", "train")


def test_parts_agree_on_classes_when_their_case_differs(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": (0, 1), "Dog": (1, 1)})
    write_classes(tmp_path / "val", {"dog": (1, 2), "Cat": (0, 1)})
    dataset = folder(tmp_path)
    assert dataset.classes == folder(tmp_path, "train").classes == ("Dog", "cat")
    assert dataset.labels.tolist() == [0, 0, 1]


def test_class_without_validation_images_is_said_and_known(tmp_path: Path) -> None:
    write_classes(tmp_path / "train", {"cat": (0, 1), "dog": (1, 1), "emu": (2, 1)})
    write_classes(tmp_path / "val", {"cat": (0, 1), "emu": (2, 1)})
    dataset = folder(tmp_path)
    assert dataset.classes == ("cat", "dog", "emu")
    assert dataset.labels.tolist() == [0, 2]
    assert any("no images of dog" in note for note in dataset.notes)
    with pytest.raises(InputError, match="different classes: dog"):
        folder(tmp_path, "train")


def test_hidden_files_and_what_systems_leave_behind_are_no_images(tmp_path: Path) -> None:
    write_classes(tmp_path / "val", TWO)
    image = (tmp_path / "val" / "cat" / "0.png").read_bytes()
    for place in (tmp_path, tmp_path / "val", tmp_path / "val" / "cat"):
        for junk in (".ipynb_checkpoints", "@eaDir", "__MACOSX", ".git", "lost+found"):
            (place / junk).mkdir()
            (place / junk / "0.png").write_bytes(image)
        for junk in ("._0.png", ".0.png", "Thumbs.db", "desktop.ini", "notes.txt"):
            (place / junk).write_bytes(image)
        (place / "old.jpg").mkdir()
        (place / "old.jpg" / "small.jpg").write_bytes(image)
    dataset = folder(tmp_path)
    assert dataset.classes == ("cat", "dog")
    assert len(dataset) == 5
    assert "left out 1 folders with an image's name: old.jpg" in dataset.notes


def test_links_are_followed_and_circles_cut(tmp_path: Path) -> None:
    shots = write_classes(tmp_path / "elsewhere", {"a": (0, 4), "b": (1, 3)})
    root = tmp_path / "photos"
    (root / "val" / "cat").mkdir(parents=True)
    (root / "val" / "cat" / "more").symlink_to(shots / "a")
    (root / "val" / "dog").symlink_to(shots / "b")
    (root / "val" / "cat" / "up").symlink_to(root)
    (root / "val" / "cat" / "here").symlink_to(".")
    (root / "val" / "all").symlink_to(root / "val")
    (root / "val" / "cat" / "self").symlink_to("self")
    (root / "val" / "cat" / "one.png").symlink_to(shots / "a" / "0.png")
    (root / "val" / "cat" / "gone.png").symlink_to(root / "nowhere.png")
    dataset = folder(root)
    assert dataset.classes == ("cat", "dog")
    assert dataset.labels.tolist() == [0] * 5 + [1] * 3
    assert dataset.file_name(0) == "cat/more/0.png"
    assert dataset.notes == ("left out 1 links that lead nowhere: gone.png",)


def test_pictures_of_formats_that_are_not_read_are_counted_and_named(tmp_path: Path) -> None:
    write_classes(tmp_path / "val", TWO)
    for name in ("a.heic", "b.HEIC", "c.svg"):
        (tmp_path / "val" / "cat" / name).touch()
    notes = folder(tmp_path).notes
    assert any(
        note.startswith("left out 2 files of a format that is not read (.heic)") for note in notes
    )
    assert any("(.svg): c.svg" in note for note in notes)


def test_folders_are_classes_when_they_only_contain_the_words_of_parts(tmp_path: Path) -> None:
    write_classes(tmp_path, {"toy_train": (0, 9), "toy_truck": (1, 9), "contest_val": (2, 9)})
    assert folder(tmp_path).classes == ("contest_val", "toy_train", "toy_truck")


@pytest.mark.parametrize(("names", "fix"), [(["only"], "give .*only"), (["cat", "dog"], "lay it")])
def test_parts_inside_of_folders_are_refused(tmp_path: Path, names: list[str], fix: str) -> None:
    for name in names:
        write_classes(tmp_path / name, {"train": (0, 5), "val": (1, 5)})
    with pytest.raises(InputError, match="has train and val inside") as refused:
        folder(tmp_path)
    assert re.search(fix, refused.value.fix)


def test_folders_beside_the_parts_are_told_of(tmp_path: Path) -> None:
    write_classes(tmp_path / "val", TWO)
    write_classes(tmp_path, {"cat": (0, 1), "dog": (1, 1)})
    assert "left out 2 folders beside val: cat, dog" in folder(tmp_path).notes


def test_a_path_too_long_is_refused() -> None:
    with pytest.raises(InputError, match="cannot be read"):
        open_dataset("x" * 5000, "val")


@pytest.mark.parametrize(
    "suffix",
    [
        "jpg",
        "JPEG",
        "jpe",
        "jfif",
        "PNG",
        "bmp",
        "webp",
        "tif",
        "TIFF",
        "gif",
        "ppm",
        "pgm",
        "avif",
    ],
)
def test_every_format_of_the_list_is_read(tmp_path: Path, suffix: str) -> None:
    write_classes(tmp_path / "val", TWO)
    kind = {"jpe": "JPEG", "jfif": "JPEG"}.get(suffix)
    path = tmp_path / "val" / "cat" / f"x.{suffix}"
    try:
        Image.new("L", (8, 8), 99).save(path, format=kind)
    except (KeyError, ValueError, OSError) as error:
        pytest.skip(f"this Pillow writes no {suffix}: {error}")
    dataset = folder(tmp_path)
    index = [dataset.file_name(i) for i in range(len(dataset))].index(f"cat/x.{suffix}")
    assert abs(int(np.asarray(dataset.image(index).convert("L"))[4, 4]) - 99) <= 2


def test_file_of_another_format_is_refused_whatever_it_is_called(tmp_path: Path) -> None:
    write_classes(tmp_path / "val", TWO)
    Image.new("RGB", (8, 8)).save(tmp_path / "val" / "cat" / "0.png", format="TGA")
    with pytest.raises(InputError, match=r"0\.png is not a readable image"):
        folder(tmp_path).image(0)


@pytest.mark.parametrize(
    ("pixels", "why"),
    [
        (np.full((8, 8), 0.5, np.float32), "floats of unknown range"),
        (np.full((8, 8), 1 << 20, np.int32), "32-bit numbers"),
    ],
)
def test_pixels_of_unknown_range_are_refused(tmp_path: Path, pixels: np.ndarray, why: str) -> None:
    write_classes(tmp_path / "val", TWO)
    Image.fromarray(pixels).save(tmp_path / "val" / "cat" / "0.tif")
    with pytest.raises(InputError, match=why):
        folder(tmp_path).image(1)


def test_names_that_are_no_utf8_are_read_hashed_and_written(tmp_path: Path) -> None:
    write_classes(tmp_path / "val", TWO)
    odd = Path(os.fsdecode(os.fsencode(tmp_path / "val") + b"/m\xfcll"))
    try:
        (tmp_path / "val" / "cat").rename(odd)
        (odd / "0.png").rename(Path(os.fsdecode(os.fsencode(odd) + b"/\xe4.png")))
    except OSError as error:
        pytest.skip(f"this file system takes no such names: {error}")
    dataset = folder(tmp_path)
    limited = open_dataset(str(tmp_path), "val", limit=2)
    assert len(limited) == 2
    for one in (dataset, limited):
        assert len(fingerprint(one)) == 16
        assert len(content_fingerprint(one)) == 64
    names = [dataset.file_name(i) for i in range(len(dataset))]
    write_json({"names": names}, tmp_path / "names.json")
    read = json.loads((tmp_path / "names.json").read_text(encoding="utf-8"))["names"]
    assert read == names
    assert "m\udcfcll/\udce4.png" in names


def test_folder_that_cannot_be_read_is_bad_input(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    write_classes(tmp_path / "val", TWO)

    def denied(path: object) -> object:
        raise PermissionError(errno.EACCES, "Permission denied", str(path))

    monkeypatch.setattr("os.scandir", denied)
    with pytest.raises(InputError, match="cannot be read: Permission denied"):
        folder(tmp_path)
