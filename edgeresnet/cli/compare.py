"""The command compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeresnet.cli.on import result_from
from edgeresnet.cli.options import (
    INPUTS,
    NETWORK,
    ClassNames,
    ClassOrder,
    DeviceName,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    On,
    Quiet,
    RecordHostInJson,
    Seed,
    SkipBroken,
)
from edgeresnet.cli.output import enforce, expanded, show_comparison, task_context
from edgeresnet.cli.plain_text import say
from edgeresnet.cli.settings_options import Fields, option_of, with_settings
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.measuring import Budgets, CompareSettings, RunOptions

EXAMPLE = "edgeresnet compare fp32-bundle int8-bundle --data photos --max-drop 0.005"
OPTIONS = Fields(
    "threads", "batch", "allow_fallback", "first_run_limit_s", "trust", "raw", *NETWORK.keys
)
LIMITS = Fields(
    "max_drop", "max_class_drop", "max_disagreement", "max_p99_ms", "min_speedup", "strict"
)


@with_settings
def compare(
    context: typer.Context,
    baseline: Annotated[
        Path,
        typer.Argument(metavar="BASELINE", help="Model to measure against.", callback=expanded),
    ],
    candidates: Annotated[
        list[Path],
        typer.Argument(
            metavar="CANDIDATE...",
            help="Models to compare with it, one or more.",
            callback=expanded,
        ),
    ],
    limits: Annotated[Budgets, LIMITS],
    options: Annotated[RunOptions, OPTIONS],
    inputs: Annotated[InputChanges, INPUTS],
    data: MaybeData = None,
    device: DeviceName = None,
    rounds: Annotated[int, option_of(CompareSettings, "rounds")] = 200,
    limit: Limit = None,
    all_images: Annotated[bool, option_of(CompareSettings, "all_images")] = False,
    seed: Seed = 0,
    image_size: ImageSize = None,
    skip_broken: SkipBroken = False,
    class_order: ClassOrder = None,
    classes: ClassNames = None,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out candidates that cannot run here.")
    ] = False,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Show also how often each two models agree.")
    ] = False,
    on: On = None,
    json: Json = None,
    record_host: RecordHostInJson = False,
    quiet: Quiet = False,
) -> None:
    """Accuracy and latency before and after, measured by turns; exit 1 over a budget."""
    paths = [baseline, *candidates]
    result: Mapping[str, Any]
    if on:
        result = result_from(on, context, paths, data=data, needs_data=True, quiet=quiet)
    else:
        from edgeresnet.api.compare import compare as compare_models

        task = task_context(
            data=data,
            limit=limit,
            skip_broken=skip_broken,
            quiet=quiet,
            class_order=class_order,
            classes=classes,
        )
        result = compare_models(
            paths, limits, device=device, rounds=rounds, seed=seed, image_size=image_size,
            inputs=inputs, options=options, skip_missing=skip_missing, all_images=all_images,
            context=replace(task, on_step=say),
        )  # fmt: skip
    show_comparison(result, json, quiet, pairwise=pairwise, record_host=record_host)
    enforce(result)
