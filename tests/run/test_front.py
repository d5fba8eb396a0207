"""Several depths in one recipe: each a run of its own, then side by side; minutes end it."""

from __future__ import annotations

import json
from html import unescape
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.host.models.checkpoint import save_checkpoint
from edgeresnet.host.models.resnet import Widths
from edgeresnet.report.front import front_lines, front_table
from edgeresnet.results.audit import Claim
from edgeresnet.run import front
from edgeresnet.run import verify as audit
from edgeresnet.run.front import networks_of, run_front
from edgeresnet.run.front_plan import plan_front
from edgeresnet.run.front_points import _is_best
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.run.runner import run_recipe
from tests.small_checkpoints import make_checkpoint

DEPTHS = """
name: depths
data: digits
image_size: 8
limit: 40
quantize: {method: ptq, calibration_images: 20}
export: {targets: [onnx], precisions: [fp32, int8]}
compare: {rounds: 3, limit: 40}
front: {archs: [resnet18, resnet34]}
"""
TRAINED = "train={epochs: 1, batch_size: 20, augment: none}"


def widths_of(arch: str) -> Widths:
    """An eighth of torchvision's, and of the deeper one only the first block of each level."""
    sides = (8, 16, 32, 64)
    if arch == "resnet18":
        inner = tuple(((side,),) * 2 for side in sides)
    else:
        left_out = (2, 3, 5, 2)
        inner = tuple(
            ((side,), *((),) * count) for side, count in zip(sides, left_out, strict=True)
        )
    return Widths(8, sides, inner)


@pytest.fixture(scope="module")
def weights(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """A slim checkpoint of each of the two architectures."""
    folder = tmp_path_factory.mktemp("weights")
    for arch in ("resnet18", "resnet34"):
        made = make_checkpoint(arch, size=8, widths=widths_of(arch))
        save_checkpoint(made, folder / f"{arch}.pt")
    return folder


def recipe_of(tmp_path: Path, *overrides: str) -> Recipe:
    path = tmp_path / "depths.yaml"
    path.write_text(DEPTHS)
    return load_recipe(path, overrides)


def given(weights: Path) -> str:
    return f"front.weights={{resnet18: {weights}/resnet18.pt, resnet34: {weights}/resnet34.pt}}"


def test_run_front_compares_all_depths_in_one_comparison(tmp_path: Path, weights: Path) -> None:
    recipe, run_dir = recipe_of(tmp_path, given(weights)), tmp_path / "run"
    lines: list[str] = []
    result = run_front(recipe, run_dir, on_step=lines.append)
    names = ["resnet18-onnx-fp32", "resnet18-onnx-int8", "resnet34-onnx-fp32", "resnet34-onnx-int8"]
    assert [row["name"] for row in result["rows"]] == names
    assert [row["speedup_against"] for row in result["rows"]] == [
        names[0], names[0], names[2], names[2]
    ]  # fmt: skip
    points = result["front"]["points"]
    assert [(p["arch"], p["precision"]) for p in points] == [
        ("resnet18", "fp32"), ("resnet18", "int8"), ("resnet34", "fp32"), ("resnet34", "int8")
    ]  # fmt: skip
    for point, row in zip(points, result["rows"], strict=True):
        bundle = run_dir / point["arch"] / "04-export" / f"onnx-{point['precision']}"
        size = (bundle / "model.onnx").stat().st_size
        assert point["megabytes"] == size / 1e6
        assert (point["top1"], point["p50_ms"]) == (row["top1"], row["p50_ms"])
        assert (point["drop"] is None) == (point["precision"] == "fp32")
    assert result["front"]["unfinished"] == []
    assert result["front"]["energy"]
    own = json.loads((run_dir / "resnet34" / "results.json").read_text())
    assert points[3]["drop"] == -own["rows"][1]["top1_difference"]["value"]
    assert json.loads((run_dir / "results.json").read_text())["front"] == result["front"]
    page = unescape((run_dir / "report.html").read_text("utf-8"))
    assert "Depth: accuracy against latency" in page
    assert "Depth: accuracy against size" in page
    assert "resnet34: 03-quantize" in page
    assert front_table(result["front"]).row_count == 4


def test_verify_audits_each_depth(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    for arch in ("resnet18", "resnet34"):
        (tmp_path / arch / ".stages").mkdir(parents=True)
    (tmp_path / ".stages").mkdir()
    audited: list[Path] = []

    def claims_of(run: Any, asked: Any) -> list[Claim]:
        audited.append(run)
        return [Claim("01-train", "weights", "held", "as recorded")]

    monkeypatch.setattr(audit, "Recorded", lambda path: path)
    monkeypatch.setattr(audit, "_run_claims", claims_of)
    found = audit.verify(tmp_path)
    assert audited == [tmp_path / "resnet18", tmp_path / "resnet34"]
    assert [claim["subject"] for claim in found["claims"]] == [
        "resnet18/01-train", "resnet34/01-train", "results.json"
    ]  # fmt: skip
    assert found["claims"][-1]["outcome"] == "not checked"


def test_run_front_stops_in_a_training_and_goes_on(
    tmp_path: Path, weights: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(
        tmp_path, given(weights), "front.minutes=1", TRAINED, "export.precisions=[fp32]"
    )
    figures: list[str] = []
    now = [0.0]
    monkeypatch.setattr(front, "monotonic", lambda: now[0])
    check = front._Deadline.check

    def late(deadline: Any, *told: object) -> None:
        if told and told[0] == "training":
            figures.append("step")
            # The first network has two steps and an epoch; then the other begins.
            now[0] = 61.0 * (len(figures) > 4)
        check(deadline, *told)

    monkeypatch.setattr(front._Deadline, "check", late)
    result = run_front(recipe, tmp_path / "run")
    assert [one["arch"] for one in result["front"]["unfinished"]] == ["resnet34"]
    assert {point["arch"] for point in result["front"]["points"]} == {"resnet18"}
    assert "not in the comparison: resnet34" in [*front_lines(result["front"])][1]
    # No stage has failed: the time was over.
    assert not [*(tmp_path / "run").rglob("*.failed.json")]
    now[0] = 0.0
    monkeypatch.setattr(front._Deadline, "check", check)
    lines: list[str] = []
    again = run_front(recipe, tmp_path / "run", on_step=lines.append)
    assert {point["arch"] for point in again["front"]["points"]} == {"resnet18", "resnet34"}
    assert not [line for line in lines if line == "resnet18 · 01-train: running"]


def test_run_front_fails_when_no_network_is_done_in_time(tmp_path: Path, weights: Path) -> None:
    recipe = recipe_of(tmp_path, given(weights), "front.minutes=0.000001")
    with pytest.raises(CheckError, match="no network was done") as told:
        run_front(recipe, tmp_path / "run")
    assert "front.minutes" in told.value.fix
    assert not (tmp_path / "run" / "results.json").exists()


@pytest.mark.parametrize(
    ("override", "message"),
    [
        ("front.weights={resnet50: a.pt}", "front.weights has resnet50"),
        ("front.weights={resnet18: a.pt}", r"front\.weights\.resnet18: checkpoint a\.pt does not"),
        ("model.weights=a.pt", r"model\.weights: checkpoint a\.pt does not exist"),
        ("model.arch=resnet18", "model.arch has no effect"),
        ("prune={macs: 0.5}", "prune would cut them"),
    ],
)
def test_run_front_refuses_before_the_work(tmp_path: Path, override: str, message: str) -> None:
    with pytest.raises(InputError, match=message):
        run_front(recipe_of(tmp_path, TRAINED, override), tmp_path / "run")
    assert not (tmp_path / "run").exists()


def test_run_front_refuses_a_depth_without_training_and_weights(
    tmp_path: Path, weights: Path
) -> None:
    recipe = recipe_of(tmp_path, f"front.weights={{resnet18: {weights}/resnet18.pt}}")
    with pytest.raises(InputError, match="resnet34 has neither a training nor weights"):
        run_front(recipe, tmp_path / "run")


def test_run_front_refuses_targets_that_cannot_be_timed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(front, "devices_elsewhere", lambda recipe: {"onnx": "no onnxruntime"})
    with pytest.raises(MissingError, match="no onnxruntime"):
        run_front(recipe_of(tmp_path, TRAINED), tmp_path / "run")


def test_run_front_refuses_minutes_of_several_processes(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    recipe = recipe_of(tmp_path, TRAINED, "front.minutes=5")
    monkeypatch.setattr(front, "this_rank", lambda: front_rank(2))
    with pytest.raises(InputError, match="minutes is for one process"):
        front.check_front(recipe, networks_of(recipe), tmp_path / "run")


def front_rank(count: int) -> Any:
    from edgeresnet.files.ranks import Rank

    return Rank(0, count)


def test_each_call_refuses_the_other_kind_of_recipe(tmp_path: Path) -> None:
    recipe = recipe_of(tmp_path, TRAINED)
    with pytest.raises(InputError, match="several networks"):
        run_recipe(recipe, tmp_path / "run")
    with pytest.raises(InputError, match="has no front"):
        run_front(recipe_of(tmp_path, TRAINED, "front=null"), tmp_path / "run")


def test_load_recipe_names_wrong_fronts(tmp_path: Path) -> None:
    for override, message in (
        ("front.archs=[resnet18]", "front.archs"),
        ("front.archs=[resnet18, resnet18]", "named twice"),
        ("front.archs=[resnet18, resnet20]", "resnet20"),
        ("front.minutes=0", "front.minutes"),
    ):
        with pytest.raises(InputError, match=message):
            recipe_of(tmp_path, TRAINED, override)


def test_plan_front_names_the_stages_of_each_depth(tmp_path: Path, weights: Path) -> None:
    plan = plan_front(recipe_of(tmp_path, given(weights)), tmp_path / "run")
    stages = [stage["stage"] for stage in plan["stages"]]
    assert stages[0] == "resnet18/01-train"
    assert "resnet34/04-export/onnx-int8" in stages
    assert stages[-1] == "compare"
    assert plan["arch"] == "resnet18, resnet34"
    assert not (tmp_path / "run").exists()


def test_a_point_is_best_where_nothing_beats_it_at_both() -> None:
    def point(top1: float | None, ms: float | None) -> Any:
        return {"top1": top1, "p50_ms": ms}

    points = [
        point(0.9, 1.0),
        point(0.9, 2.0),
        point(0.95, 3.0),
        point(0.8, 1.0),
        point(0.99, None),
    ]
    best = [_is_best(one, points, "p50_ms") for one in points]
    assert best == [True, False, True, False, False]
