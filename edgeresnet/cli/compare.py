"""The command compare."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Optional

import typer

from edgeresnet.api.data import measured_data
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
from edgeresnet.cli.output import enforce, expanded, say, show_comparison
from edgeresnet.errors import MissingError
from edgeresnet.settings.measuring import Budgets

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
    if on:
        result = result_from(on, context, paths, data=data, needs_data=True, quiet=quiet)
        show_comparison(result, json, quiet, pairwise=pairwise)
        enforce(result)
        return
    limits = Budgets(max_drop, max_p99_ms, min_speedup, strict)
    from contextlib import ExitStack

    from edgeresnet.api.opening import is_checkpoint, open_model
    from edgeresnet.device.measure.compare import compare as compare_models
    from edgeresnet.device.session import check_devices
    from edgeresnet.progress import images_progress
    from edgeresnet.settings.measuring import RunOptions

    check_devices(paths, device)
    options = RunOptions(threads=threads, batch=batch, allow_fallback=allow_fallback)
    with ExitStack() as stack:
        models = []
        for path in paths:
            # A checkpoint runs on the CPU, whatever device its bundles are for.
            own = None if is_checkpoint(path) else device
            try:
                opening = open_model(path, device=own, options=options, image_size=image_size)
                models.append(stack.enter_context(opening))
            except MissingError as error:
                if not skip_missing or path == baseline:
                    raise
                say(f"{path} is left out: {error.cause}")
        dataset = measured_data(data, models, limit, skip_broken=skip_broken)
        total = len(models) * len(dataset)
        advance = stack.enter_context(images_progress("evaluating", total, enabled=not quiet))
        result = compare_models(
            models, dataset, limits, rounds=rounds, batch=batch, seed=seed, on_images=advance,
        )  # fmt: skip
    show_comparison(result, json, quiet, pairwise=pairwise)
    enforce(result)
