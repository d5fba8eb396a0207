"""Whether a measurement can be relied on: what its runs look like, and what the machine did."""

from __future__ import annotations

from collections.abc import Iterable, Mapping, Sequence
from dataclasses import dataclass
from pathlib import Path
from typing import TYPE_CHECKING, Any

from edgeresnet.device.machine.board import (
    ROOT,
    BoardState,
    board_state,
    board_warnings,
    throttle_warnings,
)
from edgeresnet.device.machine.cpu import default_threads
from edgeresnet.device.machine.load import Load, load_findings, read_load
from edgeresnet.device.measure.series import judge_series
from edgeresnet.results.stability import Finding, Stability

if TYPE_CHECKING:
    import numpy as np
    from numpy.typing import NDArray

# Said first what explains the others.
ORDER = (
    "swapped",
    "throttled",
    "quota",
    "load",
    "threads",
    "drift",
    "bimodal",
    "unjudged",
    "spikes",
)
# A series may have spikes and still say what it says: they are in its percentiles.
HARMLESS = ("spikes", "unjudged")


@dataclass(frozen=True)
class Moment:
    """The state of a machine beside a measurement."""

    board: BoardState
    load: Load


def moment(root: Path = ROOT, pids: Sequence[int] = ()) -> Moment:
    """The state now; ``pids`` as in `edgeresnet.device.machine.load.read_load`."""
    return Moment(board_state(root), read_load(root, pids))


def machine_findings(before: Moment, after: Moment) -> list[Finding]:
    """What the machine did to a measurement between two moments."""
    found = [
        Finding(word="throttled", cause=c) for c in throttle_warnings(before.board, after.board)
    ]
    found += [Finding(word=w, cause=c) for w, c in load_findings(before.load, after.load)]
    return found


def thread_findings(threads: int | None, root: Path = ROOT) -> list[Finding]:
    """That more threads were asked for than processors are allowed; else nothing."""
    most = default_threads(root)
    if threads is None or threads <= most:
        return []
    cause = (
        f"{threads} threads share {most} processors, and wait for each other: give --threads "
        f"{most} or fewer."
    )
    return [Finding(word="threads", cause=cause)]


def stability_of(
    samples_ms: NDArray[np.float64] | None, findings: Iterable[Finding] = ()
) -> Stability:
    """What a reader must know before relying on a row's figures.

    Args:
        samples_ms: (n,) in the order of time; None where a runtime's own program gave no samples.
        findings: of the machine.
    """
    found, series = list(findings), None
    if samples_ms is None:
        cause = "the runtime's own program tells no single runs, so nobody can tell a drift."
        found.append(Finding(word="unjudged", cause=cause))
    else:
        series = judge_series(samples_ms)
        if series.cause is not None:
            found.append(Finding(word=series.word, cause=series.cause))
    found.sort(key=lambda finding: ORDER.index(finding["word"]))
    unstable = any(finding["word"] not in HARMLESS for finding in found)
    unjudged = any(finding["word"] == "unjudged" for finding in found)
    return Stability(
        word=found[0]["word"] if found else "steady",
        stable=False if unstable else None if unjudged else True,
        cause=found[0]["cause"] if found else None,
        findings=found,
        steady_from_run=None if series is None else series.steady_from_run,
        outliers=None if series is None else series.outliers,
        largest_ms=None if series is None else series.largest_ms,
    )


def row_stability(
    samples_ms: NDArray[np.float64], moments: Mapping[str, Moment], threads: int | None = None
) -> dict[str, Any]:
    """``stability`` and ``warnings`` of a row of a comparison.

    Args:
        samples_ms: (n,) in the order of time.
        moments: the machine ``before`` and ``after``.
        threads: that the runtime was told to use; None: it chose.
    """
    before, after = moments["before"], moments["after"]
    told = board_warnings(before.board, after.board)
    found = [*machine_findings(before, after), *thread_findings(threads)]
    stability = stability_of(samples_ms, found)
    return {"stability": stability, "warnings": [*told, *stability_warnings(stability, told)]}


def stability_warnings(stability: Mapping[str, Any], known: Sequence[str] = ()) -> list[str]:
    """A line for each reason to doubt a row's figures, without those that are told already.

    Args:
        stability: of a row.
        known: warnings that are there.
    """
    told = [f"not stable ({one['word']}): {one['cause']}" for one in stability["findings"]]
    harmful = [one["word"] not in HARMLESS for one in stability["findings"]]
    return [
        line
        for line, harms, one in zip(told, harmful, stability["findings"], strict=True)
        if harms and one["cause"] not in known
    ]


def stability_doubts(rows: Iterable[Mapping[str, Any]]) -> list[str]:
    """What ``--strict`` fails on: a line for each row that is unstable, or could not be judged."""
    doubts = []
    for row in rows:
        stability = row.get("stability")
        if stability is None or stability["stable"]:
            continue
        name = row.get("name") or row.get("label") or f"batch {row['batch']}"
        causes = [o for o in stability["findings"] if o["word"] != "spikes"]
        doubts += [f"{name}: {one['word']}: {one['cause'].rstrip('.')}" for one in causes]
    return doubts
