"""A run's comparison, made again: the same images in the same order, timed in turns."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from contextlib import ExitStack
from dataclasses import dataclass, replace
from typing import Any

import numpy as np

from edgeresnet.api.data import measured_data, say_doubts, say_shared
from edgeresnet.api.opening import open_model
from edgeresnet.api.verify import Asked
from edgeresnet.device.bundle.bundle import Bundle, load_bundle
from edgeresnet.device.data.standard import ArrayDataset
from edgeresnet.device.measure.accuracy import Predictions
from edgeresnet.device.measure.compare import compare
from edgeresnet.device.session import Opened
from edgeresnet.progress import TaskContext, images_progress
from edgeresnet.results.measured import CompareResults
from edgeresnet.run.recorded import DataAtHand, Recorded
from edgeresnet.settings.measuring import OF_ACCURACY, Budgets

# Before the names of budgets that were decided on what quantizing reported.
PREFIX = "quantize."


@dataclass(frozen=True, eq=False)
class Again:
    """A comparison that was made again.

    Attributes:
        result: of it.
        predictions: of each model; of images that are not the record's where these are not here.
        bounds: how far rounding may move a logit of each.
        with_data: its images are those of the record.
    """

    result: Mapping[str, Any]
    predictions: list[Predictions]
    bounds: list[float]
    with_data: bool


def compare_again(run: Recorded, results: CompareResults, data: DataAtHand, asked: Asked) -> Again:
    """Make a run's comparison again, of the same images in the same order, timed in turns.

    Without the data the golden images stand in for it, and only times are told.

    Raises:
        EdgeResNetError: a bundle does not open here.
    """
    names = [row["name"] for row in results["rows"]]
    bundles = [load_bundle(run.bundles[name]) for name in names]
    with ExitStack() as stack:
        opened = [stack.enter_context(_open(run, results, name, asked)) for name in names]
        with_data = data.spec is not None
        bound, images = _images(opened, bundles[0], run, results, data, asked.context)
        kept: list[Predictions] = []
        total = len(opened) * len(images)
        bar = images_progress("answering again", total, enabled=asked.context.progress)
        found = compare(
            opened, images, _budgets(results, with_data=with_data), rounds=results["rounds"],
            batch=results["batch"], seed=run.seed, references=_references(results["rows"]),
            bound=bound, all_images=with_data and _all_images(results),
            on_images=stack.enter_context(bar), on_predictions=kept.extend,
        )  # fmt: skip
        if with_data:
            found["doubts"] = _doubts(opened, found, kept, data, run, asked.context)
    bounds = [bundle.manifest.logit_bound or 0.0 for bundle in bundles]
    return Again(found, kept, bounds, with_data)


def _open(run: Recorded, results: CompareResults, name: str, asked: Asked) -> Any:
    row = next(row for row in results["rows"] if row["name"] == name)
    options = replace(asked.options, batch=results["batch"])
    if options.threads is None and (told := _threads(row)) is not None:
        options = replace(options, threads=told)
    return open_model(run.bundles[name], device=asked.device or row["device"], options=options)


def _threads(row: Mapping[str, Any]) -> int | None:
    """Threads that were asked for, where the record tells."""
    told = (row.get("options") or {}).get("threads")
    return told if isinstance(told, int) else None


def _images(
    opened: Sequence[Opened],
    bundle: Bundle,
    run: Recorded,
    results: CompareResults,
    data: DataAtHand,
    context: TaskContext,
) -> tuple[list[Any], Any]:
    """For each model the images with labels in its order, and the images themselves."""
    if data.spec is None:
        pixels, _ = bundle.golden()
        classes = tuple(bundle.manifest.classes)
        golden = ArrayDataset("golden", "val", classes, np.zeros(len(pixels), np.int64), pixels)
        return [golden] * len(opened), golden
    available = results.get("images_available", results["n"])
    whole = run.limit is None and available == data.images
    limit = None if whole else available
    own = TaskContext(data=data.spec, limit=limit, skip_broken=context.skip_broken)
    measured = measured_data(opened, own, unlabelled=True)
    return [binding.dataset for binding in measured.bindings], measured.dataset


def _doubts(
    opened: Sequence[Opened],
    found: Mapping[str, Any],
    kept: Sequence[Predictions],
    data: DataAtHand,
    run: Recorded,
    context: TaskContext,
) -> list[str]:
    own = TaskContext(data=data.spec, skip_broken=context.skip_broken)
    measured = measured_data(opened, own, unlabelled=True)
    lines = say_shared(opened, measured.dataset, own)
    for model, binding, answers in zip(opened, measured.bindings, kept, strict=True):
        lines += say_doubts(answers, binding, own.on_step, model.name)
    return lines


def _budgets(results: CompareResults, *, with_data: bool) -> Budgets:
    limits = {
        b["name"]: b["limit"]
        for b in results["budgets"]
        if not b["name"].startswith(PREFIX) and (with_data or b["name"] not in OF_ACCURACY)
    }
    return Budgets(**limits, strict=results["strict"])


def _all_images(results: CompareResults) -> bool:
    """Whether all images were asked for, though fewer might have decided."""
    of_accuracy = [b for b in results["budgets"] if b["name"] in OF_ACCURACY]
    return bool(of_accuracy) and all(len(b.get("looks", ())) == 1 for b in of_accuracy)


def _references(rows: Sequence[Mapping[str, Any]]) -> list[int]:
    names = [row["name"] for row in rows]
    return [names.index(row["speedup_against"]) for row in rows]
