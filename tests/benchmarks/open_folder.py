"""How long it takes to open a folder of 60,000 images; ``python -m tests.benchmarks.open_folder``.

With a folder of another checkout as an argument, that one's code is timed by turns with this one's.
"""

from __future__ import annotations

import sys
import tempfile
from pathlib import Path

from tests.benchmarks.by_turns import timed

IMAGES, CLASSES, ROUNDS = 60_000, 100, 7
OPENING = """
import sys, time
from edgeresnet.device.data.open import open_dataset
start = time.perf_counter()
images = sum(len(open_dataset(sys.argv[1], part)) for part in ("train", "val"))
print((time.perf_counter() - start) * 1e3)
assert images == 60_000
"""


def write_folder(root: Path) -> None:
    """Empty files: opening looks at names only."""
    for part, share in (("train", 5), ("val", 1)):
        for label in range(CLASSES):
            folder = root / part / f"class-{label:03d}"
            folder.mkdir(parents=True)
            for i in range(IMAGES * share // 6 // CLASSES):
                (folder / f"image-{i:05d}.jpg").touch()


def main() -> None:
    with tempfile.TemporaryDirectory() as place:
        root = Path(place) / "photos"
        write_folder(root)
        timed(OPENING, [root], sys.argv[1:], rounds=ROUNDS, cache=Path(place) / "cache")


if __name__ == "__main__":
    main()
