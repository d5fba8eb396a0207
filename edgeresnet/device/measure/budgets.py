"""Budgets: what the user will accept, decided with an interval.

`compare`, a recipe's run and `quantize` all come here; `decisions` has what an interval decides. An
undecided budget counts by its point value, or, where the user is strict, as missed.
"""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from pathlib import Path
from typing import Any

import numpy as np

from edgeresnet.device.measure.changes import worst_change
from edgeresnet.device.measure.decisions import AT_LEAST, decide, judge
from edgeresnet.device.measure.percentiles import runs_needed
from edgeresnet.device.measure.sequential import Drop, Evidence, Share, WorstDrop, looks
from edgeresnet.device.measure.statistics import Interval
from edgeresnet.errors import CheckError, InputError
from edgeresnet.results.measured import Budget, decided_text, figure_text
from edgeresnet.settings.measuring import Budgets
from edgeresnet.settings.quantization import TRAINING

FIXES = {
    "max_drop": "quantize with --method auto and more --epochs, or raise max_drop",
    "max_class_drop": "quantize with --method auto and more --epochs, or raise max_class_drop",
    "max_disagreement": "quantize with --method auto and more --epochs, or raise max_disagreement",
    "max_p99_ms": "prune the network, choose a faster target, or raise max_p99_ms",
    "min_speedup": "prune the network, choose a faster target, or lower min_speedup",
}
UNDECIDED_FIXES = {
    "max_drop": "measure on more images, or leave --strict out",
    "max_class_drop": "measure on more images, or leave --strict out",
    "max_disagreement": "measure on more images, or leave --strict out",
    "max_p99_ms": "give more --rounds, or leave --strict out",
    "min_speedup": "give more --rounds, or leave --strict out",
}

DOUBT_FIX = "mend what the lines name, or leave --strict out."


def disagreement_of(agreement: float, interval: Sequence[float]) -> Interval:
    """Share of images that are answered otherwise than by the reference."""
    low, high = interval
    return Interval(1.0 - agreement, 1.0 - high, 1.0 - low)


def quantization_budgets(
    figures: Mapping[str, Any],
    limits: Mapping[str, float],
    prefix: str = "",
    *,
    last: bool = True,
) -> list[Budget]:
    """The budgets of a quantization, as they stand at the look that its figures are of.

    Args:
        figures: of `edgeresnet.host.quantization.reference.Reference.figures`, with ``method``;
            what older versions wrote has no counts, and decides ``max_drop`` and
            ``max_disagreement`` by the intervals in it.
        limits: of `edgeresnet.settings.quantization.QuantizeOptions.limits`; they may be others
            than those that the evaluation ended by.
        prefix: before each budget's name, as ``quantize.``.
        last: no further look will be taken.

    Raises:
        KeyError: the figures do not say what a limit is of.
    """
    method, checked = figures["method"], []
    for name, limit in limits.items():
        if "looks" in figures:
            plan = looks(figures["looks"][-1], whole=len(figures["looks"]) == 1)
            look = next(look for look in plan if look.images == figures["images"])
            evidence = {method: _evidence(name, figures)}
            checked.append(judge(f"{prefix}{name}", limit, evidence, look, plan, last=last))
        else:
            checked.append(decide(f"{prefix}{name}", limit, {method: _told(name, figures)}))
    return checked


def _evidence(name: str, figures: Mapping[str, Any]) -> Evidence:
    if name == "max_drop":
        return Drop(figures["lost"], figures["gained"], figures["images"])
    if name == "max_class_drop":
        changes = figures["class_changes"]
        return WorstDrop({c: Drop(lost, gained, n) for c, (n, lost, gained) in changes.items()})
    # Of whole images: the share was made of them.
    return Share(round((1.0 - figures["agreement"]) * figures["images"]), figures["images"])


def _told(name: str, figures: Mapping[str, Any]) -> Interval:
    if name == "max_drop":
        return Interval(figures["drop"], *figures["drop_interval"])
    if name == "max_class_drop":
        raise KeyError("class_changes")
    return disagreement_of(figures["agreement"], figures["agreement_interval"])


def check_time_budgets(rows: Sequence[Mapping[str, Any]], budgets: Budgets) -> list[Budget]:
    """Each budget of time of a comparison; a lone baseline is its own candidate.

    Those of accuracy are decided while images are answered:
    `edgeresnet.device.measure.paired_answers`.

    Args:
        rows: of `edgeresnet.device.measure.compare.compare`, the baseline first. Read are ``name``,
            ``p99_ms``, ``p99_interval_ms`` and ``samples_ms`` (they may be missing), ``speedup``
            and ``speedup_against``.
        budgets: limits.

    Raises:
        InputError: a candidate was not timed.
    """
    candidates = rows[1:] or rows
    checked = []
    if budgets.max_p99_ms is not None:
        _check_timed(candidates, "p99_ms")
        checked.append(_decided_p99(candidates, budgets.max_p99_ms))
    if budgets.min_speedup is not None:
        # A float row is the reference of its own target: it cannot be faster than itself.
        faster = [r for r in candidates if r["speedup_against"] != r["name"]] or candidates
        _check_timed(faster, "speedup")
        speedups = {r["name"]: _ratio(r["speedup"]) for r in faster}
        checked.append(decide("min_speedup", budgets.min_speedup, speedups))
    return checked


def _decided_p99(rows: Sequence[Mapping[str, Any]], limit_ms: float) -> Budget:
    """The budget of p99; of an undecided one how many timed runs would decide it."""
    budget = decide("max_p99_ms", limit_ms, {row["name"]: _p99(row) for row in rows})
    samples = [row["samples_ms"] for row in rows if row.get("samples_ms")]
    if budget["decision"] == "undecided" and len(samples) == len(rows):
        needed = [runs_needed(np.array(one), 99, limit_ms) for one in samples]
        known = [one for one in needed if one is not None]
        budget["runs"] = min(map(len, samples))
        budget["runs_needed"] = max(known) if len(known) == len(needed) else None
    return budget


def _ratio(found: Mapping[str, Any]) -> Interval | float:
    return float(found["value"]) if found["low"] is None else Interval(**found)


def _p99(row: Mapping[str, Any]) -> Interval | float:
    interval = row.get("p99_interval_ms")
    return float(row["p99_ms"]) if interval is None else Interval(row["p99_ms"], *interval)


def _check_timed(rows: Sequence[Mapping[str, Any]], figure: str) -> None:
    untimed = [row["name"] for row in rows if row[figure] is None]
    if untimed:
        raise InputError(
            f"a budget of time cannot be checked for {', '.join(untimed)}: an emulator ran it, or "
            "what it is compared to",
            "leave the budget out here, and compare on the device (--on ssh://USER@HOST).",
        )


def fails(budget: Budget, *, strict: bool) -> bool:
    """Whether this budget ends in exit 1; where the user is strict, doubt is enough."""
    return not budget["met"] or (strict and budget["decision"] != "kept")


def verdict_of(
    checked: Sequence[Budget],
    *,
    strict: bool,
    doubts: Sequence[str] = (),
    rows: Sequence[Mapping[str, Any]] = (),
) -> dict[str, Any]:
    """``verdict`` (pass or fail), ``verdict_text`` (a sentence or two) and ``strict``, of a result.

    Args:
        checked: budgets, decided.
        strict: a budget in doubt is missed, and any of ``doubts`` is a failure.
        doubts: of `edgeresnet.device.measure.doubts`, and the like.
        rows: of a comparison: what the candidate that lost most has lost is told too.
    """
    failed = [b for b in checked if fails(b, strict=strict)]
    doubtful = [b for b in checked if b["decision"] == "undecided"]
    if failed:
        text = "; ".join(_failure(b) for b in failed) + "."
    elif doubtful:
        names = " and ".join(budget["name"] for budget in doubtful)
        text = (
            f"Every budget is met, but {names} may be missed: the 95 % interval does not settle it"
            f"{_how(doubtful)}."
        )
    else:
        text = f"Every budget is kept{_how(checked)}." if checked else "No budget was given."
    if strict and doubts:
        told = f"In doubt, which --strict counts as a failure: {'; '.join(doubts)}."
        text = f"{text} {told}" if failed else told
    if change := worst_change(rows):
        text = f"{text} {change}"
    verdict = "fail" if failed or (strict and doubts) else "pass"
    return {"verdict": verdict, "verdict_text": text, "strict": strict}


def _how(budgets: Sequence[Budget]) -> str:
    """How many images decided the budgets, or would, and which the value alone decided."""
    parts = [f"{b['name']} {told}" for b in budgets if (told := decided_text(b))]
    parts += [
        f"{b['name']} by its point value, as a limit of 0 always is"
        for b in budgets
        if b.get("decided_by") == "value"
    ]
    return f" ({'; '.join(parts)})" if parts else ""


def _failure(budget: Budget) -> str:
    side = "below" if budget["name"].split(".")[-1] in AT_LEAST else "above"
    if budget["met"]:
        what = "is undecided, which --strict counts as missed"
        side = f"may be {side}"
    else:
        by_value = budget["decision"] == "undecided" or budget.get("decided_by") == "value"
        doubt = " by its point value" if by_value else ""
        what, side = f"is missed{doubt}", f"is {side}"
    name = f"{budget['name']} {what}: {budget['candidate']}"
    worst = f" in class {budget['worst_class']}" if "worst_class" in budget else ""
    told = decided_text(budget)
    return f"{name} has {figure_text(budget)}{worst}, which {side} {budget['limit']:g}" + (
        f" ({told})" if told else ""
    )


def enforce(checked: Sequence[Budget], *, strict: bool, doubts: Sequence[str] = ()) -> None:
    """End in exit 1 if a budget is missed, or, where the user is strict, if there is a doubt.

    Raises:
        CheckError: says which, by how much, and what to do.
    """
    failed = [b for b in checked if fails(b, strict=strict)]
    if failed:
        fixes = [(UNDECIDED_FIXES if b["met"] else FIXES)[b["name"].split(".")[-1]] for b in failed]
        text = verdict_of(checked, strict=strict)["verdict_text"]
        raise CheckError(f"budget missed: {text}", "; ".join(dict.fromkeys(fixes)) + ".")
    if strict and doubts:
        raise CheckError(f"in doubt: {'; '.join(doubts)}", DOUBT_FIX)


def enforce_quantized(figures: Mapping[str, Any], output: Path) -> None:
    """End in exit 1 if a quantization missed its budget, once its best result is written.

    Args:
        figures: of `edgeresnet.host.quantization.quantize_checkpoint.quantize_checkpoint`.
        output: where the result is.

    Raises:
        CheckError: says which method lost how much, and what to do.
    """
    if figures["verdict"] != "fail":
        return
    if not any(fails(b, strict=figures["strict"]) for b in figures["budgets"]):
        raise CheckError(f"{figures['verdict_text']} The result is in {output}.", DOUBT_FIX)
    failed = [b["name"] for b in figures["budgets"] if not b["met"]]
    limits = " and ".join(f"--{name.replace('_', '-')}" for name in failed)
    if not failed:
        fix = "measure on more images, or leave --strict out."
    elif figures["rungs"][-1]["method"] not in TRAINING:
        fix = f"give --method auto, which goes on up to training, or raise {limits}."
    else:
        fix = f"give more --epochs or a lower --lr, or raise {limits}."
    raise CheckError(
        f"budget missed: {figures['verdict_text']} The best result, of {figures['method']}, is in "
        f"{output}.",
        fix,
    )


def with_budgets(
    result: Mapping[str, Any], added: Sequence[Budget], *, strict: bool
) -> dict[str, Any]:
    """A result with more budgets, and its verdict anew.

    A result that has no verdict on its own budgets (nothing could be measured) keeps its word,
    unless one of the added budgets fails.
    """
    checked = [*result["budgets"], *added]
    doubts, rows = result.get("doubts", ()), result.get("rows", ())
    anew = verdict_of(checked, strict=strict, doubts=doubts, rows=rows)
    judged = anew if anew["verdict"] == "fail" or result["verdict"] in ("pass", "fail") else {}
    return {**result, "budgets": checked, **judged}
