"""Accuracy, latency and their comparison, on sessions made of numpy."""

from __future__ import annotations

import numpy as np
import pytest
from scipy.stats import binomtest

from edgeresnet.accuracy import Predictions, accuracy, paired_difference, predict, wilson
from edgeresnet.compare import compare
from edgeresnet.dataset import InputSpec
from edgeresnet.errors import CheckError
from edgeresnet.latency import interleave, measure, speedup
from edgeresnet.options import Budgets
from tests.fakes import FakeDataset, FakeSession, opened, read_brightness

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
        return np.where(batch[:, :1, 0, 0] > 2.0, np.nan, 0.0)

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


def test_interleave_runs_each_candidate_once_a_round() -> None:
    order: list[str] = []
    runs = {name: (lambda name=name: order.append(name)) for name in "abc"}
    found = interleave(runs, 10, seed=1)
    timed = [order[i : i + 3] for i in range(len(order) - 30, len(order), 3)]
    assert all(sorted(part) == ["a", "b", "c"] for part in timed)
    assert len({tuple(part) for part in timed}) > 1
    assert {len(latency.samples_ms) for latency in found.values()} == {10}


def test_speedup_is_unmoved_when_the_machine_drifts() -> None:
    generator = np.random.default_rng(0)
    drift = np.linspace(1, 3, 400)
    slow, fast = 10 * drift * generator.lognormal(0, 0.05, 400), 5 * drift
    found = speedup(slow, fast * generator.lognormal(0, 0.05, 400))
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
