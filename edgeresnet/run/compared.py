"""How a run's bundles are compared: with which options, against which others, or not at all."""

from __future__ import annotations

from collections.abc import Sequence
from typing import TYPE_CHECKING, Any

from edgeresnet.device.machine.environment import environment
from edgeresnet.device.measure.compare import SCHEMA
from edgeresnet.run.device_commands import has_threads, target_name
from edgeresnet.settings.export import BatchRange
from edgeresnet.settings.measuring import RunOptions

if TYPE_CHECKING:
    from edgeresnet.run.recipe import Recipe

NOTHING_MEASURED = "No bundle runs on this machine, so no budget was checked."


def run_options(recipe: Recipe, bundles: Sequence[str]) -> RunOptions:
    """Threads are for those targets of the recipe that have some, which may all be elsewhere."""
    used = has_threads([target_name(name) for name in bundles], recipe.compare.device)
    return RunOptions(threads=recipe.compare.threads if used else None, batch=best_batch(recipe))


def best_batch(recipe: Recipe) -> int:
    """Images in a timed run: what the bundles are best at."""
    return BatchRange.parse(recipe.export.batch).best


def unmeasured(recipe: Recipe, data: str, images: int) -> dict[str, Any]:
    """The results of a run whose bundles are all for other devices."""
    return {
        "schema": SCHEMA,
        "baseline": None,
        "rows": [],
        "budgets": [],
        "verdict": "not measured",
        "verdict_text": NOTHING_MEASURED,
        "strict": recipe.budgets.strict,
        "data": data,
        "n": images,
        "rounds": 0,
        "batch": best_batch(recipe),
        "note": NOTHING_MEASURED,
        "environment": environment(),
    }


def references(names: Sequence[str]) -> list[int]:
    """What each bundle's speed-up is against: before pruning, else before quantization.

    Args:
        names: ``TARGET-PRECISION``, or ``TARGET-dense-PRECISION`` where there is a pruned one too.
    """
    pruned = any("-dense-" in name for name in names)
    found = []
    for name in names:
        target, *dense, precision = name.split("-")
        middle = "dense-" if pruned else ""
        before = precision if pruned and not dense else "fp32"
        wanted = f"{target}-{middle}{before}"
        found.append(names.index(wanted) if wanted in names else 0)
    return found
