"""A bundle and images for where there is no torch: ``python -m tests.small_bundle FOLDER``."""

from __future__ import annotations

import sys
from pathlib import Path

import numpy as np
from PIL import Image

from edgeresnet.api.export import export
from edgeresnet.host.models.checkpoint import save_checkpoint
from tests.small_checkpoints import make_checkpoint

EACH = 4


def write(folder: Path) -> None:
    """``FOLDER/bundle`` (FP32, for ONNX Runtime) and ``FOLDER/images/val/0`` to ``9``."""
    folder.mkdir(parents=True, exist_ok=True)
    checkpoint = make_checkpoint()
    save_checkpoint(checkpoint, folder / "small.pt")
    export(folder / "small.pt", folder / "bundle", target="onnx", precision="fp32")
    rng = np.random.default_rng(0)
    for name in checkpoint.classes:
        place = folder / "images" / "val" / name
        place.mkdir(parents=True, exist_ok=True)
        for number in range(EACH):
            pixels = rng.integers(0, 256, (16, 16, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(place / f"{number}.png")


if __name__ == "__main__":
    write(Path(sys.argv[1]))
