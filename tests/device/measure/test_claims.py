"""Each claim's own check: what it accepts, and what it finds."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest

from edgeresnet.device.measure.accuracy import Predictions
from edgeresnet.device.measure.class_claims import close_decisions, name_faults, top1_fault
from edgeresnet.device.measure.executed import integer_counts, precision_faults
from edgeresnet.device.measure.latency_claims import (
    ratio_fault,
    why_not_judged,
    why_other_machine,
    why_unstable,
)
from edgeresnet.device.measure.result_claims import answer_faults, time_faults, verdict_faults
from edgeresnet.device.measure.statistics import wilson
from edgeresnet.device.targets.protocol import Kernel

LAYERS = [
    {"name": "conv1", "op": "Conv", "precision": "int8"},
    {"name": "fc", "op": "Gemm", "precision": "fp32"},
]


def kernels(conv: str = "int8", fc: str = "fp32") -> list[Kernel]:
    return [
        Kernel("QLinearConv", conv, "cpu", ("conv1", "conv1.relu")),
        Kernel("QLinearAdd", "int8", "cpu", ("layer1.0.add",)),
        Kernel("Gemm", fc, "cpu", ("fc",)),
    ]


def test_precision_faults_are_none_when_kernels_are_as_told() -> None:
    assert precision_faults(LAYERS, kernels(), "int8") == []
    # Which float a processor computes in for another is its own affair.
    assert precision_faults(LAYERS, kernels(fc="bf16"), "int8") == []
    assert integer_counts(LAYERS, kernels()) == {"Conv": 1, "Add": 1, "Gemm": 0}


@pytest.mark.parametrize(
    ("found", "precision", "told"),
    [
        (kernels(conv="fp32"), "int8", "conv1 is said to be int8 and runs in fp32"),
        (kernels(fc="int8"), "int8", "fc is said to be fp32 and runs in int8"),
        (kernels()[1:], "int8", "conv1 (int8) is in none of"),
        (kernels(), "fp32", "the model is said to be fp32, and conv1 to be in integers"),
    ],
)
def test_precision_faults_tell_when_kernels_are_others(
    found: list[Kernel], precision: str, told: str
) -> None:
    assert any(told in fault for fault in precision_faults(LAYERS, found, precision))


def predictions(exchanged: bool = False, wrong: int = 3) -> Predictions:
    """60 images of three classes; of the last ``wrong`` another class is answered."""
    labels = np.repeat(np.arange(3), 20)
    answers = labels.copy()
    answers[-wrong:] = 0
    if exchanged:
        answers = np.array([1, 0, 2])[answers]
    logits = np.eye(3, dtype=np.float32)[answers]
    return Predictions(logits, labels, 0.0, 0.0, ("a", "b", "c"))


def test_name_faults_tell_which_two_names_are_exchanged() -> None:
    names = ("a", "b", "c")
    assert name_faults(predictions(), names) == []
    (fault,) = name_faults(predictions(exchanged=True), names)
    assert "a and b are taken for each other" in fault
    # A network that guesses is bad, and its names may be right.
    rng = np.random.default_rng(0)
    guesses = rng.standard_normal((60, 3)).astype(np.float32)
    guessed = Predictions(guesses, np.repeat(np.arange(3), 20), 0.0, 0.0, names)
    assert name_faults(guessed, names) == []


def test_top1_fault_allows_what_rounding_decides_and_no_more() -> None:
    own = predictions()
    assert top1_fault(own, 57 / 60, 0.01) is None
    assert "0.9500 on 60 images, and 0.9833" in str(top1_fault(own, 59 / 60, 0.01))
    assert close_decisions(own.logits, 0.01) == 0
    # With a bound of half the margin every image may be another.
    assert top1_fault(own, 0.0, 0.5) is None


@pytest.mark.parametrize(
    ("told", "fault"), [(0.8, False), (1.25, False), (0.79, True), (1.26, True), (0.5, True)]
)
def test_ratio_fault_is_of_more_than_a_quarter(told: float, fault: bool) -> None:
    assert (ratio_fault("p50", told, 1.0, " ms") is not None) == fault


def record(fingerprint: str | None = "a", batch: int = 1) -> dict[str, Any]:
    return {"environment": {"fingerprint": fingerprint}, "batch": batch}


def test_times_of_another_machine_say_nothing_of_this_one() -> None:
    assert why_other_machine(record(), record()) is None
    assert "no fingerprint" in str(why_other_machine(record(None), record()))
    assert "another machine" in str(why_other_machine(record("b"), record()))
    assert "batch of 8" in str(why_other_machine(record(batch=8), record()))
    assert "no fingerprint" in str(why_other_machine({"environment": {}, "batch": 1}, record()))


def test_times_in_doubt_are_not_judged() -> None:
    steady = {"p50_ms": 1.0, "stability": {"stable": True}}
    drifting = {"p50_ms": 1.0, "stability": {"stable": False, "cause": "it drifts."}}
    assert why_unstable(steady) is None
    assert why_unstable(drifting) == "it drifts"
    assert "nobody can tell" in str(why_unstable({"stability": {"stable": None, "cause": None}}))
    assert "nobody looked" in str(why_unstable({}))
    assert why_not_judged(steady, steady) is None
    assert str(why_not_judged(drifting, steady)).startswith("the record: ")
    assert str(why_not_judged(steady, drifting)).startswith("the measurement now: ")
    assert "emulator" in str(why_not_judged({"p50_ms": None}, steady))


def row(name: str, right: int, p50: float, **changes: Any) -> dict[str, Any]:
    n = 100
    return {
        "name": name, "n": n, "top1": right / n, "top5": 1.0, "batch": 1,
        "top1_interval": list(wilson(right, n)), "agreement": 0.9, "lost": 4, "gained": 2,
        "top1_difference": {"value": (right - 92) / n, "low": -0.1, "high": 0.1},
        "p50_ms": p50, "p90_ms": p50 * 1.1, "p95_ms": p50 * 1.2, "p99_ms": p50 * 1.3,
        "mean_ms": p50, "throughput_ips": 1e3 / p50, "speedup_against": "fp32",
        "speedup": {"value": 2.0 / p50, "low": 1.0, "high": 4.0}, **changes,
    }  # fmt: skip


FLOAT = row("fp32", 92, 2.0, lost=None, gained=None, agreement=1.0)


def test_figures_that_go_together_have_no_fault() -> None:
    rows = [FLOAT, row("int8", 90, 1.0, samples_ms=[1.0, 1.0, 1.0], p90_ms=1.0, p95_ms=1.0,
                       p99_ms=1.0)]  # fmt: skip
    for one in rows:
        assert answer_faults(one, FLOAT) == []
        assert time_faults(one, rows) == []


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"top1": 0.905}, "no share of 100 images"),
        ({"top1_interval": [0.89, 0.91]}, "top1_interval of 90 of 100"),
        ({"top1_difference": {"value": 0.0, "low": -0.1, "high": 0.1}}, "from the baseline's"),
        ({"lost": 9}, "9 images lost and 2 gained"),
        ({"agreement": 0.97}, "only 3 differ"),
        ({"top5": 0.5}, "top-5 0.5"),
    ],
)
def test_answer_faults_tell_what_cannot_be_at_once(changes: dict[str, Any], told: str) -> None:
    faults = answer_faults(row("int8", 90, 1.0, **changes), FLOAT)
    assert any(told in fault for fault in faults), faults


@pytest.mark.parametrize(
    ("changes", "told"),
    [
        ({"p99_ms": 0.5}, "do not rise"),
        ({"p50_ms": 0.5}, "the medians' ratio is 4"),
        ({"throughput_ips": 2000.0}, "images per second"),
        ({"samples_ms": [2.0, 2.0]}, "that of the raw samples 2"),
        ({"speedup_against": "bf16"}, "is no row"),
        ({"p99_interval_ms": [2.0, 3.0]}, "outside of its interval"),
    ],
)
def test_time_faults_tell_what_cannot_be_at_once(changes: dict[str, Any], told: str) -> None:
    rows = [FLOAT, row("int8", 90, 1.0, **changes)]
    faults = time_faults(rows[1], rows)
    assert any(told in fault for fault in faults), faults


def test_verdict_faults_tell_a_budget_that_the_rows_do_not_keep() -> None:
    rows = [FLOAT, row("int8", 90, 1.0, change_text=None, p99_interval_ms=[1.25, 1.35])]
    budget = {
        "name": "max_p99_ms", "limit": 1.0, "value": 0.9, "low": 0.8, "high": 0.95, "met": True,
        "decision": "kept", "candidate": "int8",
    }  # fmt: skip
    results = {
        "rows": rows, "budgets": [budget], "strict": False, "doubts": [], "verdict": "fail",
        "verdict_text": "Every budget is kept.",
    }  # fmt: skip
    faults = verdict_faults(results, same_version=True)
    assert any("max_p99_ms has value 0.9, and by the rows 1.3" in fault for fault in faults)
    assert any("verdict is 'fail', and by the budgets 'pass'" in fault for fault in faults)
