"""What a run of several networks would do."""

from __future__ import annotations

from pathlib import Path

from edgeresnet.progress import OnStep, silent
from edgeresnet.results.plan import PlannedStage, PlanResults
from edgeresnet.run.dry_run import plan_run
from edgeresnet.run.folder import RUNS_DIR
from edgeresnet.run.front import check_front, networks_of
from edgeresnet.run.recipe import Recipe


def plan_front(
    recipe: Recipe, run_dir: str | Path | None = None, *, on_step: OnStep = silent
) -> PlanResults:
    """Check a recipe with ``front`` as a run of it does, and say what each stage would do.

    Args:
        recipe: with ``front``.
        run_dir: the folder of the networks' folders, which need not exist; None: ``runs`` and the
            recipe's name.
        on_step: told what was assumed of foreign checkpoints.

    Raises:
        InputError: a setting, the data or the weights are not usable.
        MissingError: what a run needs is not here.
    """
    path = RUNS_DIR / recipe.name if run_dir is None else Path(run_dir)
    networks = networks_of(recipe)
    check_front(recipe, networks, path)
    plans = [plan_run(own, path / arch, on_step=on_step) for arch, own in networks.items()]
    stages: list[PlannedStage] = []
    for plan in plans:
        stages += [{**one, "stage": f"{plan['recipe']}/{one['stage']}"} for one in plan["stages"]]
    stages.append(
        PlannedStage(
            stage="compare",
            what=f"all bundles of {len(plans)} networks, {recipe.compare.rounds} rounds of latency",
            images=plans[0]["stages"][-1]["images"],
            steps=None,
            memory_bytes=None,
        )
    )
    return {
        **plans[0],
        "recipe": recipe.name,
        "arch": ", ".join(plan["arch"] for plan in plans),
        "stages": stages,
    }
