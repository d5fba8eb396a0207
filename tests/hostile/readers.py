"""What reads strangers' bytes, and good bytes to begin with; for fuzzing."""

from __future__ import annotations

import io
import json
import tempfile
import zipfile
from collections.abc import Callable, Iterator
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import torch
from numpy.typing import NDArray
from PIL import Image

from edgeresnet.api.opening import load_checkpoint
from edgeresnet.device.bundle.bundle import read_manifest
from edgeresnet.device.bundle.golden_file import read_golden
from edgeresnet.device.data.dataset import Dataset
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import to_pixels
from edgeresnet.remote.answers import Probed, between, parsed
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.stage_record import read_report
from edgeresnet.settings.inputs import InputSpec
from tests.hostile.recipes import GOOD
from tests.small_bundles import write_small_bundle

Reader = Callable[[bytes], None]
SIZE, CLASSES = 8, 10
MARKER = b"\n0123456789abcdef\n"


def of_file(path: Path, read_path: Callable[[], object]) -> Reader:
    """What writes bytes to a file, and has it read."""

    def read(content: bytes) -> None:
        path.write_bytes(content)
        read_path()

    return read


def recipe(folder: Path) -> Reader:
    """A recipe's file."""
    path = folder / "recipe.yaml"
    return of_file(path, lambda: load_recipe(path))


def manifest(folder: Path) -> Reader:
    """A bundle's manifest."""
    bundle = folder / "bundle"
    bundle.mkdir()
    return of_file(bundle / "manifest.json", lambda: read_manifest(bundle).to_json())


def checkpoint(folder: Path) -> Reader:
    """A checkpoint's file."""
    path = folder / "theirs.pth"
    return of_file(path, lambda: load_checkpoint(path))


def pickled(folder: Path) -> Reader:
    """The pickle inside of a checkpoint, whose archive is whole."""
    read_file = checkpoint(folder)
    archive = zipfile.ZipFile(io.BytesIO(_checkpoint()))
    others = {name: archive.read(name) for name in archive.namelist()}
    (place,) = [name for name in others if name.endswith("data.pkl")]

    def read(content: bytes) -> None:
        made = io.BytesIO()
        with zipfile.ZipFile(made, "w") as new:
            for name, own in others.items():
                new.writestr(name, content if name == place else own)
        read_file(made.getvalue())

    return read


def golden(folder: Path) -> Reader:
    """A bundle's golden file."""
    path = folder / "golden.npz"
    return of_file(path, lambda: read_golden(path, SIZE, CLASSES))


def member(folder: Path) -> Reader:
    """The images inside of a golden file, whose archive is whole."""
    read_file = golden(folder)

    def read(content: bytes) -> None:
        read_file(_archive({"images.npy": content, "logits.npy": _logits()}))

    return read


def result(folder: Path) -> Reader:
    """A run's report on quantizing."""
    path = folder / "report.json"
    return of_file(path, lambda: read_report(path, "run the stage again."))


def remote(folder: Path) -> Reader:
    """What a far end prints, between lines of a marker."""
    return lambda content: void(parsed(between(content, MARKER), Probed, "ssh://there"))


def image(folder: Path) -> Reader:
    """An image in a folder of a class."""
    place = folder / "photos" / "val" / "a"
    for name in ("a", "b"):
        place.with_name(name).mkdir(parents=True)
        (place.with_name(name) / "0.jpg").write_bytes(next(_images()))

    def read(content: bytes) -> None:
        (place / "0.jpg").write_bytes(content)
        data: Dataset = open_dataset(str(folder / "photos"), "val")
        to_pixels(data.image(0), InputSpec(SIZE))

    return read


def void(value: object) -> None:
    """A value that nobody needs."""


def _archive(members: dict[str, bytes]) -> bytes:
    made = io.BytesIO()
    with zipfile.ZipFile(made, "w", zipfile.ZIP_DEFLATED) as archive:
        for name, content in members.items():
            archive.writestr(name, content)
    return made.getvalue()


def _npy(array: NDArray[Any]) -> bytes:
    made = io.BytesIO()
    np.lib.format.write_array(made, array, allow_pickle=False)
    return made.getvalue()


def _logits() -> bytes:
    return _npy(np.zeros((2, CLASSES), np.float32))


def _pixels() -> bytes:
    return _npy(np.zeros((2, SIZE, SIZE, 3), np.uint8))


@cache
def _checkpoint() -> bytes:
    tensors = {"conv1.weight": torch.zeros(2, 3, 3, 3), "fc.bias": torch.zeros(2)}
    made = io.BytesIO()
    torch.save({"state_dict": tensors, "epoch": 3, "classes": ["a", "b"]}, made)
    return made.getvalue()


def _images() -> Iterator[bytes]:
    pixels = np.arange(SIZE * SIZE * 3, dtype=np.uint8).reshape(SIZE, SIZE, 3)
    for kind in ("JPEG", "PNG", "WEBP", "BMP", "GIF", "TIFF", "PPM"):
        made = io.BytesIO()
        Image.fromarray(pixels).save(made, kind)
        yield made.getvalue()


READERS: dict[str, Callable[[Path], Reader]] = {
    "recipe": recipe,
    "manifest": manifest,
    "checkpoint": checkpoint,
    "pickled": pickled,
    "golden": golden,
    "member": member,
    "result": result,
    "remote": remote,
    "image": image,
}


def seeds(name: str) -> Iterator[bytes]:
    """Good files of a reader, small ones."""
    if name == "recipe":
        yield GOOD.encode()
    elif name == "checkpoint":
        yield _checkpoint()
    elif name == "pickled":
        with zipfile.ZipFile(io.BytesIO(_checkpoint())) as archive:
            yield next(archive.read(n) for n in archive.namelist() if n.endswith("data.pkl"))
    elif name == "manifest":
        with tempfile.TemporaryDirectory() as folder:
            for target in ("onnx", "openvino"):
                bundle = write_small_bundle(Path(folder) / target, target)
                yield (bundle / "manifest.json").read_bytes()
    elif name == "golden":
        yield _archive({"images.npy": _pixels(), "logits.npy": _logits()})
    elif name == "member":
        yield _pixels()
    elif name == "result":
        figures = {"drop": 0.01, "drop_interval": [0.0, 0.02], "agreement": 0.99}
        yield json.dumps({"method": "ptq", "top1_float": 0.9, **figures}).encode()
    elif name == "remote":
        answer = {"version": [3, 10], "root": "/home/u", "rsync": True, "interpreter": None}
        yield b"welcome" + MARKER + json.dumps(answer).encode() + MARKER + b"bye"
    elif name == "image":
        yield from _images()
