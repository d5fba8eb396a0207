"""What a recipe says of exports: which bundles there will be, and whether they can be."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING

from edgeresnet.device.machine.saturation import saturates_on
from edgeresnet.device.targets.export_support import (
    check_inputs,
    check_prover,
    known_precisions,
    may_saturate,
)
from edgeresnet.device.targets.registry import TARGETS, check_device_name, target_of
from edgeresnet.errors import InputError
from edgeresnet.files.places import from_home
from edgeresnet.run.fastest import added_precisions
from edgeresnet.settings.export import BatchRange

if TYPE_CHECKING:
    from edgeresnet.run.recipe import Recipe
    from edgeresnet.run.recipe_faults import Faults


def check_exports(recipe: Recipe, faults: Faults) -> None:
    """Collect the faults of targets, precisions, batch sizes and the device they are for."""
    with faults.of("export.batch"):
        BatchRange.parse(recipe.export.batch)
    with faults.of("export.precisions"):
        _check_precisions(recipe.export.precisions)
    with faults.of("export.for_device"):
        _check_for_device(recipe)
    for name in recipe.export.targets:
        _check_target(recipe, name, faults)


def exported_precisions(recipe: Recipe, target: str, variant: str) -> list[str]:
    """Precisions of a target's bundles.

    Args:
        recipe: says which are wanted.
        target: its name; what it has not is left out.
        variant: of the network, as in `bundle_name`.
    """
    had = [p for p in recipe.export.precisions if p in target_of(target).spec.precisions]
    # What was before pruning is there to be compared with, not to be delivered.
    return had if variant else [*had, *added_precisions(recipe, target)]


def bundle_name(target: str, variant: str, precision: str) -> str:
    """What a run calls a bundle; ``variant`` is empty, or ``dense-`` of what was before pruning."""
    return f"{target}-{variant}{precision}"


def _check_precisions(precisions: Sequence[str]) -> None:
    """Each must be one that some target can be exported in."""
    known = known_precisions()
    unknown = [precision for precision in precisions if precision not in known]
    if unknown:
        raise InputError(
            f"precision {', '.join(unknown)} is not known", f"give one of {', '.join(known)}."
        )


def _check_for_device(recipe: Recipe) -> None:
    """The processor that is named must be described, and decide something."""
    export = recipe.export
    if export.for_device is None:
        return
    saturates_on(from_home(export.for_device))
    targets = [name for name in export.targets if name in TARGETS]
    if not any(may_saturate(name, p) for name in targets for p in export.precisions):
        raise InputError(
            "it would have no effect: no model of the recipe has 8-bit products that saturate",
            "leave it out.",
        )


def _check_target(recipe: Recipe, name: str, faults: Faults) -> None:
    export, device = recipe.export, recipe.compare.device
    if name not in TARGETS:
        with faults.of("export.targets"):
            target_of(name)
        return
    spec = TARGETS[name].spec
    wanted = [p for p in export.precisions if p in spec.precisions]
    with faults.of("export.precisions"):
        if not wanted:
            raise InputError(
                f"target {name} has none of {', '.join(export.precisions)}: {spec.why_no_other}",
                f"add one of {', '.join(spec.precisions)}, or leave the target out.",
            )
    with faults.of("export.batch"):
        check_inputs(name, BatchRange.parse(export.batch), embed_preprocess=export.embed_preprocess)
    for precision in wanted:
        with faults.of("export.targets"):
            check_prover(name, precision)
    if device is not None:
        with faults.of("compare.device"):
            check_device_name(device)
            check_device_name(device, target_of(name))
