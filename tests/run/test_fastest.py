"""A recipe's ``compare.fastest``: both are kept, the fastest of each target is marked."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import pytest

from edgeresnet.cli.output import show_comparison
from edgeresnet.device.targets.openvino.target import OpenVinoTarget
from edgeresnet.device.targets.protocol import Device
from edgeresnet.device.targets.qnn.target import QnnTarget
from edgeresnet.device.targets.tensorrt.target import TensorRtTarget
from edgeresnet.errors import InputError, MissingError
from edgeresnet.run import runner
from edgeresnet.run.fastest import added_precisions, check_fastest_of, contests
from edgeresnet.run.preflight import devices_elsewhere
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.run.stages import Stage
from edgeresnet.settings.measuring import CompareSettings

ON = "compare.fastest=true"
RECIPE = """
name: tiny
data: digits
image_size: 8
limit: 60
model: {weights: WEIGHTS}
quantize: {method: ptq, calibration_images: 20}
export: {targets: [openvino], precisions: [int8]}
compare: {rounds: 3, limit: 40}
"""


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A processor with bf16, no GPU, and an emulated NPU, whatever the tests run on."""
    cpu = Device("cpu", "", ("FP32", "BF16", "INT8", "BIN"))
    npu = Device("npu", "", ("fp16", "int8", "w8a16"), emulated=True)
    monkeypatch.setattr(OpenVinoTarget, "devices", lambda self: [cpu])
    monkeypatch.setattr(OpenVinoTarget, "missing", lambda self: [])
    monkeypatch.setattr(TensorRtTarget, "devices", lambda self: [])
    monkeypatch.setattr(QnnTarget, "devices", lambda self: [npu])


def recipe_of(tmp_path: Path, *overrides: str) -> Recipe:
    path, weights = tmp_path / "tiny.yaml", tmp_path / "weights.pt"
    path.write_text(RECIPE.replace("WEIGHTS", str(weights)))
    weights.touch()
    return load_recipe(path, overrides)


def test_the_floats_of_the_device_are_made_beside_int8(tmp_path: Path) -> None:
    assert added_precisions(recipe_of(tmp_path), "openvino") == []
    recipe = recipe_of(tmp_path, ON, "export.targets=[openvino, onnx, tensorrt, qnn]")
    made = {name: added_precisions(recipe, name) for name in recipe.export.targets}
    # Of what cannot be timed here, the recipe's own alone.
    assert made == {"openvino": ["fp32", "bf16"], "onnx": ["fp32"], "tensorrt": [], "qnn": []}
    assert list(devices_elsewhere(recipe)) == ["tensorrt", "qnn"]
    assert added_precisions(recipe_of(tmp_path, ON, "export.precisions=[fp32]"), "openvino") == []


def test_one_networks_bundles_on_one_target_are_compared(tmp_path: Path) -> None:
    names = [
        "openvino-dense-fp32", "openvino-dense-int8", "openvino-int8", "openvino-fp32",
        "openvino-bf16", "onnx-int8", "qnn-int8", "qnn-fp16",
    ]  # fmt: skip
    targets = "export.targets=[openvino, onnx, qnn]"
    assert contests(recipe_of(tmp_path, ON, targets), names) == {"openvino": [2, 3, 4]}
    assert contests(recipe_of(tmp_path, targets), names) == {}


def test_it_is_refused_where_it_would_have_no_effect(tmp_path: Path) -> None:
    check_fastest_of(recipe_of(tmp_path, ON))
    with pytest.raises(InputError, match=r"export\.precisions has no int8"):
        check_fastest_of(recipe_of(tmp_path, ON, "export.precisions=[fp32]"))
    with pytest.raises(MissingError, match="qnn's npu: it is emulated here") as caught:
        check_fastest_of(recipe_of(tmp_path, ON, "export.targets=[tensorrt, qnn]"))
    assert "tensorrt's gpu" in caught.value.cause


def test_a_run_keeps_both_and_asks_the_comparison_which_is_faster(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    asked: dict[str, Any] = {}

    def export_stage(run: object, name: str, *arguments: object) -> Path:
        return tmp_path / name

    def compare(models: list[Path], *arguments: object, **options: Any) -> dict[str, Any]:
        asked.update(options, models=[path.name for path in models])
        return {"rows": [], "budgets": [], "verdict": "pass"}

    for name in ("train_stage", "quantize_stage"):
        monkeypatch.setattr(runner, name, lambda *arguments: Stage(tmp_path, "key"))
    # What it would look into is none of this test's stages.
    monkeypatch.setattr(runner, "check_network", lambda *arguments: None)
    monkeypatch.setattr(runner, "quantize_rungs", lambda *arguments: [])
    monkeypatch.setattr(runner, "export_stage", export_stage)
    monkeypatch.setattr(runner, "compare", compare)
    monkeypatch.setattr(runner, "_write_page", lambda run: None)
    runner.run_recipe(recipe_of(tmp_path, ON), tmp_path / "run")
    assert asked["models"] == ["openvino-int8", "openvino-fp32", "openvino-bf16"]
    assert asked["contests"] == {"openvino": [0, 1, 2]}
    runner.run_recipe(recipe_of(tmp_path), tmp_path / "run")
    assert asked["models"] == ["openvino-int8"]
    assert asked["contests"] == {}


def test_a_recipe_without_it_says_what_older_versions_said() -> None:
    assert "fastest" not in CompareSettings().to_dict()
    assert CompareSettings(fastest=True).to_dict()["fastest"] is True


def test_the_table_marks_the_fastest_and_a_line_says_why(
    capsys: pytest.CaptureFixture[str],
) -> None:
    ratio = {"value": 0.8, "low": 0.7, "high": 0.9}
    row: dict[str, Any] = {
        "top1": 0.9, "top1_difference": None, "agreement": 1.0, "p50_ms": 1.0, "p99_ms": 1.0,
        "speedup": ratio, "cold_p50_ms": None,
    }  # fmt: skip
    rows = [{**row, "name": "onnx-fp32", "fastest": True}, {**row, "name": "onnx-int8"}]
    precisions = [
        {"precision": "fp32", "int8_speedup": ratio, "fastest": True},
        {"precision": "int8", "int8_speedup": None, "fastest": False},
    ]
    judged = {
        "target": "onnx", "device": "cpu", "int8": "int8", "decision": "slower",
        "fastest": "fp32", "advised": "fp32", "precisions": precisions,
    }  # fmt: skip
    result = {
        "rows": rows, "baseline": "onnx-fp32", "data": "digits", "n": 1, "batch": 1, "note": None,
        "budgets": [], "fastest": {"onnx": judged},
    }  # fmt: skip
    show_comparison(result, None, False, record_host=False)
    told = capsys.readouterr().out
    assert "\nonnx-fp32 * " in told
    assert "onnx-int8 * " not in told
    line = "* int8 is not faster on onnx's cpu: fp32 is, of which it has 0.80x (0.70-0.90)"
    assert line in " ".join(told.split())
