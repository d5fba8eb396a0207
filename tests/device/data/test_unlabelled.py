"""Images without labels: what counts as such, and that nothing takes them unasked."""

from __future__ import annotations

import json
from collections import Counter
from pathlib import Path

import pytest
from PIL import Image

from edgeresnet.device.data.dataset import balanced_subset, fingerprint
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.remembered import known_by
from edgeresnet.errors import InputError
from tests.class_folders import write_classes


def flat(root: Path, count: int = 60) -> Path:
    """So many images directly in a folder."""
    root.mkdir(parents=True)
    for i in range(count):
        Image.new("RGB", (8, 8), (i, i, i)).save(root / f"{i}.png")
    return root


def test_a_flat_folder_is_shared_out_by_name_without_labels(tmp_path: Path) -> None:
    photos = flat(tmp_path / "photos")
    parts = [open_dataset(str(photos), split, unlabelled=True) for split in ("train", "val")]
    names = [{part.file_name(i) for i in range(len(part))} for part in parts]
    assert not names[0] & names[1]
    assert len(names[0] | names[1]) == 60
    assert 4 < len(names[1]) < 24
    for part in parts:
        assert part.classes == ()
        assert (part.labels == -1).all()
    # The same file is of the same part when others are added.
    flat(tmp_path / "more", 90)
    more = open_dataset(str(tmp_path / "more"), "val", unlabelled=True)
    assert names[1] <= {more.file_name(i) for i in range(len(more))}


def test_parts_without_class_folders_are_taken_as_they_are(tmp_path: Path) -> None:
    flat(tmp_path / "photos" / "train", 5)
    flat(tmp_path / "photos" / "val", 3)
    lengths = [
        len(open_dataset(str(tmp_path / "photos"), split, unlabelled=True))
        for split in ("train", "val")
    ]
    assert lengths == [5, 3]


@pytest.mark.parametrize("labelled", ["train", "val"])
def test_open_dataset_refuses_when_only_one_part_has_class_folders(
    tmp_path: Path, labelled: str
) -> None:
    write_classes(tmp_path / labelled, {"a": (0, 2), "b": (1, 2)})
    other = flat(tmp_path / ({"train": "val", "val": "train"}[labelled]), 3)
    for split in ("train", "val"):
        with pytest.raises(InputError, match=f"{other} has no class folders, and .*{labelled} has"):
            open_dataset(str(tmp_path), split, unlabelled=True)  # type: ignore[arg-type]


def test_open_dataset_refuses_unlabelled_images_when_labels_are_needed(tmp_path: Path) -> None:
    photos = flat(tmp_path / "photos")
    with pytest.raises(InputError, match="has no labels") as caught:
        open_dataset(str(photos), "val")
    assert "CLASS" in caught.value.fix
    assert "quantize" in caught.value.fix


def test_class_folders_stay_classes_and_images_beside_them_are_told(tmp_path: Path) -> None:
    write_classes(tmp_path, {"a": (0, 20), "b": (1, 20)})
    Image.new("RGB", (8, 8)).save(tmp_path / "plot.png")
    dataset = open_dataset(str(tmp_path), "val")
    assert dataset.classes == ("a", "b")
    assert "left out 1 images beside the class folders: plot.png" in dataset.notes


def test_open_dataset_refuses_when_images_lie_beside_a_single_folder(tmp_path: Path) -> None:
    write_classes(tmp_path, {"old": (0, 20)})
    Image.new("RGB", (8, 8)).save(tmp_path / "1.png")
    with pytest.raises(InputError, match="only one class, old") as caught:
        open_dataset(str(tmp_path), "val", unlabelled=True)
    assert "without classes" in caught.value.fix


@pytest.mark.parametrize("count", [0, 1])
def test_open_dataset_refuses_when_a_part_is_left_empty(tmp_path: Path, count: int) -> None:
    photos = flat(tmp_path / "photos", count)
    # The only image is one of the training part.
    if count:
        open_dataset(str(photos), "train", unlabelled=True)
    with pytest.raises(InputError, match=r"no class folders, and no images|too few images"):
        open_dataset(str(photos), "val", unlabelled=True)


def test_subsets_and_fingerprints_need_no_labels(tmp_path: Path) -> None:
    photos = flat(tmp_path / "photos")
    train = open_dataset(str(photos), "train", limit=20, unlabelled=True)
    assert len(train) == 20
    drawn = [balanced_subset(train, 8, seed) for seed in (0, 0, 1)]
    assert [len(one) for one in drawn] == [8, 8, 8]
    assert fingerprint(drawn[0]) == fingerprint(drawn[1]) != fingerprint(drawn[2])
    assert known_by(str(photos)) is not None


@pytest.mark.parametrize("form", ["plain.csv", "headed.csv", "list.json", "objects.json"])
def test_a_file_of_paths_alone_is_unlabelled(tmp_path: Path, form: str) -> None:
    flat(tmp_path / "img")
    names = [f"img/{i}.png" for i in range(60)]
    contents = {
        "plain.csv": "\n".join(names),
        "headed.csv": "\n".join(["Filename,split", *(f"{n},train" for n in names[1:]),
                                 f"{names[0]},val"]),
        "list.json": json.dumps(names),
        "objects.json": json.dumps([{"path": name} for name in names]),
    }  # fmt: skip
    (tmp_path / form).write_text(contents[form])
    parts = [open_dataset(str(tmp_path / form), s, unlabelled=True) for s in ("train", "val")]
    assert [part.classes for part in parts] == [(), ()]
    assert sum(map(len, parts)) == 60
    assert (len(parts[1]) == 1) == form.startswith("headed")
    with pytest.raises(InputError, match="has no labels"):
        open_dataset(str(tmp_path / form), "val")


def test_open_dataset_refuses_when_a_file_has_some_labels_or_other_columns(tmp_path: Path) -> None:
    flat(tmp_path / "img", 3)
    refused = {
        "some.json": json.dumps([{"path": "img/0.png", "label": "a"}, {"path": "img/1.png"}]),
        "empty.csv": "path,label\nimg/0.png,\nimg/1.png,\n",
        "other.csv": "path,breed\nimg/0.png,a\nimg/1.png,b\n",
        "named.json": json.dumps([{"path": f"img/{i}.png", "breed": "a"} for i in range(2)]),
        "other.json": json.dumps([{"path": "img/0.png", "label": None}, {"path": "img/1.png"}]),
    }
    for name, text in refused.items():
        (tmp_path / name).write_text(text)
        with pytest.raises(InputError, match=r"without path or label|not there"):
            open_dataset(str(tmp_path / name), "val", unlabelled=True)


def test_the_parts_have_no_image_in_common_when_a_file_names_one_twice(tmp_path: Path) -> None:
    flat(tmp_path / "img", 40)
    names = [f"img/{i}.png" for i in range(40)] * 2
    (tmp_path / "x.csv").write_text("\n".join(names))
    seen: Counter[str] = Counter()
    for split in ("train", "val"):
        part = open_dataset(str(tmp_path / "x.csv"), split, unlabelled=True)  # type: ignore[arg-type]
        seen.update({part.file_name(i) for i in range(len(part))})
    assert set(seen.values()) == {1}


def test_open_dataset_refuses_when_a_file_gives_an_image_two_splits(tmp_path: Path) -> None:
    flat(tmp_path / "img", 2)
    (tmp_path / "x.csv").write_text("path,split\nimg/0.png,train\nimg/0.png,val\nimg/1.png,val\n")
    with pytest.raises(InputError, match="two splits, train and val"):
        open_dataset(str(tmp_path / "x.csv"), "val", unlabelled=True)


def test_images_beside_the_parts_are_told(tmp_path: Path) -> None:
    flat(tmp_path / "train", 3)
    flat(tmp_path / "val", 3)
    Image.new("RGB", (8, 8)).save(tmp_path / "plot.png")
    notes = open_dataset(str(tmp_path), "val", unlabelled=True).notes
    assert "left out 1 images beside train and val: plot.png" in notes
