"""``compare.fastest`` of a recipe: what it adds to a run, and what is timed against what.

A run keeps INT8 and float, and times them in its comparison; this is which bundles are one
network's on one target, where all of them can be timed.
"""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeresnet.device.measure.fastest import contenders
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.presence import why_not_here
from edgeresnet.device.targets.registry import TARGETS, target_of
from edgeresnet.errors import InputError, MissingError

if TYPE_CHECKING:
    from edgeresnet.run.recipe import Recipe


def added_precisions(recipe: Recipe, target: str) -> list[str]:
    """Float precisions that a target's bundles are made in beside the recipe's own."""
    wanted = recipe.export.precisions
    compared = _compared_here(recipe, target) if recipe.compare.fastest else ()
    if not any(is_quantized(precision) and precision in wanted for precision in compared):
        return []
    return [p for p in compared if not is_quantized(p) and p not in wanted]


def contests(recipe: Recipe, names: Sequence[str]) -> dict[str, list[int]]:
    """For each target the indices of the bundles that are compared, INT8 and float.

    Args:
        recipe: says whether any are.
        names: of the bundles that are measured: ``TARGET-PRECISION``; those of the network before
            pruning have more in their names, and are not what the recipe delivers.
    """
    found: dict[str, list[int]] = {}
    for target in recipe.export.targets if recipe.compare.fastest else ():
        compared = [f"{target}-{precision}" for precision in _compared_here(recipe, target)]
        indices = [index for index, name in enumerate(names) if name in compared]
        if len({is_quantized(names[index].partition("-")[2]) for index in indices}) == 2:
            found[target] = indices
    return found


def check_fastest_of(recipe: Recipe) -> None:
    """Refuse ``compare.fastest`` where it would have no effect.

    Raises:
        InputError: no INT8 is made.
        MissingError: no target of the recipe can time INT8 and float on this machine.
    """
    if not recipe.compare.fastest:
        return
    if not any(p.startswith("int8") for p in recipe.export.precisions):
        raise InputError(
            "no effect: export.precisions has no int8", "add int8 there, or leave it out."
        )
    targets = [name for name in recipe.export.targets if name in TARGETS]
    if targets and not any(_compared_here(recipe, name) for name in targets):
        whys = []
        for name in targets:
            device = recipe.compare.device or target_of(name).spec.default_device
            why = why_not_here(target_of(name), device, timed=True)
            whys.append(f"{name}'s {device}: {why or 'it has not both INT8 and float'}")
        raise MissingError(
            f"no target of the recipe can be timed here ({'; '.join(whys)})",
            "leave it out, add a target that runs here, or run the recipe where the device is.",
        )


def _compared_here(recipe: Recipe, name: str) -> tuple[str, ...]:
    """Precisions that are timed on a target's device; none where it is not here, or emulated."""
    target = target_of(name)
    device = recipe.compare.device or target.spec.default_device
    return contenders(name, device) if why_not_here(target, device, timed=True) is None else ()
