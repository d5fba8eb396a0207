"""A row's word on whether it can be relied on, and what the strict fail on."""

from __future__ import annotations

from pathlib import Path

import numpy as np
import pytest
from typer.testing import CliRunner

import edgeresnet.device.measure.profile as profile_module
from edgeresnet.cli.app import app
from edgeresnet.device.machine.board import BoardState
from edgeresnet.device.machine.load import Load
from edgeresnet.device.measure.stability import (
    Moment,
    machine_findings,
    stability_doubts,
    stability_of,
    stability_warnings,
    thread_findings,
)
from edgeresnet.report.steadiness import interval_lines, outlier_lines, warning_lines
from edgeresnet.results.stability import Finding
from tests.device.measure.series_of import latencies
from tests.jetson import write_tree

STEADY = latencies(np.random.default_rng(0), 400)
DRIFTING = STEADY * np.linspace(1, 1.5, 400)
BUSY = Finding(word="load", cause="other programs took 1.0 of 2 processors.")


def state(*, throttling: tuple[str, ...] = (), events: int = 0) -> BoardState:
    return BoardState(None, None, (), {}, throttling, {"thermal": events}, {})


def machine(**board: object) -> Moment:
    quiet = Load(0.0, 2, None, None, None, None, None, None)
    return Moment(state(**board), quiet)  # type: ignore[arg-type]


def test_stability_is_of_what_explains_the_rest_when_several_things_are_found() -> None:
    found = stability_of(DRIFTING, [BUSY])
    assert (found["word"], found["stable"], found["cause"]) == ("load", False, BUSY["cause"])
    assert [finding["word"] for finding in found["findings"]] == ["load", "drift"]
    assert stability_of(STEADY)["word"] == "steady"
    assert stability_of(STEADY)["stable"] is True


def test_stability_is_unknown_when_runs_are_few_or_untold() -> None:
    for samples in (STEADY[:10], None):
        found = stability_of(samples)
        assert (found["word"], found["stable"]) == ("unjudged", None)
        assert stability_warnings(found) == []
    assert stability_of(STEADY[:10], [BUSY])["stable"] is False


def test_spikes_are_told_and_do_not_make_a_row_unstable() -> None:
    samples = STEADY.copy()
    samples[::40] = 60.0
    found = stability_of(samples)
    assert (found["word"], found["stable"], found["outliers"]) == ("spikes", True, 10)
    row = {"batch": 1, "stability": found}
    assert stability_doubts([row]) == []
    assert outlier_lines([row])[0].startswith("batch 1: 10 of 400 runs lie far above")


@pytest.mark.parametrize("after", [machine(throttling=("gpu",)), machine(events=3)])
def test_throttling_is_a_reason(after: Moment) -> None:
    (finding,) = machine_findings(machine(), after)
    assert finding["word"] == "throttled"
    assert stability_of(STEADY, [finding])["stable"] is False


def test_more_threads_than_processors_are_a_reason(tmp_path: Path) -> None:
    root = write_tree(
        tmp_path,
        {"proc/self/status": "Cpus_allowed_list:\t0-1\n", "sys/devices/system/cpu/online": "0-3\n"},
    )
    assert thread_findings(2, root) == []
    assert thread_findings(None, root) == []
    (finding,) = thread_findings(3, root)
    assert finding["word"] == "threads"
    assert "3 threads share 2 processors" in finding["cause"]


def test_warnings_say_each_cause_once() -> None:
    told = stability_of(DRIFTING, [BUSY])
    assert stability_warnings(told, [BUSY["cause"]]) == [
        f"not stable (drift): {told['findings'][1]['cause']}"
    ]
    rows = [{"name": "a", "warnings": ["x", "y"]}, {"name": "b", "warnings": ["x"]}]
    assert warning_lines(rows) == ["warning: x", "warning: a: y"]


def test_interval_lines_have_a_dash_where_there_is_no_interval() -> None:
    spans = {f"p{q}_interval_ms": [1.0, 2.0] for q in (50, 90, 95)}
    row = {"batch": 8, **spans, "p99_interval_ms": None, "interval_note": "why."}
    assert interval_lines([row]) == [
        "batch 8, 95 % intervals: p50 1.00-2.00, p90 1.00-2.00, p95 1.00-2.00, p99 –", "  why.",
    ]  # fmt: skip


@pytest.mark.parametrize("strict", [True, False])
def test_profile_fails_the_strict_when_a_run_is_not_stable(
    files: Path, monkeypatch: pytest.MonkeyPatch, strict: bool
) -> None:
    monkeypatch.setattr(profile_module, "machine_findings", lambda before, after: [BUSY])
    monkeypatch.setattr(profile_module, "find_meter", lambda *a, **k: (None, None))
    given = ["profile", str(files / "onnx-int8"), "--threads", "1"]
    done = CliRunner().invoke(app, [*given, *["--strict"] * strict])
    assert done.exit_code == int(strict)
    assert "not stable (load): other programs took 1.0 of 2" in " ".join(done.stdout.split())
    assert ("in doubt: batch 1: load: other programs" in str(done.exception)) == strict
