"""Shards in place of a folder: the same images, in the same order, under the same names."""

from __future__ import annotations

import json
import pickle
import shutil
from pathlib import Path

import numpy as np
import pytest

from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.dataset import Dataset, fingerprint
from edgeresnet.device.data.open import converted, open_dataset, take_converted
from edgeresnet.device.data.remembered import check_remembered, known_by
from edgeresnet.device.data.shards.naming import INDEX
from edgeresnet.device.data.shared_images import shared_line
from edgeresnet.errors import InputError
from edgeresnet.files.hashes import sha256_file
from tests.shards import photos, samples, sharded, write_tar


@pytest.fixture(scope="module")
def folder(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A folder of two parts, and shards of it beside it."""
    root = photos(tmp_path_factory.mktemp("data") / "photos")
    # What falls out of the usual: names beyond ASCII, with two dots, twice with other suffixes.
    for name in ("ä ö.png", "a.b.png", "0.jpg"):
        shutil.copy2(root / "train" / "cat" / "0.png", root / "train" / "cat" / name)
    sharded(root, root.parent / "shards")
    return root


def assert_same(one: Dataset, other: Dataset) -> None:
    assert one.classes == other.classes
    assert one.labels.tolist() == other.labels.tolist()
    assert fingerprint(one) == fingerprint(other)
    assert content_fingerprint(one) == content_fingerprint(other)
    for index in range(len(one)):
        assert one.file_name(index) == other.file_name(index)
        assert np.array_equal(np.asarray(one.image(index)), np.asarray(other.image(index)))


@pytest.mark.parametrize("split", ["train", "val"])
@pytest.mark.parametrize("named", ["", "train-{000000..000003}.tar", "val-{000000..000001}.tar"])
def test_images_are_those_of_the_folder_in_its_order(folder: Path, split: str, named: str) -> None:
    spec = str(folder.parent / "shards" / named)
    assert_same(open_dataset(str(folder), split), open_dataset(spec, split))  # type: ignore[arg-type]


def test_a_draw_takes_the_same_images_as_from_the_folder(folder: Path) -> None:
    spec = str(folder.parent / "shards")
    for split in ("train", "val"):
        drawn = [open_dataset(one, split, limit=3, seed=5) for one in (str(folder), spec)]  # type: ignore[arg-type]
        assert_same(*drawn)


def test_named_shards_alone_are_read_of_their_part(folder: Path) -> None:
    spec = str(folder.parent / "shards" / "train-{000001..000002}.tar")
    whole = open_dataset(str(folder), "train")
    assert_same(whole.subset(range(4, 12)), open_dataset(spec, "train"))
    assert len(open_dataset(spec, "val")) == 6


def test_a_model_knows_the_folder_again_in_its_shards(folder: Path) -> None:
    spec = str(folder.parent / "shards" / "train-{000000..000003}.tar")
    assert known_by(spec) == known_by(str(folder))
    check_remembered(spec, known_by(str(folder)), "m")
    with pytest.raises(InputError, match="which is not here"):
        check_remembered(str(folder / "gone" / "train-{0..3}.tar"), "0" * 16, "m")


def test_images_to_measure_on_are_found_among_those_learned_from(folder: Path) -> None:
    spec = str(folder.parent / "shards")
    val, train = open_dataset(spec, "val"), open_dataset(spec, "train")
    assert shared_line(val, train, "training") is None
    # cat/0.png of the folder has three copies there.
    said = shared_line(train.subset([0]), open_dataset(str(folder), "train"), "training")
    assert said is not None
    assert said.startswith("1 of 1 images")


def test_conversions_are_counted_once_and_by_other_processes(folder: Path) -> None:
    dataset = open_dataset(str(folder.parent / "shards"), "val")
    copy = pickle.loads(pickle.dumps(dataset))
    copy.image(0)
    take_converted(dataset, 0, converted(copy, 0))
    take_converted(dataset, 0, ("rotated",))
    take_converted(dataset, 0, ("rotated",))
    assert converted(dataset.subset([0]), 0) == ("rotated",)


def test_a_shard_that_is_missing_or_unknown_is_named(folder: Path, tmp_path: Path) -> None:
    shards = shutil.copytree(folder.parent / "shards", tmp_path / "shards")
    with pytest.raises(InputError, match=r"train-000004\.tar is not in index\.json"):
        open_dataset(str(shards / "train-{000000..000004}.tar"), "train")
    (shards / "train-000002.tar").unlink()
    with pytest.raises(InputError, match=r"train-000002\.tar cannot be read"):
        open_dataset(str(shards), "train")
    assert len(open_dataset(str(shards), "val")) == 6


def test_unfinished_shards_are_refused(folder: Path, tmp_path: Path) -> None:
    shards = shutil.copytree(folder.parent / "shards", tmp_path / "shards")
    (shards / INDEX).unlink()
    with pytest.raises(InputError, match="are not finished") as refused:
        open_dataset(str(shards), "train")
    assert "repeat edgeresnet shard" in refused.value.fix


@pytest.mark.parametrize("part", ["header", "image", "label", "filling", "ending"])
def test_a_flipped_byte_is_found_and_named(folder: Path, tmp_path: Path, part: str) -> None:
    shards = shutil.copytree(folder.parent / "shards", tmp_path / "shards")
    path = shards / "val-000000.tar"
    record = json.loads(path.with_suffix(".json").read_text())
    start, size = record["offsets"][1], record["sizes"][1]
    after = start + -(-size // 512) * 512
    end = record["bytes"]
    place = {
        "header": start - 512, "image": start + size // 2, "label": after + 512,
        "filling": after + 600, "ending": end - 1,
    }[part]  # fmt: skip
    content = bytearray(path.read_bytes())
    content[place] ^= 16
    path.write_bytes(content)
    dataset = open_dataset(str(shards), "val")
    victim = 3 if part == "ending" else 1
    for index in range(len(dataset)):
        if index != victim:
            dataset.image(index)
    with pytest.raises(InputError, match=r"val-000000\.tar: .* is damaged") as refused:
        dataset.image(victim)
    assert dataset.file_name(victim) in refused.value.cause
    assert len(open_dataset(str(shards), "val", skip_broken=True)) == 5


@pytest.mark.parametrize("name", ["val-000000.json", INDEX])
def test_a_damaged_index_is_found_and_named(folder: Path, tmp_path: Path, name: str) -> None:
    shards = shutil.copytree(folder.parent / "shards", tmp_path / "shards")
    text = (shards / name).read_text()
    place = text.rindex('"bytes": ') + 10
    (shards / name).write_text(text[:place] + str((int(text[place]) + 1) % 10) + text[place + 1 :])
    with pytest.raises(
        InputError,
        match=r"val-00000\d\.(json is damaged|tar has)",
    ):
        open_dataset(str(shards), "val")


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"offsets": [512, 512]}, "beyond its place"),
        ({"offsets": [512, 10**9]}, "beyond its place"),
        ({"offsets": [0, 2048]}, "beyond its place"),
        ({"sizes": [10**9, 1]}, "beyond its place"),
        ({"labels": [0, 2]}, "none of the 2 classes"),
        ({"labels": [-1, 0]}, "none of the 2 classes"),
        ({"names": ["a.png", "../b.png"]}, "no name of an image"),
        ({"names": ["a.png", "/b.png"]}, "no name of an image"),
        ({"names": ["a.png"]}, "different lengths"),
        ({"crc32": [0, 2**32]}, "crc32"),
        ({"images_sha256": ["0", "1"]}, "images_sha256"),
    ],
)
def test_an_index_that_cannot_be_true_is_refused(
    folder: Path, tmp_path: Path, change: dict[str, object], told: str
) -> None:
    shards = sharded(folder, tmp_path / "shards", each=2)
    beside = shards / "val-000000.json"
    beside.write_text(json.dumps({**json.loads(beside.read_text()), **change}))
    index = json.loads((shards / INDEX).read_text())
    index["parts"]["val"][0]["record_sha256"] = sha256_file(beside)
    (shards / INDEX).write_text(json.dumps(index))
    with pytest.raises(InputError, match="is damaged") as refused:
        open_dataset(str(shards), "val")
    assert told in refused.value.cause


def test_shards_of_other_makers_are_read_without_an_index(tmp_path: Path) -> None:
    write_tar(tmp_path / "set-train-0.tar", samples(4))
    write_tar(tmp_path / "set-train-1.tar", samples(4, first=4))
    write_tar(tmp_path / "set-val-0.tar", samples(3))
    for spec in (tmp_path, tmp_path / "set-train-{0..1}.tar"):
        train, val = (open_dataset(str(spec), split) for split in ("train", "val"))  # type: ignore[arg-type]
        assert train.classes == val.classes == ("0", "1")
        assert train.labels.tolist() == [0, 1] * 4
        assert val.labels.tolist() == [0, 1, 0]
        assert train.file_name(5) == "set-train-1.tar/0005.png"
        assert np.asarray(train.image(5))[0, 0].tolist() == [5] * 3
    assert len(open_dataset(str(tmp_path / "set-train-1.tar"), "train")) == 4


def test_shards_without_parts_are_split_by_name(tmp_path: Path) -> None:
    write_tar(tmp_path / "photos-00.tar", samples(40))
    parts = [open_dataset(str(tmp_path), split) for split in ("train", "val")]  # type: ignore[arg-type]
    assert [len(part) for part in parts] == [31, 9]


def test_shards_without_labels_are_images_alone(tmp_path: Path) -> None:
    members = [member for member in samples(4) if str(member[0]).endswith(".png")]
    write_tar(tmp_path / "val-0.tar", members)
    assert open_dataset(str(tmp_path), "val", unlabelled=True).classes == ()
    with pytest.raises(InputError, match="has no labels"):
        open_dataset(str(tmp_path), "val")
    write_tar(tmp_path / "val-1.tar", samples(4))
    with pytest.raises(InputError, match="has no labels, and others have"):
        open_dataset(str(tmp_path), "val", unlabelled=True)
