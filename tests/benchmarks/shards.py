"""Memory that shards take, and images per second; ``python -m tests.benchmarks.shards [SIZES]``.

Memory is what a process takes above itself, idle, at its highest: it opens so many images (1000,
16000, 64000 and 256000, or those that are given), reads every one of them, and decodes 1000. The
speed is that of one thread: the same photographs of 500 x 375 from shards, from their folder, and
decoded by Pillow alone from memory, each image by turns.
"""

from __future__ import annotations

import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from edgeresnet.api.shard import shard
from edgeresnet.device.data.open import open_dataset
from tests.benchmarks.by_turns import HERE

SIZES = (1_000, 16_000, 64_000, 256_000)
# Files of content of their own; the others are links to them, for a disk of usual size.
DISTINCT, CLASSES = 1_000, 100
PHOTOGRAPHS, ROUNDS = 300, 5
READING = """
import sys, time
from edgeresnet.device.data.folder import FolderDataset
from edgeresnet.device.data.open import open_dataset

def status(key):
    lines = open("/proc/self/status").read().splitlines()
    return int(next(line for line in lines if line.startswith(key)).split()[1]) / 1024

idle, start = status("VmRSS"), time.perf_counter()
dataset = open_dataset(sys.argv[1], "train")
opened, opened_s = status("VmRSS"), time.perf_counter() - start
step = max(1, len(dataset) // 1000)
for index in range(len(dataset)):
    if isinstance(dataset, FolderDataset):
        dataset.path(index).read_bytes()
    else:
        dataset.content(index)
    if index % step == 0:
        dataset.image(index)
print(len(dataset), opened_s, opened - idle, status("VmHWM") - idle)
"""


def photograph(rng: np.random.Generator, width: int, height: int) -> Image.Image:
    """As large as one is when compressed: coarse noise, made smooth."""
    coarse = rng.integers(0, 256, (height // 8, width // 8, 3), dtype=np.uint8)
    return Image.fromarray(coarse).resize((width, height), Image.Resampling.BICUBIC)


def write_folder(root: Path, images: int, distinct: Path) -> None:
    """So many images for training, named as ImageNet's are."""
    sources = sorted(distinct.iterdir())
    for number in range(images):
        folder = root / "train" / f"n{number % CLASSES:08d}"
        if number < CLASSES:
            folder.mkdir(parents=True)
        os.link(sources[number % len(sources)], folder / f"{folder.name}_{number:06d}.JPEG")


def memory(place: Path, sizes: tuple[int, ...], console: Console) -> None:
    """The table of memory."""
    table = Table("images", "source", "opened in s", "opened, MB", "highest, MB")
    rng = np.random.default_rng(0)
    (place / "distinct").mkdir()
    for number in range(DISTINCT):
        photograph(rng, 64, 64).save(place / "distinct" / f"{number}.jpg")
    for images in sizes:
        folder, shards = place / f"folder-{images}", place / f"shards-{images}"
        write_folder(folder, images, place / "distinct")
        start = time.perf_counter()
        shard(shards, folder)
        written_s = time.perf_counter() - start
        for source, root in (("shards", shards), ("folder", folder)):
            told = subprocess.run(
                [sys.executable, "-c", READING, str(root)],
                env={**os.environ, "PYTHONPATH": str(HERE)},
                capture_output=True, text=True, check=True,
            ).stdout.split()  # fmt: skip
            row = [told[0], source, *(f"{float(value):.1f}" for value in told[1:])]
            console.print(", ".join(row))
            table.add_row(*row)
        console.print(f"{images} images written in {written_s:.1f} s")
        shutil.rmtree(folder)
        shutil.rmtree(shards)
    console.print(table)


def speed(place: Path, console: Console) -> None:
    """The table of images per second."""
    rng = np.random.default_rng(0)
    for number in range(PHOTOGRAPHS):
        folder = place / "photos" / "train" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        photograph(rng, 500, 375).save(folder / f"{number:05d}.jpg", quality=90)
    shard(place / "shards", place / "photos")
    by_folder, by_shards = (open_dataset(str(place / n), "train") for n in ("photos", "shards"))
    contents = [Path(place, "photos", "train", by_folder.file_name(i)).read_bytes()
                for i in range(PHOTOGRAPHS)]  # fmt: skip
    order = rng.permutation(PHOTOGRAPHS).tolist()
    ways: dict[str, Callable[[int], object]] = {
        "Pillow alone, from memory": lambda index: Image.open(BytesIO(contents[index])).load(),
        "folder": by_folder.image,
        "shards": by_shards.image,
    }
    rounds: list[list[float]] = []
    for _ in range(ROUNDS):
        seconds = dict.fromkeys(ways, 0.0)
        for index in order:
            # Image by image, the first another each time: who shares the machine slows all alike.
            for way in rng.permutation(list(ways)).tolist():
                start = time.perf_counter()
                ways[way](index)
                seconds[way] += time.perf_counter() - start
        rounds.append([PHOTOGRAPHS / taken for taken in seconds.values()])
    table = Table("source", "images/s", "least to most", "of Pillow's own")
    for way, own in zip(ways, zip(*rounds, strict=True), strict=True):
        shares = [rate / all_ways[0] for rate, all_ways in zip(own, rounds, strict=True)]
        table.add_row(
            way, f"{statistics.median(own):.0f}", f"{min(own):.0f} to {max(own):.0f}",
            f"{statistics.median(shares):.3f}",
        )  # fmt: skip
    console.print(f"{sum(map(len, contents)) / PHOTOGRAPHS / 1000:.0f} kB a photograph")
    console.print(table)


def main() -> None:
    sizes = tuple(map(int, sys.argv[1:])) or SIZES
    console = Console()
    with tempfile.TemporaryDirectory() as place:
        memory(Path(place), sizes, console)
    with tempfile.TemporaryDirectory() as place:
        speed(Path(place), console)


if __name__ == "__main__":
    main()
