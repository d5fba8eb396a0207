"""The command compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any

import typer

from edgeresnet.cli.on import given_options, result_from
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
from edgeresnet.cli.output import enforce, expanded, show_comparison, task_context, tell
from edgeresnet.cli.plain_text import say
from edgeresnet.cli.settings_options import Fields, option_of, with_settings
from edgeresnet.errors import InputError
from edgeresnet.settings.inputs import InputChanges
from edgeresnet.settings.measuring import Budgets, CompareSettings, ProfileSettings, RunOptions

EXAMPLE = "edgeresnet compare fp32-bundle int8-bundle --data photos --max-drop 0.005"
OPTIONS = Fields(
    "threads", "batch", "allow_fallback", "first_run_limit_s", "trust", "raw", *NETWORK.keys
)
FIX = "give two files that profile --json wrote, and at most --strict, --json and --quiet."
LIMITS = Fields(
    "max_drop", "max_class_drop", "max_disagreement", "max_p99_ms", "min_speedup", "strict"
)


@with_settings
def compare(
    context: typer.Context,
    baseline: Annotated[
        Path,
        typer.Argument(
            metavar="BASELINE",
            help="Model to measure against, or a record of profile --json.",
            callback=expanded,
        ),
    ],
    candidates: Annotated[
        list[Path],
        typer.Argument(
            metavar="CANDIDATE...",
            help="Models to compare with it, one or more; or one more record.",
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
    cpus: Annotated[str | None, option_of(ProfileSettings, "cpus")] = None,
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
    """Accuracy and latency before and after, measured by turns; exit 1 over a budget.

    Of two records of profile (.json) it says whether they are comparable, and which is faster.
    """
    paths = [baseline, *candidates]
    if all(path.suffix == ".json" for path in paths):
        _compare_records(context, paths, json, quiet, strict=limits.strict)
        return
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
            cpus=cpus, context=replace(task, on_step=say),
        )  # fmt: skip
    show_comparison(result, json, quiet, pairwise=pairwise, record_host=record_host)
    enforce(result)


def _compare_records(
    context: typer.Context, paths: list[Path], json: str | None, quiet: bool, *, strict: bool
) -> None:
    """Two records of ``profile``: nothing is measured."""
    from edgeresnet.api.records import compare_records
    from edgeresnet.report.records import records_lines, records_table

    if len(paths) != 2:
        raise InputError(f"records are compared two at a time, and these are {len(paths)}", FIX)
    if idle := [option for option in given_options(context) if option.startswith("--")]:
        idle = [option for option in idle if option not in ("--strict", "--record-host")]
    if idle or context.params.get("data") or context.params.get("on"):
        named = ", ".join(idle) or ("--data" if context.params.get("data") else "--on")
        raise InputError(f"{named} has no effect on records, which are not measured again", FIX)
    result = compare_records(*paths)
    tell(
        result, records_table(result), *records_lines(result), quiet=quiet, json=json,
        record_host=bool(context.params.get("record_host")),
    )  # fmt: skip
    enforce({"budgets": [], "strict": strict, "doubts": result["reasons"]})
