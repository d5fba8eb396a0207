"""Runs the examples of bundles as their users do: without edgeresnet, without torch."""

from __future__ import annotations

import hashlib
import json
import os
import subprocess
import sys
from collections.abc import Sequence
from pathlib import Path

import numpy as np
from PIL import Image

from edgeresnet.api.opening import open_model
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.manifest import Manifest
from edgeresnet.device.data.preprocess import normalize, to_pixels
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.protocol import Session

POISONED = ("edgeresnet", "torch")
LOGITS = """
import json, sys
import numpy as np
from PIL import Image
import example
pixels = np.stack([example.to_pixels(Image.open(path)) for path in sys.argv[1:]])
run = example.open_model(next(iter(example.DEVICES)))
print(json.dumps(example.logits_of(run, example.to_input(pixels)).tolist()))
"""


def python_in(
    bundle_dir: Path, folder: Path, *arguments: object, paths: Sequence[Path] = ()
) -> subprocess.CompletedProcess[str]:
    """Run Python in a bundle's folder, where importing edgeresnet or torch fails.

    Args:
        bundle_dir: the bundle.
        folder: of the test, for what makes the imports fail.
        arguments: of Python.
        paths: where modules are looked for behind that.
    """
    poison = folder / "poison"
    poison.mkdir(exist_ok=True)
    for name in POISONED:
        (poison / f"{name}.py").write_text(f"raise SystemExit('{name} was imported')")
    return subprocess.run(
        [sys.executable, *map(str, arguments)],
        cwd=bundle_dir, capture_output=True, text=True, check=False, timeout=300,
        env={**os.environ, "PYTHONPATH": os.pathsep.join(map(str, [poison, *paths]))},
    )  # fmt: skip


def write_images(folder: Path) -> list[Path]:
    """Image files of every kind that becomes RGB in a way of its own."""
    generator = np.random.default_rng(0)
    colours = generator.integers(0, 256, (40, 60, 4), np.uint8)
    photo = Image.fromarray(colours[..., :3].repeat(8, 0).repeat(8, 1))
    turned = Image.Exif()
    turned[0x0112] = 6
    photo.save(folder / "photo.jpg", exif=turned)
    Image.fromarray(colours).save(folder / "rgba.png")
    Image.fromarray(colours[..., :2]).save(folder / "la.png")
    palette = photo.quantize(16)
    palette.save(folder / "palette.png")
    palette.save(folder / "transparent.png", transparency=3)
    photo.save(folder / "key.png", transparency=(0, 0, 0))
    Image.fromarray(colours[..., 0].astype(np.uint16) * 251).save(folder / "wide.png")
    Image.fromarray(colours[..., 0] > 128).save(folder / "bits.png")
    Image.fromarray(colours[:16, :16, :3]).save(folder / "small.png")
    return sorted(path for path in folder.iterdir() if path.is_file())


def own_logits(session: Session, manifest: Manifest, paths: Sequence[Path]) -> np.ndarray:
    """What edgeresnet itself makes of image files."""
    spec = manifest.input_spec
    pixels = np.stack([to_pixels(Image.open(path), spec) for path in paths])
    return run_padded(session, pixels if manifest.embed_preprocess else normalize(pixels, spec))


def assert_example_answers_as_edgeresnet(
    bundle_dir: Path, folder: Path, session: Session | None = None, paths: Sequence[Path] = ()
) -> None:
    """Logits, classes, probabilities and golden logits of a bundle's own example.

    Args:
        bundle_dir: the bundle.
        folder: an empty one of the test.
        session: what must give the same logits; None: the bundle, opened here.
        paths: see `python_in`.
    """
    (folder / "images").mkdir()
    images = write_images(folder / "images")
    manifest = load_bundle(bundle_dir).manifest
    if session is None:
        with open_model(bundle_dir) as opened:
            wanted = own_logits(opened.session, manifest, images)
    else:
        wanted = own_logits(session, manifest, images)
    told = python_in(bundle_dir, folder, "-c", LOGITS, *images, paths=paths)
    assert told.returncode == 0, told.stderr
    np.testing.assert_allclose(
        np.array(json.loads(told.stdout.splitlines()[-1])), wanted, atol=1e-4 * np.ptp(wanted)
    )
    shown = python_in(bundle_dir, folder, "example.py", *images, "--check", paths=paths)
    assert shown.returncode == 0, shown.stderr
    shares = np.exp(wanted - wanted.max(1, keepdims=True))
    shares /= shares.sum(1, keepdims=True)
    lines = shown.stdout.splitlines()[-len(images) - 1 :]
    for path, share, line in zip(images, shares, lines, strict=False):
        name, probability = line.removeprefix(f"{path}: ").rstrip(")").split(" (")
        assert name == manifest.classes[share.argmax()]
        assert abs(float(probability) - share.max()) < 2e-3
    assert lines[-1].startswith("8 golden images: ")
    assert lines[-1].endswith(": good")


def alter(bundle_dir: Path, name: str, content: bytes, *, recorded: bool) -> None:
    """Put another file into a bundle; ``recorded``: with its hash in the manifest."""
    (bundle_dir / name).write_bytes(content)
    if recorded:
        path = bundle_dir / "manifest.json"
        manifest = json.loads(path.read_text())
        manifest["files"][name] = hashlib.sha256(content).hexdigest()
        path.write_text(json.dumps(manifest))
