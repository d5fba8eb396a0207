"""The command compare: before and after, and the budgets."""

from __future__ import annotations

from pathlib import Path
from typing import Annotated, Any, Optional

import typer

from edgeresnet import budgets
from edgeresnet.cli_options import (
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
    expanded,
    measured_data,
    say,
    show,
)
from edgeresnet.cli_remote import result_from
from edgeresnet.errors import MissingError
from edgeresnet.options import Budgets


def register(app: typer.Typer) -> None:
    """Add the command to the command line."""
    app.command(
        epilog="Example: edgeresnet compare fp32-bundle int8-bundle --data photos --max-drop 0.005"
    )(compare)


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

    from edgeresnet.compare import compare as compare_models
    from edgeresnet.opening import check_devices, is_checkpoint, open_model
    from edgeresnet.progress import images_progress
    from edgeresnet.targets.protocol import RunOptions

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


def show_comparison(
    result: dict[str, Any], json: str | None, quiet: bool, *, pairwise: bool = False
) -> None:
    """Table, note and budgets; JSON where it is wanted."""
    from edgeresnet.report.results import write_json
    from edgeresnet.report.tables import agreement_table, budget_lines, cold_lines, compare_table

    if json:
        write_json(result, json)
    note = [result["note"]] if result["note"] else []
    pairs = [agreement_table(result)] if pairwise else []
    show(
        compare_table(result),
        *cold_lines(result["rows"]),
        *pairs,
        *note,
        *budget_lines(result),
        quiet=quiet,
        json=json,
    )


def enforce(result: dict[str, Any]) -> None:
    """Exit 1 if a budget was missed."""
    budgets.enforce(result["budgets"], strict=result.get("strict", False))


def show_unmeasured(result: dict[str, Any], quiet: bool) -> None:
    """What a run has made for another device, and the commands to measure it there; on stderr."""
    if result["unmeasured"] and not quiet:
        say(f"not measured here: {', '.join(result['unmeasured'])}. To measure on the device:")
        for command in result["device_commands"]:
            say(f"  {command}")
        say("or build and compare from here, over ssh, with --on ssh://USER@HOST.")


def enforce_measured(result: dict[str, Any], limits: list[str]) -> None:
    """Exit 3 if budgets are set and a bundle was made that this machine cannot measure."""
    if result["unmeasured"] and limits:
        raise MissingError(
            f"not checked for {', '.join(result['unmeasured'])}: {', '.join(limits)}",
            "run the device_commands of results.json, which check it on the device.",
        )
