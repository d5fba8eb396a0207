"""Whether there is room for what a run leaves, looked for before its first stage."""

from __future__ import annotations

from pathlib import Path
from typing import TYPE_CHECKING

from edgeresnet.api.saving import TRAINED, network_bytes
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.files.outputs import check_room

if TYPE_CHECKING:
    from edgeresnet.run.recipe import Recipe


def check_room_of_run(recipe: Recipe, run_dir: Path) -> None:
    """Refuse a disk that a run would fill.

    Of what pruning leaves nothing is counted: how large that is, it finds out.

    Args:
        recipe: all that is to be made.
        run_dir: where.

    Raises:
        MissingError: less is free there than checkpoints, float bundles and a training need.
    """
    quantized = [p for p in recipe.export.precisions if is_quantized(p)]
    floats = len(recipe.export.targets) * recipe.export.precisions.count("fp32")
    kept = 1 + bool(quantized) + floats
    check_room(
        run_dir,
        network_bytes(recipe.model) * max(kept, TRAINED if recipe.train else 1),
        "what the run makes",
        "make room there, or give another -o.",
    )
