"""Content decides: what is in the files, not what they are called."""

from __future__ import annotations

import errno
import os
import subprocess
import sys
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest

from edgeresnet.device.data import content_hashes
from edgeresnet.device.data.content_hashes import CACHE, content_fingerprint, file_hashes
from edgeresnet.device.data.open import open_dataset
from edgeresnet.errors import InputError
from edgeresnet.files.places import cache_dir
from tests.blobs import blobs
from tests.cli.test_app import image_folder
from tests.copies import REPOSITORY
from tests.fakes import FakeDataset

OLD = (1_000_000_000, 1_000_000_001)


def photos(path: Path) -> Path:
    for name in image_folder(path, ["a", "b"], images=6, size=8).rglob("*.png"):
        os.utime(name, OLD)
    return path


@pytest.fixture
def read(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> list[Path]:
    """An empty cache, and the files that are read."""
    monkeypatch.setenv("XDG_CACHE_HOME", str(tmp_path / "cache"))
    seen: list[Path] = []
    true = content_hashes._sha256

    def sha256(path: Path) -> bytes:
        seen.append(path)
        return true(path)

    monkeypatch.setattr(content_hashes, "_sha256", sha256)
    return seen


def of(folder: Path) -> str:
    return content_fingerprint(open_dataset(str(folder), "train"))


def test_fingerprint_changes_with_one_image_when_names_and_size_stay(
    tmp_path: Path, read: list[Path]
) -> None:
    folder = photos(tmp_path / "photos")
    before = of(folder)
    victim = read[0]
    content = bytearray(victim.read_bytes())
    content[-1] ^= 1
    victim.write_bytes(content)
    assert of(folder) != before


def test_fingerprint_stays_when_the_folder_moves(tmp_path: Path, read: list[Path]) -> None:
    folder = photos(tmp_path / "photos")
    before = of(folder)
    folder.rename(tmp_path / "elsewhere")
    assert of(tmp_path / "elsewhere") == before


def test_fingerprint_changes_with_the_class_names_and_the_order(
    tmp_path: Path, read: list[Path]
) -> None:
    dataset = open_dataset(str(photos(tmp_path / "photos")), "train")
    before = content_fingerprint(dataset)
    assert content_fingerprint(replace(dataset, classes=("a", "c"))) != before
    assert content_fingerprint(dataset.subset([*range(len(dataset))][::-1])) != before


def test_files_are_read_once_and_again_where_size_or_time_differ(
    tmp_path: Path, read: list[Path]
) -> None:
    folder = photos(tmp_path / "photos")
    before = of(folder)
    files = len(read)
    assert files == len(set(read)) > 2
    assert of(folder) == before
    assert len(read) == files
    os.utime(read[0], ns=(0, OLD[1] * 10**9 + 1))
    assert of(folder) == before
    assert len(read) == files + 1


def test_a_file_of_this_moment_is_not_remembered(tmp_path: Path, read: list[Path]) -> None:
    path = tmp_path / "x"
    path.write_bytes(b"one")
    state = path.stat()
    first = file_hashes([path])
    path.write_bytes(b"two")
    # As if it had been written within the same step of the clock.
    os.utime(path, ns=(state.st_atime_ns, state.st_mtime_ns))
    assert file_hashes([path]) != first


def test_a_damaged_cache_is_replaced(tmp_path: Path, read: list[Path]) -> None:
    folder = photos(tmp_path / "photos")
    before = of(folder)
    files = len(read)
    (cache_dir() / CACHE).write_bytes(b"damaged" * 1000)
    assert of(folder) == before
    assert of(folder) == before
    assert len(read) == 2 * files


def test_all_is_read_when_a_damaged_cache_cannot_be_removed(
    tmp_path: Path, read: list[Path], monkeypatch: pytest.MonkeyPatch
) -> None:
    folder = photos(tmp_path / "photos")
    before = of(folder)
    (cache_dir() / CACHE).write_bytes(b"damaged" * 1000)

    def read_only(path: Path, **settings: bool) -> None:
        raise OSError(errno.EROFS, os.strerror(errno.EROFS), str(path))

    monkeypatch.setattr(Path, "unlink", read_only)
    assert of(folder) == before


def test_all_is_read_when_there_is_no_place_for_a_cache(tmp_path: Path, read: list[Path]) -> None:
    folder = photos(tmp_path / "photos")
    before = of(folder)
    (cache_dir() / CACHE).unlink()
    cache_dir().rmdir()
    cache_dir().write_text("a file")
    assert of(folder) == before


def test_two_processes_share_a_cache(tmp_path: Path, read: list[Path]) -> None:
    paths = []
    for i in range(600):
        paths.append(tmp_path / f"{i}")
        paths[-1].write_text(str(i))
        os.utime(paths[-1], OLD)
    code = (
        "import sys; from pathlib import Path\n"
        "from edgeresnet.device.data.content_hashes import file_hashes\n"
        "for _ in range(5): found = file_hashes([Path(p) for p in sys.argv[1:]])\n"
        "print(b''.join(found).hex())"
    )

    def start(part: Sequence[Path]) -> subprocess.Popen[str]:
        return subprocess.Popen(
            [sys.executable, "-c", code, *map(str, part)], stdout=subprocess.PIPE, text=True,
            env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        )  # fmt: skip

    both = [start(paths[:400]), start(paths[200:])]
    printed = [process.communicate()[0].strip() for process in both]
    assert [process.returncode for process in both] == [0, 0]
    expected = [b"".join(file_hashes(part)).hex() for part in (paths[:400], paths[200:])]
    assert printed == expected
    assert read == []  # all was remembered by the two


def test_arrays_and_unknown_sets_are_hashed_by_their_images() -> None:
    data = blobs("train")
    assert content_fingerprint(data) == content_fingerprint(blobs("train"))
    assert content_fingerprint(data) != content_fingerprint(blobs("train", seed=1))
    brighter = replace(data, pixels=np.where(data.pixels > 0, data.pixels, 1).astype(np.uint8))
    assert content_fingerprint(brighter) != content_fingerprint(data)
    one, other = FakeDataset([1, 2]), FakeDataset([1, 3])
    other.labels = one.labels.copy()
    assert content_fingerprint(one) == content_fingerprint(other)
    assert content_fingerprint(FakeDataset([1, 2], size=9)) != content_fingerprint(one)


def test_a_file_that_is_gone_is_named(tmp_path: Path, read: list[Path]) -> None:
    with pytest.raises(InputError, match=r"gone\.png cannot be read"):
        file_hashes([tmp_path / "gone.png"])
