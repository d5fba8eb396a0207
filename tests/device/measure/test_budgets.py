"""Budgets are decided with an interval, and the decision is what the command exits by."""

from __future__ import annotations

import json
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeresnet.cli.app import app
from edgeresnet.device.measure.budgets import (
    check_time_budgets,
    enforce,
    fails,
    quantization_budgets,
    verdict_of,
    with_budgets,
)
from edgeresnet.device.measure.compare import compare
from edgeresnet.device.measure.decisions import decide
from edgeresnet.device.measure.sequential import Drop, looks
from edgeresnet.device.measure.statistics import Interval
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.models.checkpoint import save_checkpoint
from edgeresnet.host.quantization.climbing import best_rung
from edgeresnet.host.quantization.rungs import rung as quantize_module
from edgeresnet.host.quantization.rungs.registry import RUNGS
from edgeresnet.remote import command as remote
from edgeresnet.remote.command import Job, Outcome
from edgeresnet.report.tables import budget_lines
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.runner import run_recipe
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import Budgets
from edgeresnet.settings.training import TrainOptions
from tests.conftest import CommandLine
from tests.fakes import FakeDataset, FakeSession, opened, read_brightness
from tests.host.training.test_train_checkpoint import narrow_weights, run
from tests.small_bundles import write_small_bundle

SPEC = InputSpec(8)


@pytest.mark.parametrize(
    ("figures", "decision", "met"),
    [
        ((0.001, -0.002, 0.004), "kept", True),
        ((0.005, 0.003, 0.005), "kept", True),
        ((0.004, -0.001, 0.009), "undecided", True),
        ((0.006, 0.001, 0.011), "undecided", False),
        ((0.02, 0.01, 0.03), "missed", False),
    ],
)
def test_decide_tells_doubt_from_certainty_when_there_is_an_interval(
    figures: tuple[float, float, float], decision: str, met: bool
) -> None:
    found = decide("max_drop", 0.005, {"m": Interval(*figures)})
    assert (found["decision"], found["met"]) == (decision, met)
    value, low, high = figures
    assert (found["value"], found["low"], found["high"]) == figures
    # The same, turned round.
    turned = decide("min_speedup", -0.005, {"m": Interval(-value, -high, -low)})
    assert (turned["decision"], turned["met"]) == (decision, met)


def test_decide_is_in_doubt_when_a_candidate_that_is_not_the_worst_may_miss() -> None:
    sure, unsure = Interval(0.01, 0.008, 0.012), Interval(0.009, -0.01, 0.03)
    found = decide("max_drop", 0.02, {"sure": sure, "unsure": unsure})
    assert (found["candidate"], found["value"]) == ("sure", 0.01)
    assert (found["low"], found["high"], found["decision"]) == (0.008, 0.03, "undecided")
    assert decide("max_drop", 0.02, {"sure": sure})["decision"] == "kept"
    bad = {"sure": sure, "bad": Interval(0.05, 0.04, 0.06)}
    assert decide("max_drop", 0.02, bad)["decision"] == "missed"


def test_check_time_budgets_is_in_doubt_when_the_percentile_has_no_interval() -> None:
    row = {"name": "m", "p99_ms": 5.0, "speedup": None, "speedup_against": "m"}
    (found,) = check_time_budgets([row], Budgets(max_p99_ms=8))
    assert (found["met"], found["decision"], found["low"]) == (True, "undecided", None)
    row["p99_interval_ms"] = [4.0, 7.0]
    assert check_time_budgets([row], Budgets(max_p99_ms=8))[0]["decision"] == "kept"
    assert check_time_budgets([row], Budgets(max_p99_ms=6))[0]["decision"] == "undecided"
    with pytest.raises(InputError, match="cannot be checked for m"):
        check_time_budgets([row], Budgets(min_speedup=2))


def test_verdict_turns_a_doubt_into_a_failure_when_strict() -> None:
    doubtful = decide("max_drop", 0.005, {"int8": Interval(0.0, -0.01, 0.01)})
    assert not fails(doubtful, strict=False)
    told = verdict_of([doubtful], strict=False)
    assert told["verdict"] == "pass"
    assert "max_drop may be missed" in told["verdict_text"]
    enforce([doubtful], strict=False)
    with pytest.raises(CheckError, match="undecided, which --strict counts as missed: int8 has 0"):
        enforce([doubtful], strict=True)
    assert verdict_of([doubtful], strict=True)["verdict"] == "fail"
    kept = decide("max_drop", 0.05, {"int8": Interval(0.0, -0.01, 0.01)})
    assert verdict_of([kept], strict=True)["verdict_text"] == "Every budget is kept."


def test_with_budgets_leaves_what_was_not_measured_when_the_added_budget_is_kept() -> None:
    unmeasured = {"budgets": [], "verdict": "not measured"}
    kept = decide("quantize.max_drop", 0.05, {"ptq": Interval(0.0, -0.01, 0.01)})
    assert with_budgets(unmeasured, [kept], strict=False)["verdict"] == "not measured"
    missed = decide("quantize.max_drop", 0.05, {"ptq": Interval(0.5, 0.4, 0.6)})
    judged = with_budgets(unmeasured, [missed], strict=False)
    assert (judged["verdict"], len(judged["budgets"])) == ("fail", 1)
    assert "quantize.max_drop is missed: ptq has 0.5 (0.4 to 0.6)" in judged["verdict_text"]


def test_compare_gives_the_paired_interval_of_each_budget() -> None:
    data = FakeDataset([i % 10 for i in range(100)])
    models = [
        opened("a", FakeSession(read_brightness(SPEC)), SPEC),
        opened("b", FakeSession(read_brightness(SPEC, wrong=10)), SPEC),
    ]
    result = compare(models, data, Budgets(max_drop=0.12), rounds=2)
    (budget,) = result["budgets"]
    difference = result["rows"][1]["top1_difference"]
    assert budget["value"] == pytest.approx(0.1)
    assert (budget["low"], budget["high"]) == (-difference["high"], -difference["low"])
    assert (budget["met"], budget["decision"], budget["candidate"]) == (True, "undecided", "b")
    assert result["verdict"] == "pass"
    strict = compare(models, data, Budgets(max_drop=0.12, strict=True), rounds=2)
    assert strict["verdict"] == "fail"


def test_budget_line_prints_a_plain_zero_when_nothing_was_lost() -> None:
    budget = decide("quantize.max_drop", 0.015, {"int8": Drop(0, 0, 360).interval(0.05)})
    (line,) = budget_lines({"budgets": [budget]})
    assert line == "budget quantize.max_drop 0.015: 0 (-0.0106 to 0.0106) kept"
    longest = decide("quantize.max_drop", 0.0025, {"x": Interval(0.00279, -0.00491, 0.0105)})
    assert max(len(line) for line in budget_lines({"budgets": [longest]})) <= 80


def rung(method: str, top1: float, *drop: float) -> dict[str, Any]:
    return {"method": method, "top1_int8": top1, "drop": drop[0], "drop_interval": [*drop[1:]]}


def test_best_rung_is_calibration_when_training_ends_worse() -> None:
    ptq, qat = rung("ptq", 0.90, 0.05, 0.03, 0.07), rung("qat", 0.85, 0.1, 0.08, 0.12)
    limits = {"max_drop": 0.005}
    assert best_rung([ptq, qat], limits) is ptq
    assert best_rung([ptq, {**qat, "drop": 0.03}], limits)["method"] == "qat"
    # Where doubt counts as missed, the rung that surely keeps the budget comes first.
    unsure, sure = rung("ptq", 0.95, 0.0, -0.01, 0.01), rung("qat", 0.949, 0.001, -0.002, 0.004)
    assert best_rung([unsure, sure], limits, strict=True) is sure
    assert best_rung([unsure, sure], limits) is unsure


@pytest.fixture(scope="module")
def trained(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A narrow network that tells most digits."""
    path = tmp_path_factory.mktemp("trained") / "float.pt"
    narrow_weights(path)
    options = TrainOptions(epochs=8, batch_size=16, lr=0.05, augment="none", workers=0)
    checkpoint, result = run(weights=str(path), options=options, limit=300)
    assert result.top1 > 0.6
    save_checkpoint(checkpoint, path)
    return path


# Calibration that finds a step far too large, so that next to nothing is left of the network.
RUINED = """
import torch
from edgeresnet.host.quantization import rounding
from edgeresnet.host.quantization.rungs import rung as quantize_module
rounding.STEPS = 1
calibrate = quantize_module.calibrate
def ruined(model, images, observer, **how):
    calibrate(model, images, observer, **how)
    for quantizer in model.quantizers().values():
        quantizer.scale.data *= 100
quantize_module.calibrate = ruined
"""
# Training that ends worse still: it always answers the class of which the fewest images are.
UNTAUGHT = """
from edgeresnet.host.quantization.rungs import qat
from edgeresnet.host.training.fit import TrainResult
def fit(model, *arguments, **more):
    model.fc.bias.data[:] = -1e6
    model.fc.bias.data[0] = float(1e6)
    return TrainResult({}, 0.0, 1, [], 0.0, 1)
qat.fit = fit
"""
QUANTIZE = ("--limit", 100, "--calibration-images", 20, "-o", "int8.pt", "--json", "q.json")


# How `auto` climbs is in tests/host/quantization/test_hard_case.py; a run of it is above.
@pytest.mark.parametrize(
    "given",
    [
        ("--method", "ptq", "--max-drop", 0.005),
        pytest.param(("--method", "auto"), marks=pytest.mark.slow),
    ],
)
def test_quantize_exits_1_and_keeps_the_best_when_the_budget_is_missed(
    edgeresnet: CommandLine, trained: Path, tmp_path: Path, given: tuple[object, ...]
) -> None:
    done = edgeresnet("quantize", trained, *given, *QUANTIZE, changed=RUINED + UNTAUGHT)
    assert done.returncode == 1, done.stdout + done.stderr
    figures = json.loads((tmp_path / "q.json").read_text())
    rows = figures["rungs"]
    assert [row["method"] for row in rows] == (["ptq"] if "ptq" in given else [*RUNGS])
    best = max(rows, key=lambda row: float(row["top1_int8"]))["method"]
    assert f"failed: budget missed: max_drop is missed: {best} has 0." in done.stderr
    assert "which is above 0.005" in done.stderr
    assert f"The best result, of {best}, is in int8.pt" in done.stderr
    assert "fix: " in done.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == ["int8.pt", "q.json"]
    for row in rows:
        said = f"{row['method']}: top-1 {row['top1_int8']:.4f}, drop {row['drop']:.4f} ("
        assert said in done.stderr
        assert row["drop_interval"][0] <= row["drop"] <= row["drop_interval"][1]
        assert row["agreement_interval"][0] <= row["agreement"] <= row["agreement_interval"][1]
        assert row["seconds"] > 0
        assert row["images"] == 100
    if len(rows) > 1:
        assert all(row["method"] in done.stdout for row in rows)
        assert max(map(len, done.stdout.splitlines())) <= 80
    (budget,) = figures["budgets"]
    assert (budget["met"], budget["decision"], budget["limit"]) == (False, "missed", 0.005)
    assert (figures["method"], figures["verdict"]) == (best, "fail")
    assert figures["drop"] == budget["value"] > 0.2


def test_quantize_exits_0_when_no_budget_was_given(edgeresnet: CommandLine, trained: Path) -> None:
    done = edgeresnet("quantize", trained, "--method", "ptq", *QUANTIZE, changed=RUINED)
    assert done.returncode == 0, done.stderr


@pytest.mark.parametrize(("strict", "code"), [((), 0), (("--strict",), 1)])
def test_compare_exits_1_when_strict_and_undecided(
    edgeresnet: CommandLine, tmp_path: Path, strict: tuple[str, ...], code: int
) -> None:
    bundle = write_small_bundle(tmp_path / "b")
    done = edgeresnet(
        "compare", bundle, bundle, "--data", "digits", "--limit", 20, "--rounds", 2,
        "--max-drop", 0.005, *strict,
    )  # fmt: skip
    assert done.returncode == code, done.stderr
    assert "budget max_drop 0.005: 0 (-0.161 to 0.161) undecided, met" in done.stdout
    assert "about 770 images would decide it" in done.stdout
    told = "max_drop is undecided, which --strict counts as missed"
    assert (told in done.stderr) is bool(strict)
    assert max(map(len, done.stdout.splitlines())) <= 80


def test_strict_reaches_the_other_machine(monkeypatch: pytest.MonkeyPatch, tmp_path: Path) -> None:
    jobs: list[Job] = []
    doubtful = decide("max_drop", 0.005, {"b": Interval(0.0, -0.01, 0.01)})
    result = {
        "rows": [], "budgets": [doubtful], "data": "digits", "n": 9, "batch": 1, "note": None,
        "baseline": "a", **verdict_of([doubtful], strict=True),
    }  # fmt: skip

    def run_there(address: object, job: Job, say: object) -> Outcome:
        jobs.append(job)
        return Outcome(1, result, ())

    monkeypatch.setattr(remote, "run_there", run_there)
    arguments = ["compare", "a", "b", "--data", "digits", "--max-drop", "0.005", "--strict"]
    ended = CliRunner().invoke(app, [*arguments, "--on", "ssh://jetson"])
    assert "--strict" in jobs[0].options
    assert isinstance(ended.exception, CheckError)


RECIPE = """
name: tiny
data: digits
limit: 100
model: {{weights: {weights}}}
quantize: {{method: ptq, calibration_images: 20, max_drop: 0.005}}
export: {{targets: [onnx], precisions: [fp32, int8]}}
compare: {{rounds: 2, limit: 20}}
"""


def test_run_shows_the_table_and_fails_when_its_quantization_missed_the_budget(
    trained: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    calibrate = quantize_module.calibrate

    def ruined(model: Any, *more: Any, **how: Any) -> None:
        calibrate(model, *more, **how)
        model.fc.weight.data.zero_()

    monkeypatch.setattr(quantize_module, "calibrate", ruined)
    (tmp_path / "tiny.yaml").write_text(RECIPE.format(weights=trained))
    recipe = load_recipe(tmp_path / "tiny.yaml")
    for _ in range(2):
        # The second time every stage stands, and the budget is missed all the same.
        result = run_recipe(recipe, tmp_path / "run", progress=False)
        assert [row["precision"] for row in result["rows"]] == ["fp32", "int8"]
        (budget,) = result["budgets"]
        assert (budget["name"], budget["decision"]) == ("quantize.max_drop", "missed")
        assert (result["verdict"], budget["candidate"]) == ("fail", "ptq")
        (row,) = result["rungs"]
        assert (row["method"], row["drop"]) == ("ptq", budget["value"])
        assert json.loads((tmp_path / "run" / "results.json").read_text()) == result
    looser = load_recipe(tmp_path / "tiny.yaml", ["quantize.max_drop=1"])
    said: list[str] = []
    result = run_recipe(looser, tmp_path / "run", progress=False, on_step=said.append)
    assert result["verdict"] == "pass"
    assert any(line.startswith("03-quantize: done before") for line in said)


COUNTED = {
    "method": "ptq", "images": 1000, "looks": [1000], "drop": 0.004, "drop_interval": [0, 0.02],
    "lost": 6, "gained": 2, "class_changes": {"a": [500, 0, 2], "b": [500, 6, 0]},
    "agreement": 0.99,
    "agreement_interval": [0.98, 0.995],
}  # fmt: skip


OLDER = ("method", "drop", "drop_interval", "agreement", "agreement_interval")


def test_quantization_budgets_are_decided_by_the_counts_of_all_images() -> None:
    limits = {"max_drop": 0.006, "max_class_drop": 0.05, "max_disagreement": 0.03}
    whole, worst, other = quantization_budgets(COUNTED, limits, "quantize.")
    expected = Drop(6, 2, 1000).interval(0.05)
    assert (whole["name"], whole["value"]) == ("quantize.max_drop", expected.value)
    assert (whole["low"], whole["high"]) == (expected.low, expected.high)
    assert (whole["decision"], whole["looks"]) == ("undecided", [1000])
    assert whole["images_needed"] > 1000
    assert (worst["worst_class"], worst["value"], worst["decision"]) == ("b", 0.012, "kept")
    assert (other["value"], other["decision"]) == (0.01, "kept")


def test_quantization_budgets_are_decided_by_the_interval_of_an_older_version() -> None:
    older = {k: v for k, v in COUNTED.items() if k in OLDER}
    (found,) = quantization_budgets(older, {"max_drop": 0.03})
    assert (found["low"], found["high"], found["decision"]) == (0, 0.02, "kept")
    assert "images" not in found
    # Of an evaluation that ended early by another limit, by the interval of that look.
    early = {**COUNTED, "looks": [447, 1000, 2236, 5000]}
    assert looks(5000)[1].images == 1000
    (found,) = quantization_budgets(early, {"max_drop": 0.006})
    assert found["high"] == Drop(6, 2, 1000).interval(looks(5000)[1].alpha).high
    assert found["images_needed"] > 1000
    # Which class lost how much an older version does not say; a run then asks for its stage anew.
    with pytest.raises(KeyError, match="class_changes"):
        quantization_budgets(older, {"max_class_drop": 0.03})
