"""Calibrating keeps no image: what 512 take is what 128 take."""

from __future__ import annotations

import os
import subprocess
import sys
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from PIL import Image

from edgeresnet.host.models.checkpoint import save_checkpoint
from tests.copies import REPOSITORY
from tests.small_checkpoints import CLASSES, make_checkpoint

SIZE, LIMIT_MIB = 224, 3 * 1024
FEW, MANY = 128, 512
# Of 1.6 GiB that is 32 MiB, and the pixels of the 384 images more would be 55. What the allocator
# leaves between tensors is 25 from one batch to the next.
UNREST = 1.02

CALIBRATE = """
import sys
from edgeresnet.cli.app import main
from edgeresnet.device.measure.latency import peak_memory_mib

sys.argv[0] = "edgeresnet"
try:
    main()
finally:
    print(peak_memory_mib())
"""


def make_images(folder: Path, count: int) -> Path:
    """Smooth noise to calibrate on, and a validation image of each class."""
    generator = np.random.default_rng(0)
    for split, each in (("train", -(-count // len(CLASSES))), ("val", 1)):
        for name in CLASSES:
            (folder / split / name).mkdir(parents=True)
            for i in range(each):
                coarse = generator.integers(0, 256, (16, 16, 3), dtype=np.uint8)
                image = Image.fromarray(coarse).resize((SIZE, SIZE), Image.Resampling.BICUBIC)
                image.save(folder / split / name / f"{i}.png")
    return folder


def peak_mib(source: Path, data: Path, images: int, observer: str) -> float:
    """Largest resident memory of the whole command, in a process of its own."""
    done = subprocess.run(
        [
            sys.executable, "-c", CALIBRATE, "quantize", str(source), "--data", str(data),
            "--method", "ptq", "--observer", observer, "--calibration-images", str(images),
            "-o", str(source.with_name(f"{observer}-{images}.pt")), "--quiet",
        ],
        env={**os.environ, "PYTHONPATH": str(REPOSITORY)},
        capture_output=True, text=True, check=False,
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    return float(done.stdout.splitlines()[-1])


@pytest.mark.slow
def test_calibrating_resnet50_takes_no_more_memory_for_more_images(tmp_path: Path) -> None:
    source = make_checkpoint("resnet50", "imagenet", 64)
    source = replace(source, input_spec=replace(source.input_spec, image_size=SIZE))
    save_checkpoint(source, tmp_path / "float.pt")
    data = make_images(tmp_path / "images", MANY)
    few, many = (peak_mib(tmp_path / "float.pt", data, images, "mse") for images in (FEW, MANY))
    print(f"\nResNet-50, {SIZE} px: {few:.0f} MiB on {FEW} images, {many:.0f} MiB on {MANY}")
    assert many < LIMIT_MIB
    assert many <= UNREST * few
