"""The command run."""

from __future__ import annotations

from collections.abc import Callable
from pathlib import Path
from typing import TYPE_CHECKING, Annotated, Optional

import typer

from edgeresnet.cli.options import DeviceName, Json, Quiet, RecordHost, Strict
from edgeresnet.cli.output import (
    enforce,
    enforce_measured,
    expanded,
    show_comparison,
    show_unmeasured,
    speaker,
    tell,
)
from edgeresnet.files.ranks import is_first
from edgeresnet.run.folder import RUNS_DIR

if TYPE_CHECKING:
    from edgeresnet.results.measured import CompareResults
    from edgeresnet.run.recipe import Recipe

EXAMPLE = "edgeresnet run quickstart --set train.epochs=2 -o runs/short"


def run(
    recipe: Annotated[
        Path,
        typer.Argument(
            metavar="RECIPE",
            help="YAML file, or the name of a recipe that comes along: edgeresnet recipes.",
            callback=expanded,
        ),
    ],
    settings: Annotated[
        Optional[list[str]],
        typer.Option("--set", help="Setting over the recipe's, as train.epochs=2; repeatable."),
    ] = None,
    output: Annotated[
        Optional[Path],
        typer.Option(
            "--output", "-o", help="Folder of the run; left out: runs/NAME.", callback=expanded
        ),
    ] = None,
    resume: Annotated[
        bool,
        typer.Option(
            "--resume/--fresh",
            help="Keep finished stages, and say why each is kept or done again; or run all again.",
        ),
    ] = True,
    dry_run: Annotated[
        bool,
        typer.Option(
            "--dry-run",
            help="Check the recipe and its data, say what each stage would do and what memory its "
            "training takes, and do nothing.",
        ),
    ] = False,
    device: DeviceName = None,
    strict: Strict = False,
    json: Json = None,
    record_host: RecordHost = False,
    quiet: Quiet = False,
) -> None:
    """Run a whole recipe: train, quantize, export, compare. Goes on where it was interrupted."""
    from edgeresnet.run.preflight import fault_lines
    from edgeresnet.run.recipe import load_recipe

    overrides = [*(settings or []), *([f"compare.device={device}"] if device else [])]
    overrides += ["budgets.strict=true"] if strict else []
    loaded = load_recipe(recipe, overrides, check=fault_lines)
    if dry_run:
        if not is_first():
            return
        from edgeresnet.report.plan import plan_lines, plan_table
        from edgeresnet.run.dry_run import plan_run
        from edgeresnet.run.front_plan import plan_front

        plan_of = plan_run if loaded.front is None else plan_front
        plan = plan_of(loaded, output, on_step=speaker(quiet))
        tell(
            plan,
            *plan_lines(plan),
            plan_table(plan),
            quiet=quiet,
            json=json,
            record_host=record_host,
        )
        return
    from edgeresnet.run.report_page import RESULTS

    run_dir = output or RUNS_DIR / loaded.name
    result = _work_of(loaded)(
        loaded,
        run_dir,
        fresh=not resume,
        progress=not quiet,
        on_step=speaker(quiet),
        record_host=record_host,
    )
    show_comparison(result, json, quiet, record_host=record_host)
    speaker(quiet)(f"results: {run_dir / RESULTS}")
    show_unmeasured(result, quiet)
    enforce(result)
    enforce_measured(result, loaded.budgets.given())


def _work_of(recipe: Recipe) -> Callable[..., CompareResults]:
    """What runs it, of one network or of several."""
    if recipe.front is not None:
        from edgeresnet.run.front import run_front

        return run_front
    from edgeresnet.run.runner import run_recipe

    return run_recipe
