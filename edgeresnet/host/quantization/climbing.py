"""Up the ladder: the cheapest rung that keeps the budget, and a row for each that was tried."""

from __future__ import annotations

import math
import time
from collections.abc import Mapping, Sequence
from typing import Any

from edgeresnet.device.measure.budgets import fails, quantization_budgets
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.parallel.processes import processes
from edgeresnet.host.quantization.rungs.registry import RUNGS, rungs_of
from edgeresnet.host.quantization.rungs.rung import Basis, Work

Row = dict[str, Any]
COSTS = {
    "max_drop": "loses {:.4f} top-1",
    "max_class_drop": "loses {:.4f} top-1 in its worst class",
    "max_disagreement": "answers {:.4f} otherwise",
}


def climb(work: Work, *, strict: bool) -> tuple[QuantResNet, list[Row]]:
    """Try what is asked for, the cheapest first, until a rung keeps the budget.

    A rung builds on those before it where they came nearer to the float network, on training images
    held out of calibration: the validation images judge, and choose nothing but where to stop.

    Args:
        work: the quantization.
        strict: a budget in doubt is not kept.

    Returns:
        The network of `best_rung`, and a row of figures for each rung that was tried.
    """
    limits = work.options.limits(labelled=work.reference.labelled)
    say, names = work.context.on_step, rungs_of(work.options)
    basis, nearest = _first_basis(work), math.inf
    models, rows = [], []
    if limits.get("max_drop") == 0:
        say("max_drop 0 goes by its point value: no number of images proves that nothing is lost")
    for name in names:
        began = time.monotonic()
        reached = RUNGS[name](work, basis)
        # What every process has made by itself must be the same to the last bit.
        processes().same_weights(reached.model)
        processes().same_weights(reached.basis.network)
        row = {"method": name, "observer": basis.observer, **reached.details}
        if layers := reached.model.float_layers:
            row["float_layers"] = list(layers)
        row |= work.reference.figures(reached.model)
        row["seconds"] = round(time.monotonic() - began, 3)
        models.append(reached.model)
        rows.append(row)
        told = ("top1_int8", "drop", "agreement", "seconds")
        figures = {f"rung/{key}": row[key] for key in told if row.get(key) is not None}
        work.context.on_figures("rungs", len(rows), figures)
        missing = missed(row, limits, strict=strict)
        say(row_line(row) + (f": {missing}" if missing else ""))
        if not missing:
            break
        if name != names[-1] and (distance := work.distance(reached.model)) < nearest:
            basis, nearest = reached.basis, distance
    best = best_rung(rows, limits, strict=strict)
    return models[next(i for i, row in enumerate(rows) if row is best)], rows


def _first_basis(work: Work) -> Basis:
    """What the first rung begins with: what another finds, where it is told so."""
    start = work.options.start
    return work.start if start == "ptq" else RUNGS[start](work, work.start).basis


def row_line(row: Mapping[str, Any]) -> str:
    """What a rung came to, in a line."""
    low, high = row["agreement_interval"]
    agreement = f"agreement {row['agreement']:.4f} ({low:.4f} to {high:.4f})"
    if row["top1_int8"] is not None:
        worst, best = row["drop_interval"]
        drop = f"{row['drop']:.4f} ({worst:.4f} to {best:.4f})"
        agreement = f"top-1 {row['top1_int8']:.4f}, drop {drop}, {agreement}"
    return f"{row['method']}: {agreement} on {row['images']} images, {row['seconds']:.1f} s"


def missed(row: Mapping[str, Any], limits: Mapping[str, float], *, strict: bool) -> str:
    """What a rung costs that has not kept every budget, in a line; empty: it has."""
    failed = [b for b in quantization_budgets(row, limits) if fails(b, strict=strict)]
    return "; ".join(
        f"may be above the limit of {b['limit']:g}, which --strict counts as missed"
        if b["met"]
        else f"{COSTS[b['name']].format(b['value'])}, and {b['limit']:g} is the limit"
        for b in failed
    )


def best_rung(rungs: Sequence[Row], limits: Mapping[str, float], *, strict: bool = False) -> Row:
    """The first rung that keeps the budgets, else the one that loses least top-1.

    Not the one with the highest: each may have been decided on other images. Without labels the one
    that answers as the float network most often.

    Args:
        rungs: the figures of each method that was tried, the cheapest first.
        limits: of `QuantizeOptions.limits`.
        strict: a budget in doubt is not kept.
    """

    def merit(rung: Mapping[str, Any]) -> float:
        return float(rung["agreement"] if rung["drop"] is None else -rung["drop"])

    keeping = (rung for rung in rungs if not missed(rung, limits, strict=strict))
    return next(keeping, max(rungs, key=merit))
