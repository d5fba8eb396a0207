"""What calls itself an image starts nothing, waits for nothing and takes no memory by itself."""

from __future__ import annotations

import os
import struct
import subprocess
import threading
import zlib
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeresnet.device.data import decoding, preprocess
from edgeresnet.device.data.decoding import decode, turn
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import to_rgb
from edgeresnet.errors import InputError

EPS = b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\nshowpage\n%%EOF\n"


def look(image: Image.Image) -> None:
    """Nothing."""


def png_of(width: int, height: int) -> bytes:
    """A header, and no rows."""

    def chunk(kind: bytes, content: bytes) -> bytes:
        crc = struct.pack(">I", zlib.crc32(kind + content))
        return struct.pack(">I", len(content)) + kind + content + crc

    head = chunk(b"IHDR", struct.pack(">IIBBBBB", width, height, 8, 2, 0, 0, 0))
    return b"\x89PNG\r\n\x1a\n" + head + chunk(b"IDAT", b"") + chunk(b"IEND", b"")


@pytest.fixture
def folder(tmp_path: Path) -> Path:
    for name in ("a", "b"):
        (tmp_path / "val" / name).mkdir(parents=True)
        for number in range(2):
            Image.new("RGB", (8, 8)).save(tmp_path / "val" / name / f"{number}.png")
    return tmp_path


@pytest.mark.parametrize("name", ["x.jpg", "x.png", "x.tif"])
def test_decode_starts_no_program_when_an_eps_has_an_images_name(
    tmp_path: Path, name: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    def started(*arguments: object, **more: object) -> None:
        raise AssertionError("a program is started")

    monkeypatch.setattr(subprocess, "Popen", started)
    (tmp_path / name).write_bytes(EPS)
    with pytest.raises(InputError, match="none of JPEG"):
        decode(tmp_path / name, look)


def test_decode_refuses_when_the_file_is_a_pipe(tmp_path: Path) -> None:
    os.mkfifo(tmp_path / "x.jpg")
    with pytest.raises(InputError, match="no regular file"):
        decode(tmp_path / "x.jpg", look)


def test_decode_refuses_before_memory_is_taken_when_an_image_is_too_large(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "MOST_PIXELS", 100)
    monkeypatch.setattr(Image.Image, "load", None)
    (tmp_path / "x.png").write_bytes(png_of(20, 20))
    with pytest.raises(InputError, match="20 x 20"):
        decode(tmp_path / "x.png", look)


def test_decode_refuses_whatever_a_decoder_raises(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    def fail(image: Image.Image) -> None:
        raise KeyError("\x1b[2J")

    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    monkeypatch.setattr("PIL.PngImagePlugin.PngImageFile.load", fail)
    with pytest.raises(InputError) as caught:
        decode(tmp_path / "x.png", look)
    assert "\x1b" not in caught.value.cause


@pytest.mark.parametrize("content", [png_of(40_000, 40_000), png_of(20, 20), EPS, b""])
def test_open_dataset_leaves_a_hostile_image_out_when_broken_ones_are_skipped(
    folder: Path, content: bytes
) -> None:
    (folder / "val" / "a" / "x.png").write_bytes(content)
    dataset = open_dataset(str(folder), "val", skip_broken=True)
    assert (len(dataset), dataset.skipped) == (4, ("a/x.png",))
    with pytest.raises(InputError, match=r"x\.png is not a readable image"):
        open_dataset(str(folder), "val").image(2)


def test_open_dataset_waits_for_no_pipe_when_one_lies_among_the_images(folder: Path) -> None:
    os.mkfifo(folder / "val" / "a" / "x.png")
    assert len(open_dataset(str(folder), "val", skip_broken=True)) == 4


@pytest.mark.parametrize("orientation", range(9))
def test_decode_gives_the_image_upright(tmp_path: Path, orientation: int) -> None:
    image = Image.fromarray(np.arange(24, dtype=np.uint8).reshape(2, 4, 3))
    exif = Image.Exif()
    exif[decoding.ORIENTATION] = orientation
    image.save(tmp_path / "x.png", exif=exif)
    seen: list[int] = []
    found = decode(tmp_path / "x.png", lambda i: seen.append(i.getexif()[decoding.ORIENTATION]))
    assert seen == [orientation]
    with Image.open(tmp_path / "x.png") as like:
        assert np.array_equal(np.asarray(to_rgb(found)), np.asarray(to_rgb(like)))


def test_turn_lets_one_large_image_be_decoded_at_a_time(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(decoding, "LARGE_PIXELS", 10)
    Image.new("RGB", (8, 8)).save(tmp_path / "x.png")
    done = threading.Event()

    def other() -> None:
        decode(tmp_path / "x.png", look)
        done.set()

    with turn():
        decode(tmp_path / "x.png", look)
        thread = threading.Thread(target=other)
        thread.start()
        assert not done.wait(0.2)
    assert done.wait(10)
    thread.join()


@pytest.mark.parametrize("mode", ["RGBA", "LA", "PA"])
def test_to_rgb_is_the_same_when_it_is_done_strip_by_strip(
    mode: str, monkeypatch: pytest.MonkeyPatch
) -> None:
    pixels = np.random.default_rng(0).integers(0, 256, (9, 5, 4), np.uint8)
    image = Image.fromarray(pixels).convert(mode) if mode != "PA" else Image.fromarray(
        pixels[..., :2], "LA").convert("PA")  # fmt: skip
    whole = np.asarray(to_rgb(image))
    monkeypatch.setattr(preprocess, "LARGE_PIXELS", 10)
    assert np.array_equal(np.asarray(to_rgb(image)), whole)
