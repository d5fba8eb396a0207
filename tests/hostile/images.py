"""Images of strangers: a hostile one among good ones, in a data folder."""

from __future__ import annotations

import io
import os
import shutil
import struct
import zlib
from collections.abc import Callable, Iterator
from pathlib import Path

import numpy as np
from PIL import Image

from edgeresnet.host.models.checkpoint import save_checkpoint
from tests.hostile.attack import REFUSED, Attack
from tests.hostile.checkpoints import mutated, small_checkpoint

KINDS = {
    "JPEG": ".jpg", "PNG": ".png", "WEBP": ".webp", "BMP": ".bmp", "GIF": ".gif", "TIFF": ".tif",
    "PPM": ".ppm", "AVIF": ".avif",
}  # fmt: skip
EITHER = (0, *REFUSED)
FUZZED = 8
EPS = (
    b"%!PS-Adobe-3.0 EPSF-3.0\n%%BoundingBox: 0 0 8 8\n%%EndComments\n"
    b"(../outside/ran) (w) file closefile\nshowpage\n%%EOF\n"
)
COMMAND = ("evaluate", "m.pt", "--data", "data")


def attacks(folder: Path, rng: np.random.Generator) -> Iterator[Attack]:
    """Each is refused by the image's name, or read; left out with ``--skip-broken``."""
    save_checkpoint(small_checkpoint(), folder / "m.pt")
    good = {kind: _saved(kind, rng) for kind in KINDS}
    data = folder / "data" / "val"
    for name in map(str, range(10)):
        (data / name).mkdir(parents=True)
        for number in range(3):
            (data / name / f"{number}.png").write_bytes(good["PNG"])
    hostile = data / "3"
    for name, (file, content) in _made(good).items():
        (hostile / file).write_bytes(content)
        yield from _both(name, file)
        (hostile / file).unlink()
    yield from _no_files(hostile)
    # Not the last one, which is among the few of the default tests.
    large = _png(12_600, 12_600)
    for number in range(4):
        (data / "4" / f"x{number}.png").write_bytes(large)
    yield Attack("four images of 158 million pixels", COMMAND, EITHER, limit_s=120)
    for number in range(4):
        (data / "4" / f"x{number}.png").unlink()
    for kind, suffix in KINDS.items():
        for number in range(FUZZED):
            (hostile / f"x{suffix}").write_bytes(mutated(good[kind], rng))
            skip = ("--skip-broken",) if number % 2 else ()
            yield Attack(f"fuzzed {kind} {number}", (*COMMAND, *skip), EITHER)
            (hostile / f"x{suffix}").unlink()


def _both(name: str, file: str) -> Iterator[Attack]:
    """Refused by its name; and left out, told of."""
    yield Attack(name, COMMAND, harmless=_must_be_refused)
    yield Attack(f"{name}, skipped", (*COMMAND, "--skip-broken"), EITHER)


def _must_be_refused(printed: str) -> str | None:
    return "is read as an image"


def _saved(kind: str, rng: np.random.Generator) -> bytes:
    buffer = io.BytesIO()
    Image.fromarray(rng.integers(0, 256, (12, 12, 3), np.uint8)).save(buffer, kind)
    return buffer.getvalue()


def _chunk(kind: bytes, content: bytes) -> bytes:
    return struct.pack(">I", len(content)) + kind + content + struct.pack(
        ">I", zlib.crc32(kind + content))  # fmt: skip


def _png(width: int, height: int, *, rows: bool = True, more: bytes = b"", kind: int = 2) -> bytes:
    """Of so many pixels, all black, in some kilobytes."""
    channels = {0: 1, 2: 3, 6: 4}[kind]
    data = b""
    if rows:
        press = zlib.compressobj(9)
        line = bytes(1 + channels * width)
        data = b"".join(press.compress(line) for _ in range(height)) + press.flush()
    head = struct.pack(">IIBBBBB", width, height, 8, kind, 0, 0, 0)
    return b"\x89PNG\r\n\x1a\n" + _chunk(b"IHDR", head) + more + _chunk(b"IDAT", data) + _chunk(
        b"IEND", b"")  # fmt: skip


def _tiff(tags: list[tuple[int, int, int, int]], data: bytes = bytes(64)) -> bytes:
    """Of 8 x 8 numbers, with further tags (number, type, count, value)."""
    usual = [(256, 4, 1, 8), (257, 4, 1, 8), (258, 3, 1, 8), (259, 3, 1, 1), (262, 3, 1, 1),
             (273, 4, 1, 8), (277, 3, 1, 1), (278, 4, 1, 8), (279, 4, 1, 64)]  # fmt: skip
    known = {tag[0]: tag for tag in [*usual, *tags]}
    entries = b"".join(struct.pack("<HHII", *known[key]) for key in sorted(known))
    return b"II*\0" + struct.pack("<I", 8 + len(data)) + data + struct.pack(
        "<H", len(known)) + entries + bytes(4)  # fmt: skip


def _frames(kind: str, count: int) -> bytes:
    buffer = io.BytesIO()
    frames = [Image.new("L", (4, 4), i % 256) for i in range(count)]
    frames[0].save(buffer, kind, save_all=True, append_images=frames[1:])
    return buffer.getvalue()


def _with_exif(content: bytes, exif: bytes) -> bytes:
    buffer = io.BytesIO()
    Image.open(io.BytesIO(content)).save(buffer, "JPEG", exif=b"Exif\0\0" + exif)
    return buffer.getvalue()


def _made(good: dict[str, bytes]) -> dict[str, tuple[str, bytes]]:
    """Files by what is wrong with them."""
    gif = bytearray(_frames("GIF", 2))
    gif[6:10] = b"\xff\xff\xff\xff"
    bmp = bytearray(good["BMP"])
    bmp[18:26] = struct.pack("<ii", 60_000, 60_000)
    webp = b"RIFF" + struct.pack("<I", 30) + b"WEBPVP8X" + struct.pack("<I", 10) + bytes(4) + (
        b"\xfe\x3f\0\xfe\x3f\0") + b"VP8 " + bytes(4)  # fmt: skip
    others: dict[str, tuple[str, bytes]] = {
        f"{what} called {file}": (file, content)
        for what, content in {
            "EPS": EPS,
            "PostScript": b"%!PS\n" + EPS,
            "SVG": b"<svg xmlns='http://www.w3.org/2000/svg'><image href='http://a/'/></svg>",
            "PDF": b"%PDF-1.4\n",
            "a text": b"hello\n",
            "nothing": b"",
            "ICO": b"\0\0\1\0\1\0\1\1\0\0\1\0\x18\0\x30\0\0\0\x16\0\0\0" + bytes(48),
            "PSD": b"8BPS\0\1" + bytes(100),
            "FITS": b"SIMPLE  =                    T" + bytes(2880),
            "XBM": b"#define a_width 8\n#define a_height 8\nstatic char a_bits[] = {0};\n",
        }.items()
        for file in ("x.jpg", "x.png")
    }
    return {
        **others,
        "PNG of 900 million pixels": ("x.png", _png(30_000, 30_000, rows=False)),
        "PNG of 2**62 pixels": ("x.png", _png(2**31 - 1, 2**31 - 1, rows=False)),
        "PNG of no pixels": ("x.png", _png(0, 0, rows=False)),
        "PNG without rows": ("x.png", _png(100, 100, rows=False)),
        "BMP of 60,000 x 60,000": ("x.bmp", bytes(bmp)),
        "GIF of 65,535 x 65,535": ("x.gif", bytes(gif)),
        "WEBP of 16,383 x 16,383": ("x.webp", webp),
        "PPM of 10**9 x 10**9": ("x.ppm", b"P6 1000000000 1000000000 255\n"),
        "PPM of many digits": ("x.ppm", b"P6 " + b"9" * 5000 + b" 1 255\n"),
        "PPM of 13,000 x 13,000 without numbers": ("x.ppm", b"P6 13000 13000 255\n"),
        "PPM in text without numbers": ("x.ppm", b"P3 12000 12000 255\n1 2 3"),
        "PPM of floats": ("x.ppm", b"Pf 2 2 -1.0\n" + bytes(16)),
        "TIFF of 4 billion columns": ("x.tif", _tiff([(256, 4, 1, 2**32 - 1)])),
        "TIFF of tags beyond its end": (
            "x.tif", _tiff([(40_000 + i, 7, 2**31, 8) for i in range(99)] + [(256, 4, 1, 0)])),
        "TIFF of unknown compression": ("x.tif", _tiff([(259, 3, 1, 60_000)])),
        "TIFF of 32-bit floats": ("x.tif", _tiff([(258, 3, 1, 32), (339, 3, 1, 3)], bytes(256))),
        "TIFF of strips elsewhere": ("x.tif", _tiff([(273, 4, 1, 2**31)])),
        "JPEG cut off": ("x.jpg", good["JPEG"][:60]),
        "AVIF cut off": ("x.avif", good["AVIF"][:200]),
        "WEBP cut off": ("x.webp", good["WEBP"][:40]),
    }  # fmt: skip


def _no_files(hostile: Path) -> Iterator[Attack]:
    """Pipes, devices, folders and links in a data folder are no images; nothing waits for them."""
    makes: dict[str, Callable[[Path], object]] = {
        "a pipe": os.mkfifo,
        "a folder": lambda p: (p.mkdir(), shutil.copy(hostile / "0.png", p / "a.png")),
        "a link to an endless device": lambda p: p.symlink_to("/dev/zero"),
        "a link to a terminal": lambda p: p.symlink_to("/dev/tty"),
        "a link to itself": lambda p: p.symlink_to(p.name),
        "a link to nothing": lambda p: p.symlink_to("nowhere"),
        "a link to the folders above": lambda p: p.symlink_to("..", target_is_directory=True),
    }
    for name, make in makes.items():
        path = hostile / "x.jpg"
        make(path)
        yield Attack(f"file: {name}", COMMAND, EITHER)
        shutil.rmtree(path) if path.is_dir() and not path.is_symlink() else path.unlink()
    table = hostile.parent / "labels.csv"
    os.mkfifo(hostile / "pipe.jpg")
    lines = {
        "names a pipe": "3/0.png,a,val\n3/pipe.jpg,b,val\n",
        "names a device": "3/0.png,a,val\n/dev/zero,b,val\n",
        "names a field of a MB": "3/0.png,a,val\n" + "b" * (1 << 20) + ",b,val\n",
        "has labels of 5,000 digits": "3/0.png,1,val\n3/1.png," + "9" * 5000 + ",val\n",
        "has zeros": "3/0.png\0,1,val\n",
        "is deep": "",
    }
    for name, text in lines.items():
        table.write_text(f"path,label,split\n{text}" if text else "[" * 100_000)
        command = ("evaluate", "m.pt", "--data", "data/val/labels.csv")
        yield Attack(f"labels: {name}", command, EITHER)
    table.unlink()
    (hostile / "pipe.jpg").unlink()
