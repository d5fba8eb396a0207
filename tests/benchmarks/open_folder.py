"""How long it takes to open a folder of 60,000 images; ``python -m tests.benchmarks.open_folder``.

With a folder of another checkout as an argument, that one's code is timed by turns with this one's.
"""

from __future__ import annotations

import os
import statistics
import subprocess
import sys
import tempfile
from pathlib import Path

IMAGES, CLASSES, ROUNDS = 60_000, 100, 7
OPENING = """
import sys, time
from edgeresnet.device.data.open import open_dataset
start = time.perf_counter()
images = sum(len(open_dataset(sys.argv[1], part)) for part in ("train", "val"))
print(time.perf_counter() - start, images)
"""


def write_folder(root: Path) -> None:
    """Empty files: opening looks at names only."""
    for part, share in (("train", 5), ("val", 1)):
        for label in range(CLASSES):
            folder = root / part / f"class-{label:03d}"
            folder.mkdir(parents=True)
            for i in range(IMAGES * share // 6 // CLASSES):
                (folder / f"image-{i:05d}.jpg").touch()


def opening_s(checkout: Path, root: Path) -> float:
    """Seconds for both parts, in a process of its own with that checkout's code."""
    environment = {**os.environ, "PYTHONPATH": str(checkout)}
    done = subprocess.run(
        [sys.executable, "-c", OPENING, str(root)],
        env=environment, capture_output=True, text=True, check=True,
    )  # fmt: skip
    seconds, images = done.stdout.split()
    assert int(images) == IMAGES
    return float(seconds)


def main() -> None:
    here = Path(__file__).parents[2]
    checkouts = [here, *map(Path, sys.argv[1:])]
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "photos"
        write_folder(root)
        times = [[opening_s(checkout, root) for checkout in checkouts] for _ in range(ROUNDS)]
    for checkout, own in zip(checkouts, zip(*times, strict=True), strict=True):
        print(f"{checkout}: {statistics.median(own):.3f} s ({min(own):.3f} to {max(own):.3f})")


if __name__ == "__main__":
    main()
