"""The command compare."""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import replace
from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgeresnet.cli.on import result_from
from edgeresnet.cli.options import (
    AllowFallback,
    DeviceName,
    ImageSize,
    Json,
    Limit,
    MaybeData,
    On,
    Quiet,
    Seed,
    SkipBroken,
    Strict,
    Threads,
)
from edgeresnet.cli.output import enforce, expanded, say, show_comparison, task_context

EXAMPLE = "edgeresnet compare fp32-bundle int8-bundle --data photos --max-drop 0.005"


def compare(
    context: typer.Context,
    baseline: Annotated[
        Path, typer.Argument(metavar="BASELINE", help="Measured against.", callback=expanded)
    ],
    candidates: Annotated[
        list[Path],
        typer.Argument(metavar="CANDIDATE...", help="One or more.", callback=expanded),
    ],
    data: MaybeData = None,
    device: DeviceName = None,
    max_drop: Annotated[
        Optional[float], typer.Option("--max-drop", help="Budget: top-1 lost, absolute.")
    ] = None,
    max_p99_ms: Annotated[
        Optional[float], typer.Option("--max-p99-ms", help="Budget: 99th percentile.")
    ] = None,
    min_speedup: Annotated[
        Optional[float], typer.Option("--min-speedup", help="Budget: times the baseline's speed.")
    ] = None,
    strict: Strict = False,
    rounds: Annotated[
        int, typer.Option("--rounds", help="Timed runs of each, or more.", min=2)
    ] = 200,
    batch: Annotated[
        Optional[int],
        typer.Option(
            "--batch", help="Images in a timed run; left out: the smallest that all take.", min=1
        ),
    ] = None,
    limit: Limit = None,
    threads: Threads = None,
    seed: Seed = 0,
    image_size: ImageSize = None,
    skip_broken: SkipBroken = False,
    skip_missing: Annotated[
        bool, typer.Option("--skip-missing", help="Leave out candidates that cannot run here.")
    ] = False,
    pairwise: Annotated[
        bool, typer.Option("--pairwise", help="Also how often each two models agree.")
    ] = False,
    allow_fallback: AllowFallback = False,
    on: On = None,
    json: Json = None,
    quiet: Quiet = False,
) -> None:
    """Accuracy and latency before and after, measured by turns; exit 1 over a budget."""
    paths = [baseline, *candidates]
    result: Mapping[str, Any]
    if on:
        result = result_from(on, context, paths, data=data, needs_data=True, quiet=quiet)
    else:
        from edgeresnet.api.compare import compare as compare_models
        from edgeresnet.settings.measuring import Budgets, RunOptions

        limits = Budgets(
            max_drop=max_drop, max_p99_ms=max_p99_ms, min_speedup=min_speedup, strict=strict
        )
        task = task_context(data=data, limit=limit, skip_broken=skip_broken, quiet=quiet)
        result = compare_models(
            paths, limits, device=device, rounds=rounds, seed=seed, image_size=image_size,
            options=RunOptions(threads=threads, batch=batch, allow_fallback=allow_fallback),
            skip_missing=skip_missing, context=replace(task, on_step=say),
        )  # fmt: skip
    show_comparison(result, json, quiet, pairwise=pairwise)
    enforce(result)
