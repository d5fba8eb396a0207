"""Runs and bundles that are honest are accepted, and those that lie are not."""

from __future__ import annotations

import json
import multiprocessing
from pathlib import Path
from typing import Any

import numpy as np
import pytest

from edgeresnet.api.verify import Asked
from edgeresnet.device.machine.cpu import usable_cores
from edgeresnet.device.machine.environment import environment
from edgeresnet.device.measure import compare as compare_module
from edgeresnet.device.measure.latency import Latency
from edgeresnet.device.session import ModelSource
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import save_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.results.audit import ClaimsOf, VerifyResults
from edgeresnet.run import compared_again
from edgeresnet.run.audit_results import results_claims, time_claims
from edgeresnet.run.compared_again import compare_again
from edgeresnet.run.preflight import fault_lines
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.recorded import DataAtHand, Recorded
from edgeresnet.run.report_page import read_results
from edgeresnet.run.runner import run_recipe
from edgeresnet.run.verify import verify
from tests.forged import BUNDLES, IN_RUN, RUNS, edit_json, forge
from tests.small_checkpoints import SLIM, make_checkpoint

RECIPE = """
name: honest
data: digits
image_size: 8
limit: 120
model: {{weights: {weights}}}
train: {{epochs: {epochs}, batch_size: 20, lr: 0.05, augment: none}}
quantize: {{method: ptq, calibration_images: 20}}
export: {{targets: [onnx], precisions: [fp32, int8]}}
compare: {{rounds: 3, limit: 80}}
budgets: {{max_drop: 0.3}}
"""
FINGERPRINT = "f" * 16
STEADY = {
    "word": "steady", "stable": True, "cause": None, "findings": [], "steady_from_run": 0,
    "outliers": 0, "largest_ms": 1.0,
}  # fmt: skip
SWAPPED = {**STEADY, "word": "swapped", "stable": False, "cause": "memory was swapped."}
OF_TIME = (
    "p50_ms", "p90_ms", "p95_ms", "p99_ms", "p99_interval_ms", "mean_ms", "std_ms", "speedup",
    "throughput_ips", "cold_p50_ms", "load_ms", "first_ms",
)  # fmt: skip


def make_run(folder: Path, epochs: int = 2) -> Path:
    save_checkpoint(make_checkpoint(size=8, widths=SLIM), folder / "slim.pt")
    recipe = folder / "honest.yaml"
    recipe.write_text(RECIPE.format(weights=folder / "slim.pt", epochs=epochs))
    run_recipe(load_recipe(recipe, [], check=fault_lines), folder / "run")
    # As the record of a machine that was left alone.
    edit_json(folder / "run" / "results.json", plant)
    return folder / "run"


def plant(results: dict[str, Any]) -> None:
    results["environment"]["fingerprint"] = FINGERPRINT
    for row in results["rows"]:
        row["stability"] = STEADY


@pytest.fixture(scope="module")
def honest(tmp_path_factory: pytest.TempPathFactory) -> Path:
    return make_run(tmp_path_factory.mktemp("verify"))


class FakeFresh:
    """A model in no process: nothing is timed."""

    load_ms = first_ms = 1.0
    pid = None

    def __init__(self, source: ModelSource, batch: int) -> None:
        self.source = source

    def close(self) -> None:
        pass


def in_no_time(contenders: dict[str, Any], rounds: int, **_: Any) -> dict[str, Latency]:
    """Times of all; `timed_as_told` has others in their place."""
    return {name: Latency(np.ones(20), 1, 5, None, 2) for name in contenders}


@pytest.fixture
def timed_as_told(honest: Path, monkeypatch: pytest.MonkeyPatch) -> dict[str, Any]:
    """What is timed again is what the honest record says, within a twentieth; changeable."""
    told = json.loads((honest / "results.json").read_text())
    rows = {row["name"]: row for row in told["rows"]}
    changes: dict[str, Any] = {"fingerprint": FINGERPRINT, "stability": STEADY, "times": 1.0}
    real = compare_module.compare
    random = np.random.default_rng(0)

    def compare(*args: Any, **kwargs: Any) -> dict[str, Any]:
        result = real(*args, **kwargs)
        result["environment"]["fingerprint"] = changes["fingerprint"]
        for row in result["rows"]:
            row |= {key: rows[row["name"]][key] for key in OF_TIME}
            row["stability"] = changes["stability"]
            row["p50_ms"] *= changes["times"] * random.uniform(0.95, 1.05)
        return result

    monkeypatch.setattr(compare_module, "FreshModel", FakeFresh)
    monkeypatch.setattr(compare_module, "take_turns", in_no_time)
    monkeypatch.setattr(compared_again, "compare", compare)
    return changes


def outcomes(result: VerifyResults) -> dict[str, str]:
    return {f"{one['subject']}: {one['name']}": one["outcome"] for one in result["claims"]}


def broken(result: VerifyResults) -> list[str]:
    return [
        f"{one['subject']}: {one['name']}: {one['text']}"
        for one in result["claims"]
        if one["outcome"] == "does not hold"
    ]


def test_verify_accepts_an_honest_run(honest: Path, timed_as_told: dict[str, Any]) -> None:
    result = verify(honest)
    assert broken(result) == []
    assert (result["kind"], result["verdict"], result["broken"]) == ("run", "pass", None)
    # Everything could be checked: the data is at hand, and times are comparable.
    assert result["counts"] == {
        "held": len(result["claims"]), "does not hold": 0, "not comparable": 0, "not checked": 0,
    }  # fmt: skip
    names = outcomes(result)
    for claim in (
        "01-train: data", "01-train: top-1", "03-quantize: accuracy", "onnx-int8: golden logits",
        "onnx-int8: integer kernels", "onnx-int8: not cached", "onnx-int8: answers",
        "onnx-int8: proof", "results.json: accuracy of onnx-int8", "results.json: verdict",
        "results.json: latency of onnx-int8", "results.json: speed-up of onnx-int8",
    ):  # fmt: skip
        assert names[claim] == "held", claim


# Where each lie must be found; every other claim may break with it.
FOUND = {
    "edited accuracy": "results.json: accuracy of onnx-int8",
    "edited latency": "results.json: latency of onnx-int8",
    "all latencies edited": "results.json: latency of onnx-fp32",
    "edited speed-up": "results.json: time figures",
    "an edited p99": "results.json: time figures",
    "an edited verdict": "results.json: verdict",
    "an edited interval": "results.json: accuracy figures",
    "edited agreement": "results.json: accuracy of onnx-int8",
    "changed images left out": "results.json: changed images",
    "an edited budget": "results.json: budgets",
    "edited images": "results.json: accuracy figures",
    "edited class names": "onnx-int8: checkpoint",
    "an edited proof": "onnx-int8: proof",
    "edited saturation": "onnx-int8: saturation",
    "edited widths": "onnx-int8: network",
    "a swapped checkpoint": "01-train: top-1",
    "an edited report": "03-quantize: accuracy",
    "a report unlike its checkpoint": "03-quantize: report",
    "edited data": "01-train: data",
    "a swapped model with its own golden logits": "onnx-int8: answers",
    "a bound that was made wider": "onnx-int8: proof",
    "a kernel removed": "onnx-int8: integer kernels",
    "other weights beside the right golden logits": "onnx-int8: golden logits",
    "a model that ignores its input": "onnx-int8: not cached",
    "cached logits": "onnx-int8: not cached",
    "edited golden logits": "onnx-int8: golden logits",
    "edited precision": "onnx-fp32: integer kernels",
    "edited precision of a layer": "onnx-int8: integer kernels",
    "edited sizes": "onnx-int8: network",
    "edited sum": "onnx-int8: manifest",
    "a layer left out": "onnx-int8: network",
    "edited normalization": "onnx-int8: golden logits",
    "edited detection": "onnx-int8: manifest",
}
QUICK = ("edited accuracy", "edited latency", "cached logits")


def test_every_lie_has_a_place_where_it_is_found() -> None:
    assert set(FOUND) == {*RUNS, *BUNDLES, *IN_RUN}
    assert len(FOUND) >= 20


@pytest.mark.parametrize(
    "name",
    [name if name in QUICK else pytest.param(name, marks=pytest.mark.slow) for name in FOUND],
)
def test_verify_finds_a_lie_whose_hashes_are_right(
    name: str, honest: Path, timed_as_told: dict[str, Any], tmp_path: Path
) -> None:
    seed = sorted(FOUND).index(name)
    result = verify(forge(honest, tmp_path / "run", name, seed))
    lies = broken(result)
    assert result["verdict"] == "fail"
    assert any(line.startswith(f"{FOUND[name]}: ") for line in lies), lies
    # Nothing of it is a matter of a hash or a key.
    assert not any(": files: " in line or ": record: " in line for line in lies), lies


@pytest.mark.parametrize(
    ("change", "told"),
    [
        ({"fingerprint": "0" * 16}, "another machine"),
        ({"stability": SWAPPED}, "the measurement now: memory was swapped"),
        ({"stability": None}, "nobody looked"),
    ],
)
def test_times_are_not_comparable_where_they_say_nothing(
    honest: Path, timed_as_told: dict[str, Any], change: dict[str, Any], told: str
) -> None:
    timed_as_told |= {**change, "times": 3.0}
    results = read_results(honest)
    claims = ClaimsOf("results.json")
    again = compare_again(Recorded(honest), results, DataAtHand(None, "not here"), Asked())
    time_claims(results, again, "", claims)
    assert {claim.outcome for claim in claims.claims} == {"not comparable"}
    assert all(told in claim.text for claim in claims.claims)


def test_times_of_an_emulator_are_not_comparable(
    honest: Path, timed_as_told: dict[str, Any]
) -> None:
    results = read_results(honest)
    again = compare_again(Recorded(honest), results, DataAtHand(None, "not here"), Asked())
    for row in (*results["rows"], *again.result["rows"]):
        row |= {"p50_ms": None, "speedup": None}  # type: ignore[operator]
    claims = ClaimsOf("results.json")
    time_claims(results, again, "", claims)
    assert {claim.outcome for claim in claims.claims} == {"not comparable"}
    assert {claim.text for claim in claims.claims} == {"an emulator has no times"}


def test_a_run_without_its_data_is_not_checked_where_it_needs_it(
    honest: Path, timed_as_told: dict[str, Any], tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="does not exist"):
        verify(honest, context=TaskContext(data=str(tmp_path / "nowhere")))
    claims = ClaimsOf("results.json")
    results_claims(Recorded(honest), DataAtHand(None, "photos are not here"), Asked(), claims)
    found = {claim.name: claim for claim in claims.claims}
    assert found["accuracy of onnx-int8"].outcome == "not checked"
    assert "photos are not here" in found["accuracy of onnx-int8"].text
    assert found["accuracy figures"].outcome == found["latency of onnx-int8"].outcome == "held"


def test_verify_refuses_what_is_neither_a_bundle_nor_a_run(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="neither a bundle nor a run"):
        verify(tmp_path)
    with pytest.raises(InputError, match="does not exist"):
        verify(tmp_path / "nothing")


def spin() -> None:
    while True:
        pass


@pytest.mark.slow
def test_verify_accepts_an_honest_run_five_times_of_five_on_a_busy_machine(honest: Path) -> None:
    """Real times, against a record of this machine, with a neighbour on every processor."""
    edit_json(
        honest / "results.json",
        lambda results: results["environment"].update(
            fingerprint=environment().get("fingerprint", FINGERPRINT)
        ),
    )
    processes = [multiprocessing.Process(target=spin, daemon=True) for _ in range(usable_cores())]
    for process in processes:
        process.start()
    try:
        for turn in range(5):
            assert broken(verify(honest)) == [], turn
    finally:
        for process in processes:
            process.kill()
            process.join()
        edit_json(honest / "results.json", plant)
