"""What a run's bundles are judged by where they give no logits: said before the work."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.errors import InputError
from edgeresnet.settings.export import EMBEDDING

if TYPE_CHECKING:
    from edgeresnet.device.data.dataset import Dataset
    from edgeresnet.run.recipe import Recipe


def check_without_logits(recipe: Recipe) -> None:
    """Refuse a comparison of embeddings on images without labels.

    Args:
        recipe: of a run on such images.

    Raises:
        InputError: the bundles are to give no logits.
    """
    if not recipe.export.logits:
        raise _no_labels(recipe.data, "leave export.logits out, or give labelled images.")


def check_network(recipe: Recipe, checkpoint_path: Path, images: Dataset) -> None:
    """Refuse a network without a classifier that the run's comparison could not judge.

    Args:
        recipe: of a run that begins with a network of somebody's.
        checkpoint_path: that network, as 01-train left it.
        images: that the run compares its bundles on.

    Raises:
        InputError: it gives embeddings, and there are no labels, or the bundles are to give none.
    """
    from edgeresnet.host.models.checkpoint import load_checkpoint

    if load_checkpoint(checkpoint_path).classes:
        return
    if not is_labelled(images):
        fix = "give labelled images, or use quantize and export, which need none."
        raise _no_labels(recipe.data, fix)
    if recipe.export.features and EMBEDDING not in recipe.export.features:
        raise InputError(
            f"export.features has no {EMBEDDING}: the network has no classifier, and its bundles "
            "are judged by the nearest neighbours of that",
            f"add {EMBEDDING} to export.features.",
        )


def _no_labels(data: str, fix: str) -> InputError:
    return InputError(
        "bundles without logits are compared by whether neighbours are of one class, and data "
        f"{data} has no labels",
        fix,
    )
