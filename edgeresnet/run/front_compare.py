"""The comparison of several networks, each of which has had its own run."""

from __future__ import annotations

from collections.abc import Iterator, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import Any, cast

from edgeresnet.api.compare import compare
from edgeresnet.device.machine.privacy import write_result
from edgeresnet.device.measure.budgets import verdict_of
from edgeresnet.device.measure.stability import stability_doubts
from edgeresnet.progress import TaskContext
from edgeresnet.results.front import FrontResults, UnfinishedNetwork
from edgeresnet.results.measured import Budget, CompareResults
from edgeresnet.run.compared import references, run_options
from edgeresnet.run.front_points import front_points
from edgeresnet.run.recipe import Recipe
from edgeresnet.run.report_page import RESULTS, write_page_of_run


@dataclass(frozen=True)
class Finished:
    """A network's run that is done; ``bundles`` by name, those that were measured."""

    arch: str
    result: CompareResults
    bundles: Mapping[str, Path]

    def named(self, bundles: Sequence[str]) -> list[str]:
        """What these bundles are called beside those of others."""
        return [f"{self.arch}-{name}" for name in bundles]


def compare_networks(
    recipe: Recipe,
    path: Path,
    finished: Sequence[Finished],
    unfinished: list[UnfinishedNetwork],
    context: TaskContext,
    *,
    record_host: bool,
) -> CompareResults:
    """All networks that are done, measured by turns; written to ``path``, with their page.

    Args:
        recipe: with ``front``.
        path: folder of the networks' folders.
        finished: in the order of the recipe; at least one.
        unfinished: told in the results.
        context: data and how the work reports.
        record_host: as of `run_recipe`.
    """
    context.on_step(f"comparing {', '.join(one.arch for one in finished)}")
    measured, front = _measured(recipe, finished, unfinished, context)
    budgets = [*_budgets(finished)]
    doubts = [f"{one.arch}: {d}" for one in finished for d in _doubts(recipe, one.result)]
    doubts += measured.get("doubts", [])
    result = {
        **measured,
        "recipe": recipe.name,
        "budgets": budgets,
        "doubts": doubts,
        **verdict_of(budgets, strict=recipe.budgets.strict, doubts=doubts),
        "front": front,
        "unmeasured": [n for one in finished for n in one.named(one.result["unmeasured"])],
        "device_commands": [c for one in finished for c in one.result["device_commands"]],
    }
    write_result(result, path / RESULTS, record_host=record_host)
    write_page_of_run(
        path, data=recipe.data, limit=context.limit, skip_broken=context.skip_broken,
        on_step=context.on_step,
    )  # fmt: skip
    return cast(CompareResults, result)


def _measured(
    recipe: Recipe,
    finished: Sequence[Finished],
    unfinished: list[UnfinishedNetwork],
    context: TaskContext,
) -> tuple[Mapping[str, Any], FrontResults]:
    """What comparing all bundles gives, and the points of it."""
    assert recipe.front is not None
    bundles = [path for one in finished for path in one.bundles.values()]
    options = run_options(recipe, [path.name for path in bundles])
    measured: Mapping[str, Any] = compare(
        bundles,
        device=recipe.compare.device,
        options=options,
        rounds=recipe.compare.rounds,
        seed=recipe.seed,
        references=_references(finished),
        names=[name for one in finished for name in one.named([*one.bundles])],
        context=context,
    )
    networks = {name: one.result for one in finished for name in one.named([*one.bundles])}
    points, energy = front_points(measured["rows"], networks, bundles, options)
    front = FrontResults(
        minutes=recipe.front.minutes, points=points, unfinished=unfinished, energy=energy
    )
    return measured, front


def _references(finished: Sequence[Finished]) -> list[int]:
    """A network's speed-ups are against that network in float."""
    found: list[int] = []
    for one in finished:
        first = len(found)
        found += [first + own for own in references([*one.bundles])]
    return found


def _doubts(recipe: Recipe, result: CompareResults) -> list[str]:
    """Those of a network's own run; those of its times only where budgets were decided by them."""
    doubts = result.get("doubts", [])
    if recipe.budgets.max_p99_ms is not None or recipe.budgets.min_speedup is not None:
        return doubts
    of_times = stability_doubts(result["rows"])
    return [doubt for doubt in doubts if doubt not in of_times]


def _budgets(finished: Sequence[Finished]) -> Iterator[Budget]:
    """What each network's run has decided."""
    for one in finished:
        for budget in one.result["budgets"]:
            yield {**budget, "candidate": f"{one.arch}-{budget['candidate']}"}
