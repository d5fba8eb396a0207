"""Memory that shards take, and images per second; ``python -m tests.benchmarks.shards [SIZES]``.

Memory is what a process takes above itself, idle, at its highest: it opens so many images (1000,
16000, 64000 and 256000, or those that are given), reads every one of them, and decodes 1000. The
speed is that of the same photographs of 500 x 375 from shards, from their folder, and decoded by
Pillow alone, from memory and from their files: in one thread, each image by turns, and in as many
threads, or processes, as there are cores, all images by turns.
"""

from __future__ import annotations

import multiprocessing
import os
import shutil
import statistics
import subprocess
import sys
import tempfile
import time
from collections.abc import Callable
from concurrent.futures import Executor, ProcessPoolExecutor, ThreadPoolExecutor
from io import BytesIO
from pathlib import Path

import numpy as np
from PIL import Image
from rich.console import Console
from rich.table import Table

from edgeresnet.api.shard import shard
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.machine.cpu import usable_cores
from tests.benchmarks.by_turns import HERE

SIZES = (1_000, 16_000, 64_000, 256_000)
# Files of content of their own; the others are links to them, for a disk of usual size.
DISTINCT, CLASSES = 1_000, 100
PHOTOGRAPHS, ROUNDS, PIECE = 300, 7, 10
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
            said = subprocess.run(
                [sys.executable, "-c", READING, str(root)],
                env={**os.environ, "PYTHONPATH": str(HERE)},
                capture_output=True, text=True, check=True,
            ).stdout.split()  # fmt: skip
            row = [said[0], source, *(f"{float(value):.1f}" for value in said[1:])]
            console.print(", ".join(row))
            table.add_row(*row)
        console.print(f"{images} images written in {written_s:.1f} s")
        shutil.rmtree(folder)
        shutil.rmtree(shards)
    console.print(table)


class Photographs:
    """The same photographs by every way.

    Args:
        place: of the folders ``photos`` and ``shards``.
    """

    def __init__(self, place: str) -> None:
        self.folder, self.shards = (
            open_dataset(str(Path(place, name)), "train") for name in ("photos", "shards")
        )
        self.paths = [
            Path(place, "photos", "train", self.folder.file_name(index))
            for index in range(PHOTOGRAPHS)
        ]
        self.contents = [path.read_bytes() for path in self.paths]
        self.ways: dict[str, Callable[[int], object]] = {
            "Pillow alone, from memory": lambda i: Image.open(BytesIO(self.contents[i])).load(),
            "Pillow alone, from files": lambda i: Image.open(self.paths[i]).load(),
            "folder": self.folder.image,
            "shards": self.shards.image,
        }


_photographs: Photographs


def _prepare(place: str) -> None:
    """In each process of a pool."""
    global _photographs
    _photographs = Photographs(place)


def _decode(way: str, places: list[int]) -> float:
    """The processor's time that it takes in this process, in s."""
    start = time.process_time()
    for index in places:
        _photographs.ways[way](index)
    return time.process_time() - start


def write_photographs(place: Path, rng: np.random.Generator) -> None:
    """`PHOTOGRAPHS` of two classes, as a folder and as shards."""
    for number in range(PHOTOGRAPHS):
        folder = place / "photos" / "train" / str(number % 2)
        folder.mkdir(parents=True, exist_ok=True)
        photograph(rng, 500, 375).save(folder / f"{number:05d}.jpg", quality=90)
    shard(place / "shards", place / "photos")


def told(title: str, rounds: list[dict[str, tuple[float, float]]], console: Console) -> None:
    """A table of images per second, and how busy the cores were, by way."""
    table = Table(
        title, "images/s", "least to most", "of Pillow's from memory", "from files", "busy"
    )
    for way in rounds[0]:
        own = [one[way][0] for one in rounds]
        shares = [
            f"{statistics.median(one[way][0] / one[of][0] for one in rounds):.3f}"
            for of in [*rounds[0]][:2]
        ]
        busy = statistics.median(one[way][1] for one in rounds)
        spread = f"{min(own):.0f} to {max(own):.0f}"
        table.add_row(way, f"{statistics.median(own):.0f}", spread, *shares, f"{busy:.2f}")
    console.print(table)


def in_one_thread(rng: np.random.Generator) -> dict[str, tuple[float, float]]:
    """Image by image, the first way another each time: who shares the machine slows all alike."""
    ways = _photographs.ways
    wall, used = dict.fromkeys(ways, 0.0), dict.fromkeys(ways, 0.0)
    for index in rng.permutation(PHOTOGRAPHS).tolist():
        for way in rng.permutation(list(ways)).tolist():
            start, own = time.perf_counter(), time.thread_time()
            ways[way](index)
            wall[way] += time.perf_counter() - start
            used[way] += time.thread_time() - own
    return {way: (PHOTOGRAPHS / wall[way], used[way] / wall[way]) for way in ways}


def together(
    pool: Executor, cores: int, rng: np.random.Generator
) -> dict[str, tuple[float, float]]:
    """All images by one way, in pieces for the pool, then by the next; by turns in any order."""
    found = dict.fromkeys(_photographs.ways, (0.0, 0.0))
    order = rng.permutation(PHOTOGRAPHS).tolist()
    parts = [order[start : start + PIECE] for start in range(0, PHOTOGRAPHS, PIECE)]
    for way in rng.permutation(list(found)).tolist():
        start, own = time.perf_counter(), time.process_time()
        seconds = sum(pool.map(_decode, [way] * len(parts), parts))
        wall = time.perf_counter() - start
        # Threads' times have each other's in them.
        used = time.process_time() - own if isinstance(pool, ThreadPoolExecutor) else seconds
        found[way] = PHOTOGRAPHS / wall, used / wall / cores
    return found


def speed(place: Path, console: Console) -> None:
    """The tables of images per second."""
    rng, cores = np.random.default_rng(0), usable_cores()
    write_photographs(place, rng)
    _prepare(str(place))
    size = sum(map(len, _photographs.contents)) / PHOTOGRAPHS / 1000
    console.print(f"{size:.0f} kB a photograph; load {os.getloadavg()[0]:.1f} on {cores} cores")
    told("one thread", [in_one_thread(rng) for _ in range(ROUNDS)], console)
    with ThreadPoolExecutor(cores) as threads:
        together(threads, cores, rng)
        rounds = [together(threads, cores, rng) for _ in range(ROUNDS)]
    told(f"{cores} threads", rounds, console)
    context = multiprocessing.get_context("spawn")
    with ProcessPoolExecutor(cores, context, _prepare, (str(place),)) as workers:
        together(workers, cores, rng)
        rounds = [together(workers, cores, rng) for _ in range(ROUNDS)]
    told(f"{cores} processes", rounds, console)


def main() -> None:
    sizes = tuple(map(int, sys.argv[1:])) or SIZES
    console = Console()
    with tempfile.TemporaryDirectory() as place:
        memory(Path(place), sizes, console)
    with tempfile.TemporaryDirectory() as place:
        speed(Path(place), console)


if __name__ == "__main__":
    main()
