"""What a row of figures keeps, so that somebody can hold it against another one later."""

from __future__ import annotations

import hashlib
from dataclasses import asdict
from pathlib import Path
from typing import Any

from edgeresnet.device.bundle.manifest import MANIFEST
from edgeresnet.files.hashes import sha256_file
from edgeresnet.settings.measuring import RunOptions

# What shapes the time of a run. Where files lie is nobody's business.
OPTIONS = (
    "threads", "batch", "concurrency", "precision", "cuda_graph", "spin_wait", "allow_fallback",
    "image_size", "as_written",
)  # fmt: skip


def model_sha256(path: Path) -> str | None:
    """Of a bundle that of its manifest, which has the hashes of all other files.

    Of a model file that of the file, with the weights beside an ``.xml``; None of what is no file.
    """
    if (path / MANIFEST).is_file():
        return sha256_file(path / MANIFEST)
    if not path.is_file():
        return None
    weights = path.with_suffix(".bin")
    if path.suffix != ".xml" or not weights.is_file():
        return sha256_file(path)
    both = sha256_file(path) + sha256_file(weights)
    return hashlib.sha256(both.encode()).hexdigest()


def options_record(options: RunOptions) -> dict[str, Any]:
    """The options that a measurement was made with, by name."""
    return {key: value for key, value in asdict(options).items() if key in OPTIONS}
