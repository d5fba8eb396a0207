"""The audit of a run's results: figures among each other, and measured again."""

from __future__ import annotations

from collections.abc import Mapping, Sequence
from typing import Any

from edgeresnet.api.verify import Asked
from edgeresnet.device.bundle.manifest import MANIFEST
from edgeresnet.device.measure.answer_claims import (
    images_faults,
    matrix_faults,
    row_faults,
    undecided,
)
from edgeresnet.device.measure.budgets import quantization_budgets
from edgeresnet.device.measure.latency_claims import ratio_fault, why_not_judged, why_other_machine
from edgeresnet.device.measure.result_claims import answer_faults, time_faults, verdict_faults
from edgeresnet.errors import EdgeResNetError
from edgeresnet.files.hashes import sha256_file
from edgeresnet.results.audit import ClaimsOf
from edgeresnet.results.measured import CompareResults
from edgeresnet.run.compared_again import PREFIX, Again, compare_again
from edgeresnet.run.feature_proofs import proven_features
from edgeresnet.run.recorded import QUANTIZE, DataAtHand, Recorded
from edgeresnet.run.stage_record import REPORT, read_report
from edgeresnet.settings.measuring import OF_ACCURACY

Rows = Sequence[Mapping[str, Any]]


def figure_claims(run: Recorded, results: CompareResults, claims: ClaimsOf) -> bool:
    """What the figures say of each other.

    Returns:
        Whether they can be a comparison's of this run's bundles.
    """
    rows: Rows = results["rows"]
    strangers = [row["name"] for row in rows if row["name"] not in run.bundles]
    faults = [f"{name} is no bundle of this run" for name in strangers]
    if rows and results["baseline"] != rows[0]["name"]:
        faults.append(f"the baseline is {results['baseline']}, and the first row {rows[0]['name']}")
    faults += [
        f"{row['name']} is of {row['n']} images, and the comparison of {results['n']}"
        for row in rows
        if row["n"] != results["n"]
    ]
    faults += [
        f"{row['name']} was another bundle when it was measured"
        for row in rows
        if row["name"] in run.bundles and (told := row.get("model_sha256")) is not None
        if told != sha256_file(run.bundles[row["name"]] / MANIFEST)
    ]
    faults += [
        f"{row['name']} tells other features than its bundle's proof"
        for row in rows
        if row["name"] in run.bundles
        if "features" in row and row["features"] != proven_features(run.bundles[row["name"]])
    ]
    whole = claims.judge("rows", faults, f"{len(rows)} bundles of this run")
    faults = [f"{row['name']}: {fault}" for row in rows for fault in answer_faults(row, rows[0])]
    claims.judge("accuracy figures", faults, "intervals, differences and counts go together")
    faults = [f"{row['name']}: {fault}" for row in rows for fault in time_faults(row, rows)]
    claims.judge("time figures", faults, "percentiles, rates and ratios go together")
    faults = verdict_faults(results, same_version=run.same_machine()) + _of_report(run, results)
    held = f"{results['verdict']}; it follows from {len(results['budgets'])} budgets and the rows"
    claims.judge("verdict", faults, held)
    return whole


def _of_report(run: Recorded, results: CompareResults) -> list[str]:
    """Where budgets of quantizing do not follow from its report."""
    told = [b for b in results["budgets"] if b["name"].startswith(PREFIX)]
    if not told:
        return []
    report = read_report(run.checkpoint(QUANTIZE).with_name(REPORT), "run the stage again.")
    limits = {b["name"].removeprefix(PREFIX): b["limit"] for b in told}
    own = {b["name"]: b for b in quantization_budgets(report, limits, PREFIX)}
    return [
        f"{b['name']} is not what the report of {QUANTIZE} comes to"
        for b in told
        if any(abs(float(b[k]) - float(own[b["name"]][k])) > 1e-9 for k in ("value", "met"))
    ]


def answer_claims(
    run: Recorded, results: CompareResults, again: Again | None, why: str, claims: ClaimsOf
) -> None:
    """Accuracy of each row, agreements, the images that changed, and budgets, made again."""
    names = [row["name"] for row in results["rows"]]
    if again is None or not again.with_data:
        for name in names:
            claims.unchecked(f"accuracy of {name}", why)
        return
    same = run.same_machine()
    close = [
        undecided(own, None if same else bound)
        for own, bound in zip(again.predictions, again.bounds, strict=True)
    ]
    for row, own, mine in zip(results["rows"], again.result["rows"], close, strict=True):
        top1 = "no labels" if own["top1"] is None else f"top-1 {own['top1']:.4f}"
        held = f"{top1}, agreement {own['agreement']:.4f} on {own['n']} images"
        faults = row_faults(row, own, allowed=mine + close[0])
        claims.judge(f"accuracy of {row['name']}", faults, held)
    _pair_claims(results, again, sum(close), claims)
    own_budgets = {b["name"]: b for b in again.result["budgets"] if b["name"] in OF_ACCURACY}
    n, faults = again.result["n"], []
    for budget in results["budgets"]:
        found = own_budgets.get(budget["name"])
        if found is not None and abs(found["value"] - budget["value"]) * n > sum(close) + 0.5:
            faults.append(
                f"{budget['name']} has {budget['value']:.4f}, and {found['value']:.4f} here"
            )
        elif found is not None and not sum(close) and found["decision"] != budget["decision"]:
            faults.append(f"{budget['name']} is {budget['decision']}, and {found['decision']} here")
    if own_budgets:
        claims.judge("budgets", faults, "decided as they are here")


def _pair_claims(results: CompareResults, again: Again, allowed: int, claims: ClaimsOf) -> None:
    own, n = again.result, again.result["n"]
    if "agreements" in results:
        faults = matrix_faults(results["agreements"], own["agreements"], n, allowed=allowed)
        claims.judge("agreements", faults, f"of {len(own['agreements'])} models on {n} images")
    if "changed_images" in results:
        told: Rows = results["changed_images"]
        faults = images_faults(told, own["changed_images"], allowed=allowed)
        claims.judge("changed images", faults, f"{len(own['changed_images'])} images")
    missing = [line for line in own.get("doubts", ()) if line not in results.get("doubts", ())]
    if "doubts" in results:
        claims.judge(
            "doubts",
            [f"left out: {line}" for line in missing if not allowed],
            f"{len(results['doubts'])} are told",
        )


def time_claims(results: CompareResults, again: Again | None, why: str, claims: ClaimsOf) -> None:
    """Latency and speed-up of each row, measured again in turns."""
    rows: Rows = results["rows"]
    if again is None:
        for row in rows:
            claims.unchecked(f"latency of {row['name']}", why)
        return
    elsewhere = why_other_machine(results, again.result)
    own = {row["name"]: row for row in again.result["rows"]}
    reasons = {row["name"]: elsewhere or why_not_judged(row, own[row["name"]]) for row in rows}
    for row in rows:
        name = f"latency of {row['name']}"
        mine = own[row["name"]]
        figures = _p50_words(row, mine)
        if (reason := reasons[row["name"]]) is not None:
            claims.incomparable(name, f"{reason} ({figures})" if figures else reason)
            continue
        claims.judge(name, ratio_fault("p50", row["p50_ms"], mine["p50_ms"], " ms"), figures)
    for row in rows:
        _speedup_claim(row, own[row["name"]], reasons, claims)


def _p50_words(row: Mapping[str, Any], mine: Mapping[str, Any]) -> str:
    """Both medians; empty of an emulator, which has none."""
    if row["p50_ms"] is None or mine["p50_ms"] is None:
        return ""
    return f"p50 {row['p50_ms']:.3g} ms told, {mine['p50_ms']:.3g} ms here"


def _speedup_claim(
    row: Mapping[str, Any],
    mine: Mapping[str, Any],
    reasons: Mapping[str, str | None],
    claims: ClaimsOf,
) -> None:
    reference = row["speedup_against"]
    if reference == row["name"] or row["speedup"] is None or mine["speedup"] is None:
        return
    told, here = row["speedup"]["value"], mine["speedup"]["value"]
    name, figures = f"speed-up of {row['name']}", f"{told:.3g}x told, {here:.3g}x here"
    reason = reasons[row["name"]] or reasons[reference]
    if reason is not None:
        claims.incomparable(name, f"{reason} ({figures})")
        return
    claims.judge(name, ratio_fault("speed-up", told, here), figures)


def results_claims(run: Recorded, data: DataAtHand, asked: Asked, claims: ClaimsOf) -> None:
    """All claims of ``results.json``."""
    results = run.results
    if results is None:
        claims.unchecked("rows", "the run has no results yet")
        return
    whole = figure_claims(run, results, claims)
    for name in results.get("unmeasured", ()):
        claims.unchecked(f"latency of {name}", "its device was not there, and nothing is told")
    if not whole or not results["rows"]:
        return
    again, why = None, ""
    try:
        again = compare_again(run, results, data, asked)
    except EdgeResNetError as error:
        why = error.cause
    answer_claims(run, results, again, why or data.why, claims)
    time_claims(results, again, why, claims)
