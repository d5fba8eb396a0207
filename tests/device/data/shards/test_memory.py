"""What stays in memory of each image of shards: its label, and a share of what is bounded."""

from __future__ import annotations

import errno
import gc
import io
import json
import pickle
import tempfile
import tracemalloc
from pathlib import Path

import numpy as np
import pytest

from edgeresnet.device.data import scratch
from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.dataset import drawn_by_name, fingerprint
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.shards.dataset import ShardDataset
from edgeresnet.device.data.shards.naming import INDEX
from edgeresnet.errors import MissingError
from edgeresnet.files.hashes import sha256_file
from tests.device.data.shards.test_open import assert_same
from tests.shards import photos, samples, sharded, write_tar

EACH = 1000
# So few go to the disk at once that all of a test's do.
IN_MEMORY = 1 << 14


def pretended(root: Path, images: int) -> Path:
    """Shards of so many images in whose tars is nothing: they are opened, and not looked into."""
    root.mkdir()
    entries = []
    for shard in range(images // EACH):
        path, size = root / f"train-{shard:06d}.tar", 1024 * EACH + 1024
        with path.open("wb") as file:
            file.truncate(size)
        record = {
            "schema": 1, "sha256": "0" * 64, "bytes": size, "crc32": [0] * EACH,
            "names": [f"n{i % 10:08d}/n{i % 10:08d}_{shard * EACH + i}.JPEG" for i in range(EACH)],
            "labels": [i % 10 for i in range(EACH)], "sizes": [400] * EACH,
            "offsets": [512 + 1024 * i for i in range(EACH)],
            "images_sha256": ["0" * 64] * EACH, "modified_ns": [None] * EACH,
        }  # fmt: skip
        beside = path.with_suffix(".json")
        beside.write_text(json.dumps(record))
        entries.append({
            "name": path.name, "sha256": "0" * 64, "bytes": size, "images": EACH,
            "record_sha256": sha256_file(beside),
        })  # fmt: skip
    index = {"schema": 1, "classes": [str(i) for i in range(10)], "images_per_shard": EACH,
             "parts": {"train": entries}}  # fmt: skip
    (root / INDEX).write_text(json.dumps(index))
    return root


def taken(root: Path) -> tuple[int, int]:
    """Bytes that a data set takes when it is open and every image was asked for; and the most."""
    gc.collect()
    tracemalloc.start()
    dataset = open_dataset(str(root), "train")
    content_fingerprint(dataset)
    fingerprint(dataset)
    drawn_by_name(dataset, 100, seed=0)
    gc.collect()
    found = tracemalloc.get_traced_memory()
    tracemalloc.stop()
    assert len(dataset) > 0
    return found


def test_of_an_image_only_its_label_stays_in_memory(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(scratch, "MOST_IN_MEMORY", IN_MEMORY)
    few, many = 3 * EACH, 15 * EACH
    taken(pretended(tmp_path / "first", EACH))
    few_taken = taken(pretended(tmp_path / "few", few))
    many_taken = taken(pretended(tmp_path / "many", many))
    now, most = ((b - a) / (many - few) for a, b in zip(few_taken, many_taken, strict=True))
    # 8 bytes are the label, and 1 is of what is known of each shard.
    assert now < 12
    assert most < 24


@pytest.fixture
def temporary(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """Where temporary files lie; all of what shards have goes there at once."""
    monkeypatch.setattr(scratch, "MOST_IN_MEMORY", 0)
    place = tmp_path / "temporary"
    place.mkdir()
    monkeypatch.setattr(tempfile, "tempdir", str(place))
    return place


def test_images_are_those_of_the_folder_when_records_lie_on_the_disk(
    temporary: Path, tmp_path: Path
) -> None:
    folder = photos(tmp_path / "photos", train=45)
    (folder / "train" / "cat" / "0.png").rename(folder / "train" / "cat" / "\udcff ä.png")
    shards = sharded(folder, tmp_path / "shards", each=7)
    for split in ("train", "val"):
        whole, same = (open_dataset(str(one), split) for one in (folder, shards))  # type: ignore[arg-type]
        assert_same(whole, same)
        drawn = [open_dataset(str(one), split, limit=4, seed=2) for one in (folder, shards)]  # type: ignore[arg-type]
        assert_same(*drawn)
        assert_same(whole.subset([5, 3, 0]), same.subset([5, 3, 0]))
        assert_same(whole.subset([5, 3, 0]).subset([2, 1]), same.subset([5, 3, 0]).subset([2, 1]))
    with pytest.raises(IndexError):
        same.file_name(len(same))


def test_another_process_is_given_labels_and_a_place_alone(temporary: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(pretended(tmp_path / "shards", 2 * EACH)), "train")
    sent = pickle.dumps(dataset)
    assert len(sent) < 9 * len(dataset) + 2000
    copy = pickle.loads(sent)
    assert fingerprint(copy) == fingerprint(dataset)
    assert content_fingerprint(copy) == content_fingerprint(dataset)


def test_the_temporary_files_end_with_the_data_set(temporary: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(pretended(tmp_path / "shards", EACH)), "train")
    copy = pickle.loads(pickle.dumps(dataset))
    assert copy.file_name(0) == dataset.file_name(0)
    assert len([*temporary.iterdir()]) == 2
    del copy
    assert len([*temporary.iterdir()]) == 2
    part = dataset.subset([0])
    del dataset
    assert part.file_name(0).endswith("_0.JPEG")
    del part
    assert [*temporary.iterdir()] == []


def test_a_copy_says_so_when_the_temporary_files_are_gone(temporary: Path, tmp_path: Path) -> None:
    dataset = open_dataset(str(pretended(tmp_path / "shards", EACH)), "train")
    assert dataset.file_name(0).endswith("_0.JPEG")
    copy = pickle.loads(pickle.dumps(dataset))
    for path in temporary.glob("*/records"):
        path.unlink()
    with pytest.raises(MissingError, match=r"temporary file .* cannot be read"):
        copy.file_name(1)
    # What was open stays.
    assert dataset.file_name(999).endswith("_999.JPEG")


def test_everything_stays_in_memory_when_there_is_no_place_for_temporary_files(
    temporary: Path, tmp_path: Path
) -> None:
    shards = pretended(tmp_path / "shards", EACH)
    wanted = fingerprint(open_dataset(str(shards), "train"))
    temporary.rmdir()
    assert fingerprint(open_dataset(str(shards), "train")) == wanted


@pytest.mark.parametrize("first", [0, 1])
def test_what_a_full_disk_does_not_take_stays_in_memory(
    temporary: Path, monkeypatch: pytest.MonkeyPatch, first: int
) -> None:
    class Full(io.BytesIO):
        def write(self, content: object) -> int:
            raise OSError(errno.ENOSPC, "no space left")

    scrap = scratch.Scratch()
    whole = b""
    for number in range(4):
        if number == first:
            monkeypatch.setattr(Path, "open", lambda *_: Full())
        scrap.append(part := bytes([number]) * 10)
        whole += part
    for start in range(len(whole)):
        assert [scrap.read(start, size) for size in (1, 15, 99)] == [
            whole[start : start + size] for size in (1, 15, 99)
        ]


def test_shards_of_other_makers_lie_on_the_disk_too(temporary: Path, tmp_path: Path) -> None:
    for number in (0, 1):
        write_tar(tmp_path / "set" / f"set-val-{number}.tar", samples(70, first=70 * number))
    dataset = open_dataset(str(tmp_path / "set"), "val")
    assert [*temporary.glob("*/records")]
    assert dataset.file_name(139) == "set-val-1.tar/0139.png"
    assert np.asarray(dataset.image(139))[0, 0].tolist() == [139] * 3
    part = dataset.subset([139, 3])
    assert isinstance(part, ShardDataset)
    assert np.concatenate([*part.tables()])["shard"].tolist() == [1, 0]
