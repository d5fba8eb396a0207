"""Accuracy, latency and their comparison, on sessions made of numpy."""

from __future__ import annotations

import json
import os
import sys
import time
from contextlib import ExitStack
from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
from scipy.stats import binomtest

from edgeresnet.api.opening import open_model
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.measure import compare as comparing
from edgeresnet.device.measure import interleaving, latency
from edgeresnet.device.measure.accuracy import (
    Predictions,
    accuracy,
    paired_difference,
    predict,
)
from edgeresnet.device.measure.compare import compare
from edgeresnet.device.measure.interleaving import (
    DROPPED_RUNS,
    LONGEST_BLOCK,
    Here,
    interleave,
    speedup,
    take_turns,
)
from edgeresnet.device.measure.latency import Latency, measure
from edgeresnet.device.measure.statistics import wilson
from edgeresnet.errors import CheckError, InputError
from edgeresnet.results.fastest import FastestOfTarget
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import Budgets, RunOptions
from tests.conftest import Command
from tests.fakes import FakeDataset, FakeSession, opened, read_brightness
from tests.short import OwnProcess
from tests.test_results import check

SPEC = InputSpec(8)
DATA = FakeDataset([i % 10 for i in range(100)])


@pytest.mark.parametrize(("hits", "n"), [(0, 7), (93, 100), (9_250, 10_000), (5, 5)])
def test_wilson_equals_scipys_when_compared(hits: int, n: int) -> None:
    expected = binomtest(hits, n).proportion_ci(method="wilson")
    assert wilson(hits, n) == pytest.approx((expected.low, expected.high), abs=1e-12)


def test_predict_pads_and_keeps_order_when_batches_are_fixed() -> None:
    session = FakeSession(read_brightness(SPEC), batch_sizes=(7, 7))
    found = predict(session, DATA, SPEC)
    assert accuracy(found).top1 == 1.0
    assert set(session.seen) == {7}


def test_predict_names_the_image_when_a_logit_is_nan() -> None:
    def answer(batch: np.ndarray) -> np.ndarray:
        return np.where(batch[:, :1, 0, 0] > 2.0, np.nan, np.zeros(10))

    with pytest.raises(CheckError, match="image-9"):
        predict(
            FakeSession(answer), FakeDataset(list(range(10)), size=8), InputSpec(8, std=(0.1,) * 3)
        )


def test_accuracy_counts_a_tie_as_wrong_when_all_logits_are_equal() -> None:
    found = Predictions(np.zeros((4, 10), np.float32), np.zeros(4, np.int64), 0.0, 0.0)
    assert accuracy(found).top1 == 0.0


def test_paired_difference_covers_the_truth_when_drawn_often() -> None:
    generator = np.random.default_rng(0)
    covered = 0
    for _ in range(300):
        baseline = generator.random(400) < 0.9
        candidate = np.where(generator.random(400) < 0.1, generator.random(400) < 0.7, baseline)
        interval = paired_difference(baseline, candidate)
        covered += interval.low <= 0.1 * (0.7 - 0.9) <= interval.high
    assert 0.92 <= covered / 300 <= 0.985


def test_measure_takes_every_sample_when_the_session_is_slow() -> None:
    session = FakeSession(lambda batch: batch[:, :, 0, 0], seconds=0.002)
    found = measure(session, np.zeros((3, 3, 8, 8), np.float32), min_runs=20, min_seconds=0.0)
    assert len(found.samples_ms) == 20
    assert len(session.seen) == 20 + found.warmup_runs
    assert found.percentile_ms(50) >= 2.0
    figures = found.to_dict()
    assert figures["throughput_ips"] == pytest.approx(3e3 / figures["mean_ms"])


class Turns(Here):
    """A contender that writes down whose turn it is."""

    def __init__(self, name: str, order: list[str], seconds: float = 0.0) -> None:
        super().__init__(lambda: time.sleep(seconds))
        self._name, self._order = name, order

    def block(self, runs: int) -> list[float]:
        self._order.append(self._name)
        return super().block(runs)


def test_take_turns_gives_each_model_a_block_in_every_round(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(interleaving, "BLOCK_S", 0.1)  # as it is outside of tests
    order: list[str] = []
    found = take_turns({name: Turns(name, order) for name in "abc"}, 4, seed=1)
    rounds = [order[i : i + 3] for i in range(0, len(order), 3)]
    assert len(rounds) == 4
    assert all(sorted(part) == ["a", "b", "c"] for part in rounds)
    assert len({tuple(part) for part in rounds}) > 1
    # A model that takes no time has the longest blocks.
    assert {latency.block_runs for latency in found.values()} == {LONGEST_BLOCK}
    assert {len(latency.samples_ms) for latency in found.values()} == {4 * LONGEST_BLOCK}


def test_take_turns_drops_the_first_runs_of_a_block_when_they_are_cold() -> None:
    """What a model finds after another's turn is not what it does alone."""
    state = {"last": "", "warm": 0}

    def run(name: str) -> None:
        state["warm"] = state["warm"] + 1 if state["last"] == name else 0
        state["last"] = name
        time.sleep(0.001 if state["warm"] >= DROPPED_RUNS else 0.01)

    found = interleave({name: (lambda name=name: run(name)) for name in "ab"}, 10)
    for timed in found.values():
        assert timed.percentile_ms(99) < 9


def test_speedup_is_unmoved_when_the_machine_drifts() -> None:
    generator = np.random.default_rng(0)
    drift = np.linspace(1, 3, 400)
    slow, fast = (
        Latency(ms * drift * generator.lognormal(0, 0.05, 400), 1, 0, 0.0, block_runs=10)
        for ms in (10, 5)
    )
    found = speedup(slow, fast)
    assert found.value == pytest.approx(2.0, rel=0.05)
    assert found.low < 2.0 < found.high


def test_compare_reports_drop_agreement_and_budgets_when_one_answer_in_ten_is_wrong() -> None:
    right = FakeSession(read_brightness(SPEC), seconds=0.004)
    worse = FakeSession(read_brightness(SPEC, wrong=10), seconds=0.001)
    models = [opened("m", right, SPEC), opened("m", worse, SPEC)]
    result = compare(models, DATA, Budgets(max_drop=0.05, min_speedup=1.5), rounds=20)
    first, second = result["rows"]
    assert (first["name"], second["name"]) == ("m#1", "m#2")
    assert result["baseline"] == "m#1"
    assert second["top1_difference"]["value"] == pytest.approx(-0.1)
    assert second["agreement"] == pytest.approx(0.9)
    assert 2 < second["speedup"]["value"] < 5
    met = {budget["name"]: budget["met"] for budget in result["budgets"]}
    assert met == {"max_drop": False, "min_speedup": True}
    assert result["verdict"] == "fail"


def test_compare_marks_the_fastest_of_each_contest(monkeypatch: pytest.MonkeyPatch) -> None:
    planted = {str(i): Latency(np.full(200, ms), 1, 5, None, 10) for i, ms in enumerate((3, 1, 2))}
    monkeypatch.setattr(comparing, "take_turns", lambda *arguments, **options: planted)
    slow = opened("fp32", FakeSession(read_brightness(SPEC)), SPEC)
    models = [slow, replace(slow, name="int8", precision="int8"), slow]
    result = compare(models, DATA, Budgets(), contests={"onnx": [0, 1]})
    assert [row.get("fastest") for row in result["rows"]] == [False, True, None]
    judged = result["fastest"]["onnx"]
    check(judged, FastestOfTarget)
    assert (judged["target"], judged["device"], judged["fastest"]) == ("onnx", "cpu", "int8")
    (float_row,) = [row for row in judged["precisions"] if row["precision"] == "fp32"]
    assert float_row["int8_speedup"] == pytest.approx({"value": 3, "low": 3, "high": 3})
    assert "fastest" not in compare(models, DATA, Budgets())


def test_compare_keeps_the_number_of_images_and_of_runs_apart() -> None:
    session = FakeSession(read_brightness(SPEC), seconds=0.002)
    (row,) = compare([opened("m", session, SPEC)], DATA, Budgets(), rounds=4)["rows"]
    assert row["n"] == len(DATA)
    assert row["runs"] >= 4
    assert row["cold_p50_ms"] >= 2


def test_compare_refuses_when_models_do_not_take_one_batch() -> None:
    one = opened("one", FakeSession(read_brightness(SPEC), batch_sizes=(1, 1)), SPEC)
    four = opened("four", FakeSession(read_brightness(SPEC), batch_sizes=(4, 16)), SPEC)
    open_batch = opened("open", FakeSession(read_brightness(SPEC)), SPEC)
    with pytest.raises(InputError, match="one batch size, 8: one takes 1"):
        compare([open_batch, one], DATA, Budgets(), rounds=2, batch=8)
    with pytest.raises(InputError, match="one takes 1"):
        compare([one, four], DATA, Budgets(), rounds=2)
    result = compare([open_batch, four], DATA, Budgets(), rounds=2)
    assert result["batch"] == 4
    assert {row["batch"] for row in result["rows"]} == {4}


def test_compare_gives_each_model_its_own_memory_and_first_run(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(comparing, "FreshModel", OwnProcess)
    with ExitStack() as stack:
        options = RunOptions(threads=1)
        models = [
            stack.enter_context(open_model(files / name, options=options))
            for name in ("onnx-int8", "onnx-fp32")
        ]
        dataset = open_dataset("digits", "val", limit=20)
        rows = compare(models, dataset, Budgets(), rounds=2)["rows"]
    # PyTorch, which is here, alone takes more.
    assert all(0 < row["peak_memory_mib"] + 50 < latency.peak_memory_mib() for row in rows)
    assert all(row["first_ms"] > 0 for row in rows)


@pytest.mark.skipif(sys.platform != "linux", reason="only Linux binds a process to processors")
def test_compare_runs_on_the_processors_that_it_is_told(
    command: Command, files: Path, tmp_path: Path
) -> None:
    one, told = max(os.sched_getaffinity(0)), tmp_path / "c.json"
    arguments = ("compare", files / "onnx-fp32", files / "onnx-int8", "--limit", 20)
    code, _, stderr = command(*arguments, "--rounds", 2, "--cpus", one, "--json", told)
    assert code == 0, stderr
    assert json.loads(told.read_text())["environment"]["affinity"] == [one]
    code, _, stderr = command(*arguments, "--cpus", "9999")
    assert code == 2
    assert "--cpus 9999 names processors that this process may not use" in stderr


def test_peak_memory_is_the_models_and_not_that_of_emptying_the_caches(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    memory = [100.0]

    def cold_ms(run: object, runs: int) -> np.ndarray:
        memory[0] += 128
        return np.ones(runs)

    monkeypatch.setattr(latency, "cold_ms", cold_ms)
    monkeypatch.setattr(latency, "peak_memory_mib", lambda: memory[0])
    session = FakeSession(lambda batch: batch[:, :, 0, 0])
    found = measure(session, np.zeros((1, 3, 8, 8), np.float32), min_seconds=0.0, cold_runs=3)
    assert found.peak_memory_mib == 100
