"""How far from PyTorch's the features of a run's bundles are, for its results and its page."""

from __future__ import annotations

from collections.abc import Mapping
from pathlib import Path
from typing import Any

from edgeresnet.device.bundle.bundle import read_manifest


def add_features(rows: list[dict[str, Any]], bundles: Mapping[str, Path]) -> None:
    """Put what was proven of each output beside the logits into the rows of a comparison.

    Args:
        rows: of the comparison; each is named as its bundle. Those of bundles that give logits
            alone stay as they are.
        bundles: by name.
    """
    for row in rows:
        if (told := proven_features(bundles[row["name"]])) is not None:
            row["features"] = told


def proven_features(bundle_path: Path) -> dict[str, dict[str, float]] | None:
    """By output the ``bound``, ``largest_difference`` and ``share_outside`` of a bundle's proof.

    None of a bundle that gives logits alone.
    """
    outputs: dict[str, dict[str, float]] | None = read_manifest(bundle_path).proof.get("outputs")
    return outputs
