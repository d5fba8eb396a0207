"""How long it takes to read 10,000 images; ``python -m tests.benchmarks.read_images``.

Small PNGs, where opening a file weighs most, and JPEGs of 96 px. With another checkout as an
argument, that one's code is timed by turns with this one's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

import numpy as np
from PIL import Image

from tests.benchmarks.by_turns import timed

IMAGES, CLASSES, ROUNDS = 10_000, 10, 5
SIZES = {"png": 28, "jpg": 96}
READING = """
import sys, time
from edgeresnet.device.data.dataset import pixels_of
from edgeresnet.device.data.open import open_dataset
from edgeresnet.settings.inputs import InputSpec
dataset, spec = open_dataset(sys.argv[1], "val"), InputSpec(image_size=int(sys.argv[2]))
pixels_of(dataset, 0, spec)
start = time.perf_counter()
for index in range(len(dataset)):
    pixels_of(dataset, index, spec)
print((time.perf_counter() - start) * 1e3)
"""


def write_folder(root: Path, suffix: str, size: int) -> None:
    """As large as photographs are when compressed: coarse noise, made smooth."""
    rng = np.random.default_rng(0)
    for index in range(IMAGES):
        folder = root / "val" / str(index % CLASSES)
        folder.mkdir(parents=True, exist_ok=True)
        coarse = Image.fromarray(rng.integers(0, 256, (size // 4, size // 4, 3), np.uint8))
        coarse.resize((size, size)).save(folder / f"{index}.{suffix}")
    (root / "train").mkdir()
    for name in range(CLASSES):
        (root / "train" / str(name)).symlink_to(root / "val" / str(name))


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        for suffix, size in SIZES.items():
            root = Path(place) / suffix
            write_folder(root, suffix, size)
            print(f"{IMAGES} {suffix} of {size} px")
            timed(READING, [root, size], sys.argv[1:], rounds=ROUNDS, cache=Path(place) / "cache")


if __name__ == "__main__":
    main()
