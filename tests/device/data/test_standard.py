"""The standard data sets: where they are looked for, and how they are fetched."""

from __future__ import annotations

import gzip
import hashlib
import io
import os
import pickle
import tarfile
from pathlib import Path

import numpy as np
import pytest
from sklearn.datasets import load_digits

from edgeresnet.device.data import standard
from edgeresnet.device.data.download import RemoteFile
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.standard import CIFAR_FOLDER, _read_digits
from edgeresnet.errors import InputError, MissingError


@pytest.fixture
def data_dir(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An empty $EDGERESNET_DATA, on a machine that has none of the data sets."""
    monkeypatch.setenv("EDGERESNET_DATA", str(tmp_path / "data"))
    monkeypatch.setattr(standard, "DEBIAN_FASHION_MNIST", tmp_path / "none")
    return tmp_path / "data"


@pytest.fixture
def fashion_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """Three images and labels of each split, at a place that is fetched from."""
    site = tmp_path / "site"
    site.mkdir()
    hashes = {}
    for name in standard.FASHION_SHA256:
        shape = (3, 28, 28) if "images" in name else (3,)
        head = bytes([0, 0, 8, len(shape)]) + np.array(shape, ">i4").tobytes()
        content = gzip.compress(head + bytes(int(np.prod(shape))))
        (site / f"{name}.gz").write_bytes(content)
        hashes[name] = hashlib.sha256(content).hexdigest()
    monkeypatch.setattr(standard, "FASHION_URL", site.as_uri())
    monkeypatch.setattr(standard, "FASHION_SHA256", hashes)
    return site


@pytest.fixture
def cifar_site(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> Path:
    """An archive of two images a batch, at a place that is fetched from."""
    archive_path = tmp_path / "cifar.tar.gz"
    with tarfile.open(archive_path, "w:gz") as archive:
        for number, name in enumerate(["test_batch", *(f"data_batch_{i}" for i in range(1, 6))]):
            batch = {"data": np.full((2, 3072), number, np.uint8), "labels": [number, 9]}
            content = pickle.dumps(batch, protocol=4)
            entry = tarfile.TarInfo(f"{CIFAR_FOLDER}/{name}")
            entry.size = len(content)
            archive.addfile(entry, io.BytesIO(content))
    digest = hashlib.sha256(archive_path.read_bytes()).hexdigest()
    monkeypatch.setattr(standard, "CIFAR_ARCHIVE", RemoteFile(archive_path.as_uri(), digest))
    return archive_path


def test_fashion_mnist_fetches_what_a_split_needs_and_only_once(
    data_dir: Path, fashion_site: Path
) -> None:
    assert len(open_dataset("fashion-mnist", "val")) == 3
    kept = data_dir / "FashionMNIST" / "raw"
    assert {path.name for path in kept.iterdir()} == {
        "t10k-images-idx3-ubyte.gz",
        "t10k-labels-idx1-ubyte.gz",
    }
    for path in fashion_site.glob("t10k-*"):
        path.unlink()
    assert len(open_dataset("fashion-mnist", "val")) == 3
    (fashion_site / "train-labels-idx1-ubyte.gz").unlink()
    with pytest.raises(InputError, match="fashion-mnist is not on this machine and could not"):
        open_dataset("fashion-mnist", "train")


def test_fashion_mnist_refuses_a_file_of_another_hash(data_dir: Path, fashion_site: Path) -> None:
    (fashion_site / "train-images-idx3-ubyte.gz").write_bytes(b"<html>log in</html>")
    with pytest.raises(InputError, match="not the file it is known for"):
        open_dataset("fashion-mnist", "train")
    assert not list(data_dir.rglob("train-*"))


def test_cifar10_is_fetched_whole_and_read_in_order(data_dir: Path, cifar_site: Path) -> None:
    train = open_dataset("cifar10", "train")
    assert train.labels.tolist() == [1, 9, 2, 9, 3, 9, 4, 9, 5, 9]
    assert np.asarray(train.image(2)).shape == (32, 32, 3)
    cifar_site.unlink()
    assert open_dataset("cifar10", "val").labels.tolist() == [0, 9]
    # Neither the archive nor what it was unpacked in is left.
    assert [path.name for path in data_dir.iterdir() if path.is_dir()] == [CIFAR_FOLDER]
    (data_dir / CIFAR_FOLDER / "test_batch").unlink()
    with pytest.raises(InputError, match="is incomplete"):
        open_dataset("cifar10", "val")


def test_cifar10_of_another_hash_is_not_unpacked(data_dir: Path, cifar_site: Path) -> None:
    cifar_site.write_bytes(cifar_site.read_bytes() + b"\0")
    with pytest.raises(InputError, match="not the file it is known for"):
        open_dataset("cifar10", "train")
    assert not list(data_dir.rglob("data_batch*"))


def test_a_data_folder_that_cannot_be_written_is_one_message(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path, tmp_path: Path
) -> None:
    (tmp_path / "file").write_text("")
    monkeypatch.setenv("EDGERESNET_DATA", str(tmp_path / "file" / "below"))
    with pytest.raises(InputError, match="cifar10 is not on this machine and could not be fetched"):
        open_dataset("cifar10", "train")


def test_digits_name_the_extra_that_brings_them(
    monkeypatch: pytest.MonkeyPatch, data_dir: Path
) -> None:
    monkeypatch.setattr(standard.importlib.util, "find_spec", lambda name: None)
    with pytest.raises(MissingError, match=r"edgeresnet\[host\]"):
        open_dataset("digits", "val")


def test_digits_equal_scikit_learns_when_loaded_by_it() -> None:
    images, labels = _read_digits()
    bunch = load_digits()
    assert np.array_equal(images, bunch.images)
    assert np.array_equal(labels, bunch.target)


def test_open_dataset_reads_every_digit_when_offline() -> None:
    train, val = open_dataset("digits", "train"), open_dataset("digits", "val")
    assert len(train) + len(val) == 1797
    assert np.bincount(val.labels).min() > 30
    assert max(np.asarray(train.image(i)).max() for i in range(20)) == 255


@pytest.mark.skipif(
    not Path("/usr/share/datasets/fashion-mnist").is_dir() and "EDGERESNET_DATA" not in os.environ,
    reason="Debian's package dataset-fashion-mnist is not installed",
)
def test_open_dataset_reads_all_of_fashion_mnist() -> None:
    train, val = open_dataset("fashion-mnist", "train"), open_dataset("fashion-mnist", "val")
    assert (len(train), len(val)) == (60_000, 10_000)
    assert np.bincount(val.labels).tolist() == [1000] * 10
    assert train.classes[train.labels[0]] == "ankle-boot"
