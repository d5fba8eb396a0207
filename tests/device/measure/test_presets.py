"""Presets, sweeps, and several runs at once."""

from __future__ import annotations

import threading
import time
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeresnet.device.measure import latency as measured_latency
from edgeresnet.device.measure import presets
from edgeresnet.device.measure.concurrent_runs import check_concurrency, run_at_once
from edgeresnet.device.measure.latency import IDLE_PAUSES, after_idle_ms
from edgeresnet.device.measure.presets import DURATIONS, Duration, labels, numbers, swept, timed
from edgeresnet.errors import InputError
from edgeresnet.report.steadiness import idle_lines, preset_lines
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import ProfileSettings, RunOptions
from tests.fakes import FakeSession, opened

IMAGES = np.zeros((1, 3, 8, 8), np.float32)


class FromThreads(FakeSession):
    """Counts how many threads run it at once."""

    runs_from_threads = True

    def __init__(self) -> None:
        super().__init__(lambda batch: np.zeros((len(batch), 2)))
        self.now = self.most = 0
        self.lock = threading.Lock()

    def run(self, batch: Any) -> Any:
        with self.lock:
            self.now += 1
            self.most = max(self.most, self.now)
        time.sleep(0.005)
        with self.lock:
            self.now -= 1
        return super().run(batch)


class Queue(FakeSession):
    """Has a queue of its own, which tells planted times."""

    def queue_runs(self, batch: Any, concurrency: int, seconds: float) -> tuple[list[float], float]:
        self.asked = concurrency, seconds
        return [4.0] * 100, 0.1


def queue() -> Queue:
    return Queue(lambda batch: np.zeros((len(batch), 2)))


def test_mlperf_lasts_as_its_rules_ask() -> None:
    assert (DURATIONS["mlperf"].runs, DURATIONS["mlperf"].seconds) == (1024, 60.0)
    assert DURATIONS["quick"].seconds < DURATIONS["default"].seconds


def test_swept_has_a_row_for_each_combination() -> None:
    how = ProfileSettings(sweep_threads="1,2", concurrency="1,4")
    rows = swept(RunOptions(), [1, 8], how)
    assert [(r.batch, r.threads, r.concurrency) for r in rows] == [
        (b, t, c) for b in (1, 8) for t in (1, 2) for c in (1, 4)
    ]
    told = labels(rows, [{"batch": row.batch} for row in rows])
    assert told[3] == {"label": "batch 1, 2 threads, 4 at once"}
    plain = swept(RunOptions(threads=2), None, ProfileSettings())
    assert [(r.batch, r.threads, r.concurrency) for r in plain] == [(None, 2, 1)]
    assert labels(plain, [{"batch": 1}]) == [{}]


@pytest.mark.parametrize("text", ["", "0", "1,", "a", "1,-2", "5000", "1;2"])
def test_numbers_refuses_what_is_no_list(text: str) -> None:
    with pytest.raises(InputError, match="is no list of numbers from 1 to 4096"):
        numbers("--sweep-threads", text, 4096)


def test_swept_refuses_threads_that_are_given_twice() -> None:
    with pytest.raises(InputError, match="say two things"):
        swept(RunOptions(threads=2), None, ProfileSettings(sweep_threads="1,2"))


def test_run_at_once_has_so_many_runs_under_way() -> None:
    session = FromThreads()
    samples, seconds, kind = run_at_once(session, IMAGES, 3, 0.1)  # type: ignore[arg-type]
    assert (session.most, kind, len(samples)) == (3, "sync", len(session.seen))
    assert (samples >= 5).all()
    # Three at once: more than one after another could have done.
    assert len(samples) * 5e-3 > 1.5 * seconds


def test_run_at_once_takes_the_runtimes_own_queue_when_it_has_one() -> None:
    session = queue()
    samples, seconds, kind = run_at_once(session, IMAGES, 4, 0.5)  # type: ignore[arg-type]
    assert (session.asked, kind, seconds, len(samples)) == ((4, 0.5), "async", 0.1, 100)


def test_throughput_of_several_runs_at_once_is_of_all_together() -> None:
    model = opened("m", queue(), InputSpec(8), "openvino")
    latency, figures = timed(model, IMAGES, RunOptions(concurrency=4), "quick")
    assert latency.percentile_ms(50) == 4.0
    assert figures["throughput_ips"] == pytest.approx(1000)
    assert (figures["concurrency"], figures["concurrency_kind"]) == (4, "async")


def test_concurrency_is_refused_when_a_session_runs_one_batch_at_a_time() -> None:
    session: Any = FakeSession(lambda batch: batch)
    check_concurrency(session, 1, "tensorrt")
    with pytest.raises(InputError, match="a session of tensorrt runs one batch at a time"):
        check_concurrency(session, 2, "tensorrt")


def test_timed_tells_throughput_offline_when_the_preset_is_mlperf(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setitem(presets.DURATIONS, "mlperf", Duration(20, 0.2, 1.0))
    session = FakeSession(lambda b: np.zeros((len(b), 2)), batch_sizes=(1, 8), seconds=0.002)
    model = replace(opened("m", session, InputSpec(8)), device="gpu")
    latency, figures = timed(model, IMAGES, RunOptions(), "mlperf")
    told = figures["offline"]
    assert told["batch"] == 8
    assert told["seconds"] >= 0.2
    assert told["throughput_ips"] == pytest.approx(8 * told["runs"] / told["seconds"])
    assert len(latency.samples_ms) >= 20
    row = {"batch": 1, **latency.to_dict(), **figures}
    assert "single stream: p90 " in preset_lines([row])[0]
    assert "img/s at batch 8" in preset_lines([row])[0]
    assert idle_lines([row]) == [
        f"first run after a pause, in ms: batch 1 {row['after_idle_ms']:.2f}"
    ]


def test_after_idle_ms_is_of_the_run_behind_each_pause(monkeypatch: pytest.MonkeyPatch) -> None:
    slept: list[float] = []
    monkeypatch.setattr("edgeresnet.device.measure.latency.time.sleep", slept.append)
    runs: list[int] = []
    assert after_idle_ms(lambda: runs.append(len(slept))) >= 0
    assert slept == [measured_latency.IDLE_S] * IDLE_PAUSES
    assert runs == [1, 2, 3]


def test_openvino_runs_several_at_once_by_its_queue(tmp_path: Path) -> None:
    pytest.importorskip("openvino", reason="this is OpenVINO's queue")
    import openvino as ov
    from openvino import opset13 as ops

    from edgeresnet.device.targets.openvino.session import OpenVinoSession

    given = ops.parameter([1, 3, 8, 8], np.float32, name="input")
    weights = np.random.default_rng(0).normal(size=(192, 4)).astype(np.float32)
    flat = ops.reshape(given, np.array([1, 192]), special_zero=False)
    ov.save_model(ov.Model([ops.matmul(flat, weights, False, False)], [given]), tmp_path / "m.xml")
    with OpenVinoSession(tmp_path / "m.xml", "cpu", RunOptions(concurrency=3)) as session:
        samples, seconds, kind = run_at_once(session, IMAGES, 3, 0.2)
        assert kind == "async"
        assert len(samples) > 10
        assert (samples > 0).all()
        assert 0.2 <= seconds < 5
        assert session.run(IMAGES).shape == (1, 4)
