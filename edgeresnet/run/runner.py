"""Runs a recipe: train, prune, quantize, export, compare; goes on from the last finished stage."""

from __future__ import annotations

from collections.abc import Mapping
from contextlib import AbstractContextManager
from dataclasses import asdict, replace
from functools import partial
from pathlib import Path
from typing import Any, cast

from edgeresnet.api.compare import compare
from edgeresnet.api.data import measured_data
from edgeresnet.api.together import by_first, data_parallel
from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.dataset import is_labelled
from edgeresnet.device.machine.privacy import write_result
from edgeresnet.device.measure.budgets import with_budgets
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import InputError
from edgeresnet.files.locks import alone
from edgeresnet.files.ranks import is_first
from edgeresnet.progress import OnFigures, OnStep, silent, unseen
from edgeresnet.results.measured import Budget, CompareResults, RungResults
from edgeresnet.run.compared import references, run_options, unmeasured
from edgeresnet.run.device_commands import device_commands, target_name
from edgeresnet.run.export_checks import bundle_name, exported_precisions
from edgeresnet.run.fastest import contests
from edgeresnet.run.feature_proofs import add_features
from edgeresnet.run.folder import RECORDS, RUNS_DIR, check_folder, discard_finished
from edgeresnet.run.judged import check_network
from edgeresnet.run.layer_times import add_layers
from edgeresnet.run.making import Making
from edgeresnet.run.preflight import Checked, check_run, fault_lines
from edgeresnet.run.quantize_stage import quantize_budgets, quantize_rungs, quantize_stage
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.run.report_page import RESULTS, write_page_of_run
from edgeresnet.run.room import check_room_of_run
from edgeresnet.run.stages import (
    Run,
    Stage,
    Variant,
    export_stage,
    prune_stage,
    train_stage,
)


@data_parallel
def run_recipe(
    recipe: Recipe | str | Path,
    run_dir: str | Path | None = None,
    *,
    fresh: bool = False,
    progress: bool = False,
    on_step: OnStep = silent,
    on_figures: OnFigures = unseen,
    record_host: bool = False,
) -> CompareResults:
    """Run every stage of a recipe that does not stand yet.

    Args:
        recipe: what to do; or its file, or a shipped recipe's name.
        run_dir: the run's folder, made if need be; None: ``runs`` and the recipe's name.
        fresh: run every stage again.
        progress: report long work on stderr.
        on_step: told what is being done.
        on_figures: told the figures of each step of the trainings; see `TaskContext`.
        record_host: leave paths in ``results.json`` and the bundles, and add host and user.

    Returns:
        The results of the comparison; also in ``results.json``.

    Raises:
        InputError: a setting, the data or the weights are not usable, or the folder is something
            else, or another run is in it; nothing was run.
        MissingError: what the run needs is not here; nothing was run.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, check=fault_lines)
    if recipe.front is not None:
        raise InputError(f"recipe {recipe.name} is of several networks", "call run_front instead.")
    path = RUNS_DIR / recipe.name if run_dir is None else Path(run_dir)
    if is_first():
        try:
            check_folder(path, RECORDS)
        except InputError:
            # Told with all other faults.
            check_run(recipe, path, RECORDS)
            raise
    with alone(path, inside=RECORDS):
        return _run(Run(path, recipe, progress, on_step, record_host, on_figures), fresh=fresh)


def _run(run: Run, *, fresh: bool) -> CompareResults:
    recipe, begun = run.recipe, list[Checked]()
    data_key = by_first(lambda: _begin(run, begun, fresh=fresh))
    bundles: dict[str, Path] = {}
    quantized_budgets: list[Budget] = []
    rungs: list[RungResults] = []
    for variant in _variants(run, data_key, begun):
        bundles |= _export(run, variant)
        if _quantized(recipe):
            quantized_budgets += by_first(partial(quantize_budgets, run, variant))
            # Of several networks the last is the one that the recipe is to deliver.
            rungs = by_first(partial(quantize_rungs, run, variant))
    return by_first(lambda: _judged(run, bundles, begun[0], quantized_budgets, rungs))


def _begin(run: Run, begun: list[Checked], *, fresh: bool) -> list[str]:
    """Check what the run needs, which ``begun`` then has, and make its folder.

    Returns:
        What is in the training and in the validation images.
    """
    path, recipe, on_step = run.path, run.recipe, run.on_step
    checked = check_run(recipe, path, RECORDS)
    begun.append(checked)
    if not any((path / RECORDS).glob("*.json")):
        check_room_of_run(recipe, path)
    for name, why in checked.elsewhere.items():
        device = recipe.compare.device or target_of(name).spec.default_device
        on_step(
            f"{name}'s {device} is not here ({why}): its bundles are proven and not measured; the "
            "run ends with the commands for the device"
        )
    data_key = [content_fingerprint(d, on_step) for d in (checked.train_set, checked.val_set)]
    (path / RECORDS).mkdir(parents=True, exist_ok=True)
    if fresh:
        discard_finished(path)
    return data_key


def _judged(
    run: Run,
    bundles: dict[str, Path],
    checked: Checked,
    quantized_budgets: list[Budget],
    rungs: list[RungResults],
) -> CompareResults:
    """The comparison, with what quantizing cost; written, and its page too."""
    recipe = run.recipe
    with _comparing(run):
        result = _compare(run, bundles, checked)
    if rungs:
        result["rungs"] = rungs
        # A quantization that missed its budget is exported and compared all the same, to be seen.
        if quantized_budgets:
            with_them = with_budgets(result, quantized_budgets, strict=recipe.budgets.strict)
            result = cast(CompareResults, with_them)
        write_result(result, run.path / RESULTS, record_host=run.record_host)
    _write_page(run)
    return result


def _write_page(run: Run) -> None:
    recipe = run.recipe
    write_page_of_run(
        run.path, data=recipe.data, limit=recipe.compare.limit, skip_broken=recipe.skip_broken,
        on_step=run.on_step,
    )  # fmt: skip


def _variants(run: Run, data_key: list[str], begun: list[Checked]) -> list[Variant]:
    """The float networks to quantize and export: trained, and pruned where the recipe prunes."""
    recipe = run.recipe
    dense = train_stage(run, data_key)
    if recipe.train is None:
        by_first(lambda: check_network(recipe, dense.path, begun[0].val_set))
    if recipe.prune is None:
        return [Variant("", dense, recipe.quantize)]
    # The dense network stands beside the pruned one, calibrated only: it is what was before.
    # No budget binds it: it is not what the recipe is to deliver.
    dense_quantize = replace(
        recipe.quantize, method="ptq", max_drop=None, max_class_drop=None, max_disagreement=None,
        all_images=False,
    )  # fmt: skip
    pruned = prune_stage(run, recipe.prune, dense)
    return [Variant("dense-", dense, dense_quantize), Variant("", pruned, recipe.quantize)]


def _quantized(recipe: Recipe) -> list[str]:
    return [p for p in recipe.export.precisions if is_quantized(p)]


def _export(run: Run, variant: Variant) -> dict[str, Path]:
    """The bundles of one network, by name."""
    recipe = run.recipe
    sources: dict[str, Stage] = {}
    if quantized := _quantized(recipe):
        sources = dict.fromkeys(quantized, quantize_stage(run, variant))
    bundles = {}
    for target in recipe.export.targets:
        _say_left_out(run, target)
        for precision in exported_precisions(recipe, target, variant.name):
            name = bundle_name(target, variant.name, precision)
            source = sources.get(precision, variant.source)
            bundles[name] = by_first(partial(export_stage, run, name, target, precision, source))
    return bundles


def _say_left_out(run: Run, target: str) -> None:
    """Precisions of the recipe that the target has not."""
    for precision in run.recipe.export.precisions:
        if precision not in target_of(target).spec.precisions:
            run.on_step(f"target {target} has no {precision}: left out")


def _comparing(run: Run) -> AbstractContextManager[None]:
    """Leaves in the run why its comparison failed, as every stage does."""
    recipe = run.recipe
    settings = {"compare": recipe.compare.to_dict(), "budgets": asdict(recipe.budgets)}
    record_path = run.path / RECORDS / "05-compare.json"
    making = Making("05-compare", 1, settings)
    for line in making.redone_lines(record_path, run.path / RESULTS):
        run.on_step(line)
    return making.failure_kept(record_path, run.on_step, record_host=run.record_host)


def _compare(run: Run, bundles: dict[str, Path], checked: Checked) -> CompareResults:
    """Measured anew in every run: the machine may have changed."""
    recipe, settings = run.recipe, run.recipe.compare
    elsewhere, labelled = checked.elsewhere, is_labelled(checked.val_set)
    run.on_step("05-compare: running")
    further = {
        "unmeasured": [name for name in bundles if target_name(name) in elsewhere],
        "device_commands": device_commands(recipe, bundles, elsewhere, labelled=labelled),
    }
    bundles = {name: bundles[name] for name in bundles if name not in further["unmeasured"]}
    context = replace(run.context(), limit=settings.limit)
    if bundles:
        options = run_options(recipe, [*bundles])
        measured: Mapping[str, Any] = compare(
            [*bundles.values()],
            recipe.budgets,
            device=settings.device,
            options=options,
            rounds=settings.rounds,
            seed=recipe.seed,
            references=references([*bundles]),
            all_images=settings.all_images,
            contests=contests(recipe, [*bundles]),
            context=context,
        )
        add_layers(measured["rows"], bundles, options, run.on_step)
        add_features(measured["rows"], bundles)
    else:
        dataset = measured_data([], context, unlabelled=True).dataset
        measured = unmeasured(recipe, dataset.name, len(dataset))
    result = {**measured, "recipe": recipe.name, **further}
    write_result(result, run.path / RESULTS, record_host=run.record_host)
    return cast(CompareResults, result)
