"""Shards are written whole, kept where they are, and mended where they are not."""

from __future__ import annotations

import os
import signal
import subprocess
import sys
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeresnet.api.shard import shard
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.shards.naming import INDEX
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files import outputs
from edgeresnet.host.sharding import write_shards
from edgeresnet.progress import TaskContext
from edgeresnet.settings.sharding import ShardOptions
from tests.copies import REPOSITORY
from tests.shards import OLD, photos, sharded, write_tar

# Four images a shard: 3 for training (10 images), 2 for validation (6).
FOUR = ShardOptions(images_per_shard=4, threads=2)
# Ends the process, as a kill would, within the image of this number.
KILLED = """
import os, signal, sys
from edgeresnet.host.sharding import write_shard
true, calls = write_shard._add, []
def add(file, name, content):
    calls.append(name)
    if len(calls) == 12:
        os.kill(os.getpid(), signal.SIGKILL)
    true(file, name, content)
write_shard._add = add
from edgeresnet.api.shard import shard
from edgeresnet.settings.sharding import ShardOptions
shard("shards", "photos", ShardOptions(images_per_shard=4, threads=1))
"""


def contents(folder: Path) -> dict[str, bytes]:
    return {path.name: path.read_bytes() for path in folder.iterdir()}


def parts(result: object) -> dict[str, dict[str, int]]:
    return result["parts"]  # type: ignore[index]


def test_a_killed_writing_goes_on_and_ends_as_an_undisturbed_one(tmp_path: Path) -> None:
    photos(tmp_path / "photos")
    undisturbed = contents(sharded(tmp_path / "photos", tmp_path / "whole"))
    done = subprocess.run(
        [sys.executable, "-c", KILLED], cwd=tmp_path, check=False, capture_output=True,
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
    )  # fmt: skip
    assert done.returncode == -signal.SIGKILL
    shards = tmp_path / "shards"
    left = contents(shards)
    assert "train-000000.tar" in left
    assert any(name.endswith(".partial") for name in left)
    assert INDEX not in left
    with pytest.raises(InputError, match="are not finished"):
        open_dataset(str(shards), "train")
    result = shard(shards, tmp_path / "photos", FOUR)
    assert parts(result)["train"]["kept"] == 1
    assert contents(shards) == undisturbed


def test_whole_shards_are_kept_and_a_damaged_one_is_named_and_written_anew(
    tmp_path: Path,
) -> None:
    root = photos(tmp_path / "photos")
    shards = sharded(root, tmp_path / "shards")
    before = contents(shards)
    times = {path: path.stat().st_mtime_ns for path in shards.glob("*.tar")}
    victim = shards / "train-000001.tar"
    content = bytearray(before[victim.name])
    content[700] ^= 1
    victim.write_bytes(content)
    told: list[str] = []
    result = shard(shards, root, FOUR, context=TaskContext(on_step=told.append))
    assert parts(result)["train"]["kept"] == 2
    assert parts(result)["val"]["kept"] == 2
    assert told == [f"{victim} is damaged: its checksum is another: it is written anew"]
    assert contents(shards) == before
    assert all(path.stat().st_mtime_ns == times[path] for path in times if path != victim)


def test_a_shard_of_an_image_that_changed_is_written_anew(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    shards = sharded(root, tmp_path / "shards")
    victim = root / "val" / "dog" / "2.png"
    Image.new("RGB", (12, 12), (7, 8, 9)).save(victim)
    os.utime(victim, OLD)
    result = shard(shards, root, FOUR)
    assert parts(result)["val"] == {"images": 6, "bytes": 20480, "shards": 2, "kept": 1}
    last = open_dataset(str(shards), "val").image(5)
    assert np.asarray(last)[0, 0].tolist() == [7, 8, 9]


def test_an_image_that_was_changed_just_now_is_read_again(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    os.utime(root / "val" / "dog" / "2.png")
    shards = sharded(root, tmp_path / "shards")
    assert parts(shard(shards, root, FOUR))["val"]["kept"] == 1


def test_shards_that_are_not_wanted_any_more_go(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    shards = sharded(root, tmp_path / "shards", each=2)
    assert len(list(shards.glob("*.tar"))) == 8
    shard(shards, root, FOUR)
    assert len(list(shards.glob("*.tar"))) == 5
    assert len(open_dataset(str(shards), "train")) == 10


@pytest.mark.parametrize("strange", ["notes.txt", "train-000000.tar", "cat"])
def test_what_somebody_else_has_there_is_left_alone(tmp_path: Path, strange: str) -> None:
    root = photos(tmp_path / "photos")
    shards = tmp_path / "shards"
    write_tar(shards / strange, [])
    before = contents(shards)
    with pytest.raises(InputError, match=strange):
        shard(shards, root, FOUR)
    assert contents(shards) == before


def test_shards_among_the_images_are_refused(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    for output in (root / "shards", tmp_path):
        with pytest.raises(InputError, match="lie in each other"):
            shard(output, root, FOUR)


def test_a_folder_without_parts_is_split_as_it_is_when_it_is_read(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos", train=20, val=1) / "train"
    shards = sharded(root, tmp_path / "shards")
    for split in ("train", "val"):
        one, other = (open_dataset(str(path), split) for path in (root, shards))  # type: ignore[arg-type]
        assert [one.file_name(i) for i in range(len(one))] == [
            other.file_name(i) for i in range(len(other))
        ]


def test_one_part_and_images_without_labels_are_written_too(tmp_path: Path) -> None:
    root = photos(tmp_path / "photos")
    only = tmp_path / "only"
    only.mkdir()
    (root / "val").rename(only / "val")
    shards = sharded(only, tmp_path / "shards")
    assert len(open_dataset(str(shards), "val")) == 6
    with pytest.raises(InputError, match="has no train shards"):
        open_dataset(str(shards), "train")
    flat = tmp_path / "flat"
    flat.mkdir()
    for i in range(30):
        Image.new("RGB", (8, 8), (i,) * 3).save(flat / f"{i}.png")
    images = open_dataset(str(sharded(flat, tmp_path / "bare")), "train", unlabelled=True)
    assert images.classes == ()
    assert set(images.labels.tolist()) == {-1}
    assert len(images) == len(open_dataset(str(flat), "train", unlabelled=True))


def test_an_image_that_is_gone_ends_it_by_name_and_whole_shards_stay(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photos(tmp_path / "photos")
    victim = root / "val" / "dog" / "2.png"
    # Between listing and reading.
    monkeypatch.setattr(write_shards, "check_room", lambda *_: victim.unlink())
    with pytest.raises(InputError, match=r"val/dog/2\.png cannot be read"):
        shard(tmp_path / "shards", root, FOUR)
    left = contents(tmp_path / "shards")
    assert "train-000000.tar" in left
    assert not {INDEX, "val-000001.tar"} & set(left)


def test_a_disk_without_room_is_refused_before_the_work(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    root = photos(tmp_path / "photos")
    usage = outputs.shutil.disk_usage(tmp_path)
    monkeypatch.setattr(outputs.shutil, "disk_usage", lambda place: usage._replace(free=5000))
    with pytest.raises(MissingError, match="what is written of these images takes about"):
        shard(tmp_path / "shards", root, FOUR)
    assert list((tmp_path / "shards").iterdir()) == []
