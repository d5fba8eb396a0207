"""03-quantize: the stage, its budgets and the rows of what it tried."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

from edgeresnet.api.quantize import quantize
from edgeresnet.api.together import by_first
from edgeresnet.device.machine.privacy import write_result
from edgeresnet.device.measure.budgets import quantization_budgets
from edgeresnet.errors import InputError
from edgeresnet.results.measured import Budget, RungResults
from edgeresnet.run.folder import RESUME
from edgeresnet.run.stage_record import REPORT, read_report
from edgeresnet.run.stages import Run, Stage, Variant
from edgeresnet.settings.measuring import OF_ACCURACY
from edgeresnet.settings.quantization import SEEKING, QuantizeOptions


def quantize_stage(run: Run, variant: Variant) -> Stage:
    """03-quantize: a fake-quantized checkpoint."""
    recipe = run.recipe
    path = _quantized_path(run, variant)
    name = path.parent.name

    def work() -> None:
        figures = quantize(
            variant.source.path,
            path,
            _lasting(variant.quantize),
            strict=recipe.budgets.strict,
            context=run.context(path.with_name(RESUME)),
        )
        by_first(lambda: write_result(figures, path.with_name(REPORT)))

    options = variant.quantize.to_dict()
    # Only these look at the budget meanwhile; of the others a finished network stays as it is.
    for limit in OF_ACCURACY:
        options.pop(limit, None)
    if variant.quantize.method in SEEKING:
        options["budget"] = _sought(variant.quantize, strict=recipe.budgets.strict)
    settings = {"before": variant.source.key, "quantize": options}
    return Stage(path, run.stage(name, settings, path, work))


def _lasting(options: QuantizeOptions) -> QuantizeOptions:
    """Evaluated on all images where the stage outlives its budget, which then may be another."""
    limited = options.method not in SEEKING and options.limits(labelled=True)
    return replace(options, all_images=True) if limited else options


def _sought(options: QuantizeOptions, *, strict: bool) -> list[float | bool | None]:
    """What is sought; as older versions had it where nothing else is said."""
    drop = options.limits(labelled=True).get("max_drop")
    other, worst = options.max_disagreement, options.max_class_drop
    if worst is not None:
        return [drop, strict, other, worst]
    return [drop, strict] if other is None else [drop, strict, other]


def quantize_budgets(run: Run, variant: Variant) -> list[Budget]:
    """The recipe's ``quantize.max_drop`` and the like, decided on what 03-quantize reported."""
    options = variant.quantize
    if not options.limits(labelled=True):
        return []
    path = _quantized_path(run, variant).with_name(REPORT)
    figures = read_report(path, _report_fix(path))
    limits = options.limits(labelled=figures["top1_float"] is not None)
    try:
        return quantization_budgets(figures, limits, "quantize.")
    except (KeyError, TypeError) as error:
        raise InputError(
            f"{path} does not say what quantizing cost: {error!r}",
            _report_fix(path),
        ) from error


def quantize_rungs(run: Run, variant: Variant) -> list[RungResults]:
    """A row for each rung that 03-quantize has tried."""
    path = _quantized_path(run, variant).with_name(REPORT)
    return read_report(path, _report_fix(path)).get("rungs", [])


def _report_fix(path: Path) -> str:
    return f"remove {path.parent}, then repeat: the stage is run again."


def _quantized_path(run: Run, variant: Variant) -> Path:
    return run.path / f"03-quantize{'-dense' if variant.name else ''}" / "checkpoint.pt"
