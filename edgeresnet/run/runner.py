"""Runs a recipe: train, prune, quantize, export, compare; goes on from the last finished stage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path
from typing import Any

from edgeresnet.api.opening import open_model
from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.machine.environment import environment
from edgeresnet.device.measure.budgets import with_budgets
from edgeresnet.device.measure.compare import SCHEMA, compare
from edgeresnet.device.targets.export_support import WRITTEN
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.files import write_json
from edgeresnet.progress import images_progress
from edgeresnet.results import Budget
from edgeresnet.run.device_commands import device_commands, target_name
from edgeresnet.run.preflight import check_run
from edgeresnet.run.recipe import Recipe
from edgeresnet.run.stages import (
    RECORDS,
    Run,
    Say,
    Stage,
    Variant,
    discard_finished,
    export_stage,
    prune_stage,
    quantize_budgets,
    quantize_stage,
    train_stage,
)
from edgeresnet.settings.export import BatchRange
from edgeresnet.settings.measuring import RunOptions

RESULTS = "results.json"
NOTHING_MEASURED = "No bundle runs on this machine, so no budget was checked."


def run_recipe(
    recipe: Recipe,
    run_dir: Path,
    *,
    fresh: bool = False,
    progress: bool = True,
    say: Say = lambda text: None,
) -> dict[str, Any]:
    """Run every stage of a recipe that does not stand yet.

    Args:
        recipe: what to do.
        run_dir: the run's folder; made if need be.
        fresh: run every stage again.
        progress: report long work on stderr.
        say: told what is being done.

    Returns:
        The results of the comparison, as `edgeresnet.device.measure.compare.compare` describes
        them; also in ``results.json``.

    Raises:
        InputError: a setting, the data or the weights are not usable, or the folder is something
            else; nothing was run.
        MissingError: what the run needs is not here; nothing was run.
    """
    checked = check_run(recipe, run_dir, RECORDS)
    for name, why in checked.elsewhere.items():
        device = recipe.compare.device or target_of(name).default_device
        say(
            f"{name}'s {device} is not here ({why}): its bundles are proven and not measured; the "
            "run ends with the commands for the device"
        )
    data_key = [content_fingerprint(d, say) for d in (checked.train_set, checked.val_set)]
    (run_dir / RECORDS).mkdir(parents=True, exist_ok=True)
    if fresh:
        discard_finished(run_dir)
    run = Run(run_dir, recipe, progress, say)
    dense = train_stage(run, data_key)
    variants = [Variant("", dense, recipe.quantize)]
    if recipe.prune is not None:
        # The dense network stands beside the pruned one, calibrated only: it is what was before.
        # No budget binds it: it is not what the recipe is to deliver.
        dense_quantize = replace(recipe.quantize, method="ptq", max_drop=None)
        pruned = prune_stage(run, recipe.prune, dense)
        variants = [
            Variant("dense-", dense, dense_quantize),
            Variant("", pruned, recipe.quantize),
        ]
    bundles: dict[str, Path] = {}
    quantized_budgets: list[Budget] = []
    for variant in variants:
        sources: dict[str, Stage] = {}
        if quantized := [p for p in recipe.export.precisions if is_quantized(p)]:
            sources = dict.fromkeys(quantized, quantize_stage(run, variant))
            quantized_budgets += quantize_budgets(run, variant)
        for target in recipe.export.targets:
            for precision in _precisions_of(run, target):
                name = f"{target}-{variant.name}{precision}"
                source = sources.get(precision, variant.source)
                bundles[name] = export_stage(run, name, target, precision, source)
    result = _compare(run, bundles, checked.elsewhere)
    if quantized_budgets:
        # A quantization that missed its budget is exported and compared all the same, to be seen.
        result = with_budgets(result, quantized_budgets, strict=recipe.budgets.strict)
        write_json(result, run_dir / RESULTS)
    return result


def _precisions_of(run: Run, target: str) -> list[str]:
    """Those of the recipe that the target has; the others are spoken of, if any is left."""
    wanted = run.recipe.export.precisions
    found: list[str] = [p for p in wanted if p in WRITTEN[target]]
    for precision in wanted:
        if precision not in found:
            run.say(f"target {target} has no {precision}: left out")
    return found


def _compare(run: Run, bundles: dict[str, Path], elsewhere: Mapping[str, str]) -> dict[str, Any]:
    """Measured anew in every run: the machine may have changed."""
    settings = run.recipe.compare
    run.say("05-compare: running")
    further = {
        "unmeasured": [name for name in bundles if target_name(name) in elsewhere],
        "device_commands": device_commands(run.recipe, bundles, elsewhere),
    }
    bundles = {name: bundles[name] for name in bundles if name not in further["unmeasured"]}
    dataset = open_dataset(
        run.recipe.data, "val", limit=settings.limit, skip_broken=run.recipe.skip_broken
    )
    if not bundles:
        nothing = {**_unmeasured(run.recipe, dataset.name, len(dataset)), **further}
        write_json(nothing, run.path / RESULTS)
        return nothing
    with ExitStack() as stack:
        batch = BatchRange.parse(run.recipe.export.batch).best
        options = RunOptions(threads=settings.threads, batch=batch)
        models = [
            stack.enter_context(open_model(path, device=settings.device, options=options))
            for path in bundles.values()
        ]
        total = len(models) * len(dataset)
        advance = stack.enter_context(images_progress("evaluating", total, enabled=run.progress))
        result = compare(
            models,
            dataset,
            run.recipe.budgets,
            rounds=settings.rounds,
            batch=batch,
            seed=run.recipe.seed,
            references=_references([*bundles]),
            on_images=advance,
        )
    result = {**result, "recipe": run.recipe.name, **further}
    write_json(result, run.path / RESULTS)
    return result


def _unmeasured(recipe: Recipe, data: str, images: int) -> dict[str, Any]:
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
        "batch": BatchRange.parse(recipe.export.batch).best,
        "note": NOTHING_MEASURED,
        "environment": environment(),
        "recipe": recipe.name,
    }


def _references(names: list[str]) -> list[int]:
    """What each bundle's speed-up is against: before pruning, else before quantization.

    Args:
        names: ``TARGET-PRECISION``, or ``TARGET-dense-PRECISION`` where there is a pruned one too.
    """
    pruned = any("-dense-" in name for name in names)
    references = []
    for name in names:
        target, *dense, precision = name.split("-")
        middle = "dense-" if pruned else ""
        before = precision if pruned and not dense else "fp32"
        wanted = f"{target}-{middle}{before}"
        references.append(names.index(wanted) if wanted in names else 0)
    return references
