"""Golden files and engine records of strangers, in bundles whose manifest knows their hashes."""

from __future__ import annotations

import io
import json
import struct
import zipfile
import zlib
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import numpy as np

from tests.hostile.attack import Attack
from tests.hostile.bundles import ANY_CODE, EVALUATE, INSPECT, Change, Room, both, listed, written
from tests.small_bundles import CLASSES, IMAGES, SIZE

HUGE = 1 << 40
IMAGE_SHAPE, LOGIT_SHAPE = (IMAGES, SIZE, SIZE, 3), (IMAGES, CLASSES)


def header(shape: Any, dtype: str, order: str = "False", version: int = 1) -> bytes:
    """The beginning of an ``.npy``."""
    text = f"{{'descr': {dtype!r}, 'fortran_order': {order}, 'shape': {shape}, }}\n".encode()
    length = struct.pack("<H" if version == 1 else "<I", len(text))
    return b"\x93NUMPY" + bytes((version, 0)) + length + text


def plain(array: np.ndarray[Any, Any], *, pickled: bool = False) -> bytes:
    """An ``.npy``."""
    file = io.BytesIO()
    np.lib.format.write_array(file, array, allow_pickle=pickled)
    return file.getvalue()


def packed(members: dict[str, bytes], kind: int = zipfile.ZIP_DEFLATED) -> bytes:
    """A zip file."""
    file = io.BytesIO()
    with zipfile.ZipFile(file, "w", kind) as stored:
        for name, content in members.items():
            stored.writestr(name, content)
    return file.getvalue()


class Runs:
    """What writes a file when it is unpickled."""

    def __reduce__(self) -> Any:
        return exec, ("open('../outside/ran', 'w')",)


def golden_of(content: bytes) -> Change:
    """A golden file, with its right hash."""
    return both(written("golden.npz", content), listed("golden.npz"))


def _zeros(size: int) -> bytes:
    """A zip file of one member of zeros that are more than its content."""
    packer = zlib.compressobj(9, zlib.DEFLATED, -15)
    content = packer.compress(header((HUGE,), "|u1")) + packer.flush(zlib.Z_FULL_FLUSH)
    # Each flush forgets what came before: every MiB is packed to the same bytes.
    content += (packer.compress(bytes(1 << 20)) + packer.flush(zlib.Z_FULL_FLUSH)) * (size >> 20)
    content += packer.flush()
    name, size = b"images.npy", size + len(header((HUGE,), "|u1"))
    sizes = struct.pack("<HHHHHIIIHH", 20, 0, 8, 0, 0, 0, len(content), size, len(name), 0)
    local = b"PK\x03\x04" + sizes + name + content
    central = b"PK\x01\x02" + b"\x14\0" + sizes + bytes(14) + name
    end = struct.pack("<HHHHIIH", 0, 0, 2, 2, 2 * len(central), len(local), 0)
    return local + 2 * central + b"PK\x05\x06" + end


def goldens(images: bytes, logits: bytes) -> dict[str, bytes]:
    """Golden files that are none."""
    good = packed({"images.npy": images, "logits.npy": logits})

    def with_images(content: bytes) -> bytes:
        return packed({"images.npy": content, "logits.npy": logits})

    def with_logits(content: bytes) -> bytes:
        return packed({"images.npy": images, "logits.npy": content})

    def of(shape: tuple[int, ...], dtype: str = "|u1") -> bytes:
        return with_images(header(shape, dtype) + bytes(1000))

    many = {f"{i}.npy": b"" for i in range(20_000)}
    objects = plain(np.array([Runs()], object), pickled=True)
    not_finite = np.full(LOGIT_SHAPE, np.nan, np.float32)
    return {
        "nothing": b"",
        "no zip": b"PK" + bytes(100),
        "text": b"images",
        "an array": images,
        "cut": good[: len(good) // 2],
        "end only": good[-22:],
        "a pickle": with_images(objects),
        "pickled logits": with_logits(objects),
        "a bare pickle": objects[objects.index(b"\x80") :],
        "terabytes": of((HUGE, SIZE, SIZE, 3)),
        "overflowing": of((1 << 62, SIZE, SIZE, 3)),
        "negative": of((-1, SIZE, SIZE, 3)),
        "no images": with_images(header((0, SIZE, SIZE, 3), "|u1")),
        "wide images": of((IMAGES, 60_000, 60_000, 3)),
        "another size": with_images(plain(np.zeros((IMAGES, 8, 8, 3), np.uint8))),
        "few logits": with_logits(plain(np.zeros((IMAGES, 3), np.float32))),
        "one image less": with_logits(plain(np.zeros((IMAGES - 1, CLASSES), np.float32))),
        "flat": with_images(plain(np.zeros(10, np.uint8))),
        "of no rank": with_images(plain(np.zeros((), np.uint8))),
        "doubles": with_logits(plain(np.zeros(LOGIT_SHAPE, np.float64))),
        "complex": with_logits(plain(np.zeros(LOGIT_SHAPE, np.complex64))),
        "texts": with_logits(plain(np.full(LOGIT_SHAPE, "x"))),
        "records": with_images(header(IMAGE_SHAPE, "|V8") + bytes(24576)),
        "large records": with_images(header((1,), f"|V{1 << 31}") + bytes(10)),
        "big endian": with_logits(plain(np.zeros(LOGIT_SHAPE, ">f4"))),
        "Fortran": with_images(header(IMAGE_SHAPE, "|u1", "True") + bytes(3072)),
        "not finite": with_logits(plain(not_finite)),
        "infinite": with_logits(plain(not_finite + np.float32("inf"))),
        "header deep": with_images(header("(" * 400 + ")" * 400, "|u1")),
        "header long": with_images(header("1" * 60_000, "|u1")),
        "header of code": with_images(header("__import__('os').getcwd()", "|u1")),
        "header signs": with_images(header("-" * 450 + "1", "|u1")),
        "header digits": with_images(header(f"({'9' * 400},)", "|u1")),
        "header type": with_images(header(IMAGE_SHAPE, "x" * 50)),
        "version 3": with_images(header(IMAGE_SHAPE, "|u1", version=3) + bytes(3072)),
        "version 9": with_images(images.replace(b"NUMPY\x01", b"NUMPY\x09")),
        "too short": with_images(images[:-5]),
        "too long": with_images(images + bytes(5)),
        "bomb": _zeros(1 << 30),
        "many members": packed(many),
        "a member more": packed({"images.npy": images, "logits.npy": logits, "x.npy": images}),
        "a member less": packed({"images.npy": images}),
        "other names": packed({"a.npy": images, "../b.npy": logits}),
        "bzip2": packed({"images.npy": images, "logits.npy": logits}, zipfile.ZIP_BZIP2),
        "LZMA": packed({"images.npy": images, "logits.npy": logits}, zipfile.ZIP_LZMA),
        "another sum": good.replace(struct.pack("<I", zlib.crc32(images)), b"abcd"),
        "another way": good.replace(b"\x14\0\0\0\x08\0", b"\x14\0\0\0\x63\0"),
        "encrypted": good.replace(b"\x14\0\0\0\x08\0", b"\x14\0\x01\0\x08\0"),
        "a comment": good[:-2] + b"\x05\0abcde",
        "zip64": good[:-22] + b"PK\x06\x07" + bytes(4) + struct.pack("<QI", 0, 1) + good[-22:],
    }


def _record(**changes: Any) -> bytes:
    values = {
        "schema": 1, "device": "npu", "openvino": "2026.1", "model_sha256": "0" * 64,
        "engine_sha256": "0" * 64, "size_bytes": 1,
    }  # fmt: skip
    return json.dumps(values | changes).encode()


RECORDS: dict[str, bytes] = {
    "nothing": b"",
    "a list": b"[]",
    "null": b"null",
    "deep": b"[" * 100_000,
    "twice": b'{"schema": 1, "schema": 1}',
    "large": b'"' + b"x" * (17 << 20) + b'"',
    "no UTF-8": b"\xff\xfe\x00",
    "digits": b'{"schema": ' + b"9" * 9000 + b"}",
    "nothing in it": b"{}",
    "another schema": _record(schema=2),
    "a number for a hash": _record(model_sha256=5),
    "no hash": _record(engine_sha256="../../etc"),
    "a device that is none": _record(device=["npu"]),
    "endless": b'{"schema": 1e999}',
    "a text for a schema": _record(schema="1"),
    "true for a schema": _record(schema=True),
    "a long device": _record(device="x" * 10**6),
}


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """None is taken for what it should be."""
    room = Room(folder)
    with np.load(folder / "good-onnx" / "golden.npz") as stored:
        images, logits = plain(stored["images"]), plain(stored["logits"])
    for name, content in goldens(images, logits).items():
        room.spoilt(golden_of(content), "onnx")
        yield Attack(f"golden: {name}", EVALUATE)
    for name, content in RECORDS.items():
        room.spoilt(written("engines/npu.blob.json", content), "openvino")
        yield Attack(f"record: {name}", INSPECT)
    good = packed({"images.npy": images, "logits.npy": logits})
    for number in range(40):
        content = bytearray(good)
        for _ in range(int(rng.integers(1, 5))):
            # Where the names, sizes and headers are, and anywhere.
            ends = (int(rng.integers(200)), len(content) - 1 - int(rng.integers(200)))
            at = (*ends, int(rng.integers(len(content))))[int(rng.integers(3))]
            content[at] = int(rng.integers(256))
        room.spoilt(golden_of(bytes(content)), "onnx")
        # A time of day, for instance, says nothing.
        yield Attack(f"fuzzed golden {number}", EVALUATE, ANY_CODE)
    for number in range(20):
        content = bytearray(_record())
        content[int(rng.integers(len(content)))] = int(rng.integers(32, 127))
        room.spoilt(written("engines/npu.blob.json", bytes(content)), "openvino")
        yield Attack(f"fuzzed record {number}", INSPECT, ANY_CODE)
