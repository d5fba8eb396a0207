"""Depth as a dial: one recipe for several architectures, each a run of its own, side by side.

Each network's run is whole, in a folder of its architecture's name, and goes on by itself. Then all
bundles are timed by turns and answer the same images.
"""

from __future__ import annotations

from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from functools import partial
from pathlib import Path
from time import monotonic
from typing import Any

from edgeresnet.api.together import by_first, data_parallel
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.files.locks import alone
from edgeresnet.files.ranks import is_first, this_rank
from edgeresnet.progress import OnStep, TaskContext, silent
from edgeresnet.results.front import UnfinishedNetwork
from edgeresnet.results.measured import CompareResults
from edgeresnet.run.folder import RECORDS, RUNS_DIR, check_folder
from edgeresnet.run.front_compare import Finished, compare_networks
from edgeresnet.run.preflight import devices_elsewhere, fault_lines, faults_of
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.run.runner import run_recipe
from edgeresnet.settings.front import FrontSettings
from edgeresnet.settings.training import Arch

SECONDS = 60


class _TimeIsOver(BaseException):
    """The minutes are over; no `Exception`, so that no stage takes it for its failure."""


@dataclass
class _Deadline:
    """Ends what tells it that it goes on; None: never."""

    minutes: float | None
    begun: float = field(default_factory=lambda: monotonic())

    def check(self, *told: object) -> None:
        """Whatever is told."""
        if self.minutes is not None and monotonic() > self.begun + SECONDS * self.minutes:
            raise _TimeIsOver


@data_parallel
def run_front(
    recipe: Recipe | str | Path,
    run_dir: str | Path | None = None,
    *,
    fresh: bool = False,
    progress: bool = False,
    on_step: OnStep = silent,
    record_host: bool = False,
) -> CompareResults:
    """Make the networks of a recipe with ``front``, one after another, and compare all.

    Args:
        recipe: what to do; or its file, or a shipped recipe's name.
        run_dir: the folder of the networks' folders, made if need be; None: ``runs`` and the
            recipe's name.
        fresh: run every stage again.
        progress: report long work on stderr.
        on_step: told what is being done.
        record_host: as of `run_recipe`.

    Returns:
        The results of the comparison, with ``front``; also in ``results.json``. A network that was
        not done when the minutes were over is in ``front["unfinished"]``; the next call goes on
        with it.

    Raises:
        InputError: as `run_recipe`; or the recipe has no ``front``, or minutes for several
            processes.
        MissingError: as `run_recipe`; or no target of the recipe runs here.
        CheckError: no network was done in time.
    """
    if not isinstance(recipe, Recipe):
        recipe = load_recipe(recipe, check=fault_lines)
    if recipe.front is None:
        raise InputError(f"recipe {recipe.name} has no front", "call run_recipe instead.")
    path = RUNS_DIR / recipe.name if run_dir is None else Path(run_dir)
    networks = networks_of(recipe)
    if is_first():
        check_front(recipe, networks, path)
    with alone(path, inside=RECORDS):
        by_first(partial((path / RECORDS).mkdir, parents=True, exist_ok=True))
        finished, unfinished = _make(
            recipe.front, networks, path,
            fresh=fresh, progress=progress, on_step=on_step, record_host=record_host,
        )  # fmt: skip
        context = TaskContext(
            data=recipe.data, limit=recipe.compare.limit, skip_broken=recipe.skip_broken,
            progress=progress, on_step=on_step,
        )  # fmt: skip
        if not finished:
            whys = "; ".join(f"{one['arch']}: {one['why']}" for one in unfinished)
            raise CheckError(
                f"no network was done: {whys}",
                "repeat the same command, which goes on, or give more front.minutes.",
            )
        return by_first(
            lambda: compare_networks(
                recipe, path, finished, unfinished, context, record_host=record_host
            )
        )


def networks_of(recipe: Recipe) -> dict[Arch, Recipe]:
    """For each architecture of the front the recipe of its own run."""
    assert recipe.front is not None
    weights = recipe.front.weights
    return {
        arch: replace(
            recipe,
            name=arch,
            front=None,
            model=replace(recipe.model, arch=arch, weights=weights.get(arch, recipe.model.weights)),
        )
        for arch in recipe.front.archs
    }


def check_front(recipe: Recipe, networks: Mapping[Arch, Recipe], path: Path) -> None:
    """Check all that is checked before the first network is made.

    Raises:
        InputError: a setting is not usable, or the folder is something else.
        MissingError: what a run needs is not here, or no target of the recipe runs here.
    """
    assert recipe.front is not None
    if idle := [arch for arch in recipe.front.weights if arch not in networks]:
        raise InputError(
            f"front.weights has {', '.join(idle)}, which front.archs has not",
            "add it there, or leave its weights out.",
        )
    if recipe.model.arch is not None:
        raise InputError(
            "model.arch has no effect beside front.archs", "leave model.arch out of the recipe."
        )
    if recipe.prune is not None:
        raise InputError(
            "front: it is of whole networks, and prune would cut them",
            "leave prune out; or prune one network in a recipe of its own.",
        )
    if recipe.front.minutes is not None and this_rank().count > 1:
        raise InputError(
            "front.minutes is for one process, and there are several",
            "leave it out under torchrun: --set front.minutes=null.",
        )
    check_folder(path, RECORDS)
    for arch, own in networks.items():
        if own.train is None and own.model.weights is None:
            raise InputError(
                f"front: {arch} has neither a training nor weights",
                f"give front.weights.{arch}, model.weights, or train.",
            )
        of_front = arch in recipe.front.weights
        key = f"front.weights.{arch}" if of_front else "model.weights"
        faults_of(own, key).raise_any(f"recipe {recipe.name}, {arch}")
    elsewhere = devices_elsewhere(recipe)
    if len(elsewhere) == len(recipe.export.targets):
        raise MissingError(
            f"nothing of the front can be timed here ({'; '.join(elsewhere.values())})",
            "add a target to export.targets that runs here, or run it where the device is.",
        )


def _make(
    front: FrontSettings,
    networks: Mapping[Arch, Recipe],
    path: Path,
    *,
    on_step: OnStep,
    **how: Any,
) -> tuple[list[Finished], list[UnfinishedNetwork]]:
    """One run after another, as long as there is time."""
    deadline = _Deadline(front.minutes)
    finished, unfinished = list[Finished](), list[UnfinishedNetwork]()
    for arch, recipe in networks.items():

        def told(text: str, arch: str = arch) -> None:
            on_step(f"{arch} · {text}")
            deadline.check()

        try:
            deadline.check()
            result = run_recipe(recipe, path / arch, on_step=told, on_figures=deadline.check, **how)
        except _TimeIsOver:
            why = f"not done when the {front.minutes:g} minutes were over"
            unfinished.append(UnfinishedNetwork(arch=arch, why=why))
            on_step(f"{arch}: {why}; the same command goes on with it")
            continue
        bundles = {row["name"]: path / arch / "04-export" / row["name"] for row in result["rows"]}
        finished.append(Finished(arch, result, bundles))
    return finished, unfinished
