"""The embedded and standard data sets: digits, Fashion-MNIST and CIFAR-10."""

from __future__ import annotations

import gzip
import importlib.util
import os
import pickle
import shutil
import tarfile
from collections.abc import Callable, Sequence
from dataclasses import dataclass, replace
from pathlib import Path
from typing import TYPE_CHECKING, Any

import numpy as np
from PIL import Image

from edgeresnet.device.data.dataset import VALIDATION_SHARE, Dataset, Split
from edgeresnet.device.data.download import RemoteFile, download
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.folders import replace_folder
from edgeresnet.files.locks import locked
from edgeresnet.files.places import cache_dir, from_home
from edgeresnet.files.writing import NO_ROOM

if TYPE_CHECKING:
    from numpy.typing import NDArray

DEBIAN_FASHION_MNIST = Path("/usr/share/datasets/fashion-mnist")
FASHION_CLASSES = (
    "t-shirt", "trouser", "pullover", "dress", "coat", "sandal", "shirt", "sneaker", "bag",
    "ankle-boot",
)  # fmt: skip
CIFAR_CLASSES = (
    "airplane", "automobile", "bird", "cat", "deer", "dog", "frog", "horse", "ship", "truck",
)  # fmt: skip
DIGITS, CIFAR_FOLDER = "digits.csv.gz", "cifar-10-batches-py"
# The data sets' own addresses; what comes from there is checked, so that it need not be https.
FASHION_URL = "http://fashion-mnist.s3-website.eu-central-1.amazonaws.com"
FASHION_SHA256 = {
    "train-images-idx3-ubyte": "3aede38d61863908ad78613f6a32ed271626dd12800ba2636569512369268a84",
    "train-labels-idx1-ubyte": "a04f17134ac03560a47e3764e11b92fc97de4d1bfaf8ba1a3aa29af54cc90845",
    "t10k-images-idx3-ubyte": "346e55b948d973a97e58d2351dde16a484bd415d4595297633bb08f03db6a073",
    "t10k-labels-idx1-ubyte": "67da17c76eaffca5446c3361aaab5c3cd6d1c2608764d35dfb1850b086bf8dd5",
}
CIFAR_ARCHIVE = RemoteFile(
    "https://www.cs.toronto.edu/~kriz/cifar-10-python.tar.gz",
    "6d958be074577803d12ecdefd02955f39262c83c16fe9348329d7fe0b5c001ce",
)
CIFAR_BATCHES = {
    "train": tuple(f"data_batch_{i}" for i in range(1, 6)),
    "val": ("test_batch",),
}


@dataclass(frozen=True, eq=False)
class ArrayDataset:
    """Images that lie in memory: (n, H, W) or (n, H, W, 3) uint8."""

    name: str
    split: Split
    classes: tuple[str, ...]
    labels: NDArray[np.int64]
    pixels: NDArray[np.uint8]
    skipped: tuple[str, ...] = ()
    notes: tuple[str, ...] = ()

    def __len__(self) -> int:
        return len(self.labels)

    def image(self, index: int) -> Image.Image:
        """Image ``index``, as Pillow has it."""
        return Image.fromarray(self.pixels[index])

    def file_name(self, index: int) -> str:
        """Its place in the data set."""
        return f"{self.name}/{self.split}/{index}"

    def subset(self, indices: Sequence[int]) -> ArrayDataset:
        """Only these images."""
        chosen = np.asarray(indices, np.int64)
        return replace(self, labels=self.labels[chosen], pixels=self.pixels[chosen])

    def relabelled(self, classes: tuple[str, ...], labels: NDArray[np.int64]) -> ArrayDataset:
        """The same images, with these labels of these classes."""
        return replace(self, classes=classes, labels=labels)


def digits(split: Split, seed: int) -> Dataset:
    """scikit-learn's handwritten digits, 8 x 8; ``seed`` draws the split."""
    images, labels = _read_digits()
    pixels = np.rint(images * (255 / 16)).astype(np.uint8)
    in_val = np.zeros(len(labels), bool)
    generator = np.random.default_rng(seed)
    for label in range(10):
        members = generator.permutation(np.flatnonzero(labels == label))
        in_val[members[: round(len(members) * VALIDATION_SHARE)]] = True
    chosen = in_val if split == "val" else ~in_val
    classes = tuple(str(i) for i in range(10))
    return ArrayDataset("digits", split, classes, labels[chosen], pixels[chosen])


def _digits_path() -> Path | None:
    """The table of digits: in $EDGERESNET_DATA, else in scikit-learn; None where it is not."""
    # Importing scikit-learn brings scipy with it, which takes seconds and trips over a torch that
    # cannot be imported; the table itself is all that is needed.
    package = importlib.util.find_spec("sklearn")
    places = _data_dirs("digits")
    if package is not None and package.origin is not None:
        places.append(Path(package.origin).parent / "datasets" / "data")
    return _first_existing(*(place / DIGITS for place in places))


def _read_digits() -> tuple[NDArray[np.float64], NDArray[np.int64]]:
    """(n, 8, 8) of 0 to 16, and labels (n,)."""
    path = _digits_path()
    if path is None:
        raise MissingError(
            "data digits comes with scikit-learn, which is not installed",
            f"pip install 'edgeresnet[host]', or copy {DIGITS} out of scikit-learn's folder "
            "datasets/data elsewhere into $EDGERESNET_DATA.",
        )
    with gzip.open(path, "rt") as file:
        table = np.loadtxt(file, delimiter=",")
    return table[:, :-1].reshape(-1, 8, 8), table[:, -1].astype(np.int64)


def _data_dirs(name: str) -> list[Path]:
    own = _own_dir()
    return [own / name, own] if own else []


def _own_dir() -> Path | None:
    """The folder in $EDGERESNET_DATA."""
    own = os.environ.get("EDGERESNET_DATA")
    return from_home(own) if own else None


def download_dir() -> Path:
    """Where downloads are kept, in the folders that torchvision gives them too."""
    return _own_dir() or cache_dir() / "data"


def _fashion_mnist_names(split: Split) -> tuple[str, str]:
    """Names of the files of images and of labels."""
    prefix = "train" if split == "train" else "t10k"
    return f"{prefix}-images-idx3-ubyte", f"{prefix}-labels-idx1-ubyte"


def _fashion_mnist_dir() -> Path:
    return download_dir() / "FashionMNIST" / "raw"


def _fashion_mnist_paths(split: Split) -> list[Path]:
    """Paths of images and labels; empty where these are not here."""
    names = _fashion_mnist_names(split)
    places = (*_data_dirs("fashion-mnist"), DEBIAN_FASHION_MNIST, _fashion_mnist_dir())
    for place in places:
        paths = [_first_existing(place / name, place / f"{name}.gz") for name in names]
        if all(paths):
            return [path for path in paths if path]
    return []


def fashion_mnist(split: Split, seed: int) -> Dataset:
    """Fashion-MNIST, 28 x 28; fetched where it is not on this machine."""
    if not _fashion_mnist_paths(split):
        _fetch("fashion-mnist", lambda: _fetch_fashion_mnist(split))
    pixels, labels = (_read_idx(path) for path in _fashion_mnist_paths(split))
    return ArrayDataset("fashion-mnist", split, FASHION_CLASSES, labels.astype(np.int64), pixels)


def _fetch_fashion_mnist(split: Split) -> None:
    """Those of the split's two files that are not there yet."""
    folder = _fashion_mnist_dir()
    folder.mkdir(parents=True, exist_ok=True)
    for name in _fashion_mnist_names(split):
        if _first_existing(folder / name, folder / f"{name}.gz") is None:
            remote = RemoteFile(f"{FASHION_URL}/{name}.gz", FASHION_SHA256[name])
            download(remote, folder / f"{name}.gz")


def _first_existing(*paths: Path) -> Path | None:
    return next((p for p in paths if p.is_file()), None)


def _read_idx(path: Path) -> NDArray[np.uint8]:
    """Read an IDX file of unsigned bytes (the format is described on MNIST's page)."""
    opener: Callable[..., Any] = gzip.open if path.suffix == ".gz" else open
    try:
        with opener(path, "rb") as file:
            data = file.read()
        dimensions = data[3]
        shape = np.frombuffer(data, ">i4", dimensions, 4)
        return np.frombuffer(data, np.uint8, offset=4 + 4 * dimensions).reshape(shape)
    except (OSError, EOFError, ValueError, IndexError) as error:
        raise InputError(f"{path} is damaged: {error}", "fetch the file again.") from error


def _fetch(spec: str, fetch: Callable[[], None]) -> None:
    """Fetch a data set; one process at a time, and the next finds it there."""
    try:
        with locked(download_dir() / spec):
            fetch()
    except OSError as error:
        cause = f"data {spec} is not on this machine and could not be fetched: {error}"
        if error.errno in NO_ROOM:
            fix = f"make room in {download_dir()}, or set EDGERESNET_DATA to another folder."
            raise MissingError(cause, fix) from error
        raise InputError(
            cause,
            "copy the files to a folder and set EDGERESNET_DATA to it; on Debian, Fashion-MNIST "
            "is the package dataset-fashion-mnist.",
        ) from error


def _cifar10_paths(split: Split) -> list[Path]:
    """The batches; empty where one of them is not."""
    for place in (*_data_dirs("cifar10"), download_dir()):
        paths = [place / CIFAR_FOLDER / name for name in CIFAR_BATCHES[split]]
        if all(path.is_file() for path in paths):
            return paths
    return []


def cifar10(split: Split, seed: int) -> Dataset:
    """CIFAR-10, 32 x 32; fetched where it is not on this machine."""
    if not _cifar10_paths(split):
        _fetch("cifar10", _fetch_cifar10)
    parts = [_read_cifar(path) for path in _cifar10_paths(split)]
    pixels = np.concatenate([p for p, _ in parts])
    labels = np.concatenate([y for _, y in parts])
    return ArrayDataset("cifar10", split, CIFAR_CLASSES, labels, pixels)


def _fetch_cifar10() -> None:
    """Both splits: they are one archive."""
    folder = download_dir() / CIFAR_FOLDER
    wanted = [name for names in CIFAR_BATCHES.values() for name in names]
    if all((folder / name).is_file() for name in wanted):
        return
    if folder.is_dir():
        raise InputError(f"{folder} is incomplete", "remove it; it is then fetched again.")
    # Of this name: one process at a time is here, and finds what a killed one has left.
    staging = download_dir() / ".cifar10.partial"
    shutil.rmtree(staging, ignore_errors=True)
    try:
        archive_path, new = staging / "archive.tar.gz", staging / CIFAR_FOLDER
        new.mkdir(parents=True)
        download(CIFAR_ARCHIVE, archive_path)
        with tarfile.open(archive_path) as archive:
            for name in wanted:
                # Its hash is right, so the files are there and are files.
                source = archive.extractfile(f"{CIFAR_FOLDER}/{name}")
                assert source is not None
                with source, (new / name).open("wb") as file:
                    shutil.copyfileobj(source, file)
        replace_folder(new, folder)
    finally:
        shutil.rmtree(staging, ignore_errors=True)


class _NumpyOnly(pickle.Unpickler):
    """CIFAR-10 comes as pickles; nothing but numpy's own rebuilding may run."""

    def find_class(self, module: str, name: str) -> Any:
        allowed = {"_reconstruct", "ndarray", "dtype"}
        if module.split(".")[0] == "numpy" and name in allowed:
            return super().find_class(module, name)
        raise pickle.UnpicklingError(f"{module}.{name} is not part of CIFAR-10")


def _read_cifar(path: Path) -> tuple[NDArray[np.uint8], NDArray[np.int64]]:
    try:
        with path.open("rb") as file:
            content = _NumpyOnly(file, encoding="latin1").load()
        pixels = np.asarray(content["data"], np.uint8).reshape(-1, 3, 32, 32).transpose(0, 2, 3, 1)
        return np.ascontiguousarray(pixels), np.asarray(content["labels"], np.int64)
    except (OSError, EOFError, ValueError, KeyError, pickle.UnpicklingError) as error:
        raise InputError(f"{path} is damaged: {error}", "fetch the file again.") from error


def standard_files(spec: str, split: Split) -> dict[str, Path]:
    """The files of a standard data set, by where they would lie below $EDGERESNET_DATA.

    Empty if they are not on this machine.
    """
    if spec == "digits":
        path = _digits_path()
        return {f"digits/{path.name}": path} if path else {}
    if spec == "cifar10":
        return {f"cifar10/{CIFAR_FOLDER}/{path.name}": path for path in _cifar10_paths(split)}
    return {f"{spec}/{path.name}": path for path in _fashion_mnist_paths(split)}
