"""Runs leave their stages, go on after a kill, and rerun only what a change touches."""

from __future__ import annotations

import json
import re
import shutil
import signal
from html import unescape
from pathlib import Path

import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import save_checkpoint
from edgeresnet.report.tables import compare_table
from edgeresnet.run.preflight import fault_lines
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.run.runner import run_recipe
from tests.cli.test_app import image_folder
from tests.conftest import CommandLine
from tests.small_checkpoints import SLIM, make_checkpoint

TINY = """
name: tiny
data: digits
image_size: 8
limit: 60
model: {arch: resnet18, stem: small}
train: {epochs: 1, batch_size: 20, lr: 0.05, augment: none}
quantize: {method: qat, calibration_images: 20, train: {epochs: 1, batch_size: 20, augment: none}}
export: {targets: [onnx], precisions: [fp32, int8]}
compare: {rounds: 3, limit: 40}
"""
EPOCHS = 15


def tiny(tmp_path: Path, *overrides: str) -> Recipe:
    path = tmp_path / "tiny.yaml"
    path.write_text(TINY)
    return load_recipe(path, overrides, check=fault_lines)


def slim(tmp_path: Path, *overrides: str) -> Recipe:
    """The same, from a network whose stages take a fraction of the time."""
    save_checkpoint(make_checkpoint(size=8, widths=SLIM), tmp_path / "slim.pt")
    return tiny(tmp_path, f"model={{weights: {tmp_path / 'slim.pt'}}}", *overrides)


def ran(recipe: Recipe, run_dir: Path, *, progress: bool = False) -> list[str]:
    """The stages that this run did not find done."""
    lines: list[str] = []
    run_recipe(recipe, run_dir, progress=progress, on_step=lines.append)
    return [line.split(":")[0] for line in lines if line.endswith(": running")]


class _SeenError(Exception):
    """What the run does from here on does not matter."""


def first_stage(recipe: Recipe, run_dir: Path) -> str:
    """The first stage that this run does not find done; it goes no further."""
    lines: list[str] = []

    def on_step(line: str) -> None:
        lines.append(line)
        if line.endswith(": running"):
            raise _SeenError

    with pytest.raises(_SeenError):
        run_recipe(recipe, run_dir, progress=False, on_step=on_step)
    return lines[-1].split(":")[0]


def test_run_recipe_reruns_only_what_a_change_touches(
    tmp_path: Path, request: pytest.FixtureRequest
) -> None:
    run_dir = tmp_path / "run"
    exports = ["04-export-onnx-fp32", "04-export-onnx-int8"]
    assert ran(slim(tmp_path), run_dir) == ["01-train", "03-quantize", *exports, "05-compare"]
    run_dir = run_dir.rename(tmp_path / "moved")
    assert ran(slim(tmp_path), run_dir) == ["05-compare"]
    changed = slim(tmp_path, "quantize.observer=ema")
    request.getfixturevalue("drawn_charts")
    assert ran(changed, run_dir) == ["03-quantize", "04-export-onnx-int8", "05-compare"]
    results = json.loads((run_dir / "results.json").read_text())
    assert results["verdict_text"] in unescape((run_dir / "report.html").read_text("utf-8"))
    assert [row["precision"] for row in results["rows"]] == ["fp32", "int8"]
    assert results["schema"] == 1
    for row in results["rows"]:
        assert row["layers"][0]["time_ms"] >= 0
        nodes = {node for layer in row["layers"] for node in layer["nodes"]}
        assert {"conv1", "layer4.1.conv1", "fc"} <= nodes
    assert "Where the time goes" in (run_dir / "report.html").read_text("utf-8")
    assert results["rows"][1]["speedup_against"] == results["rows"][0]["name"]
    assert not list(run_dir.rglob("*.partial"))
    assert not list(run_dir.rglob("resume.pt"))


# The order of stages is planned in test_dry_run.py; runs with every stage are in tests/files.
@pytest.mark.slow
def test_run_recipe_prunes_between_training_and_quantizing(tmp_path: Path) -> None:
    recovery = "{epochs: 1, batch_size: 20, augment: none}"
    pruning = f"prune={{macs: 0.5, step: 8, images: 40, train: {recovery}}}"
    run_dir = tmp_path / "run"
    stages = ran(slim(tmp_path, pruning), run_dir)
    assert stages == [
        "01-train", "02-prune", "03-quantize-dense", "04-export-onnx-dense-fp32",
        "04-export-onnx-dense-int8", "03-quantize", "04-export-onnx-fp32", "04-export-onnx-int8",
        "05-compare",
    ]  # fmt: skip
    results = json.loads((run_dir / "results.json").read_text())
    assert {row["name"]: row["speedup_against"] for row in results["rows"]} == {
        "onnx-dense-fp32": "onnx-dense-fp32",
        "onnx-dense-int8": "onnx-dense-fp32",
        "onnx-fp32": "onnx-dense-fp32",
        "onnx-int8": "onnx-dense-int8",
    }
    assert not (run_dir / "02-prune" / "work").exists()
    assert first_stage(slim(tmp_path, pruning, "prune.floor=0.2"), run_dir) == "02-prune"


def test_run_recipe_refuses_when_the_folder_is_something_else(tmp_path: Path) -> None:
    (tmp_path / "run").mkdir()
    (tmp_path / "run" / "thesis.txt").write_text("mine")
    with pytest.raises(InputError, match="is not a run"):
        run_recipe(tiny(tmp_path), tmp_path / "run", progress=False)


# A thread of the command itself: a kill from outside would need its process's number.
KILLED = """
import os, signal, threading, time
def kill():
    while not os.path.exists("run/03-quantize/resume.pt"):
        time.sleep(0.01)
    os.kill(os.getpid(), signal.SIGKILL)
threading.Thread(target=kill, daemon=True).start()
"""


def test_run_goes_on_in_the_middle_of_a_stage_when_killed_and_told_the_same_again(
    edgeresnet: CommandLine, tmp_path: Path, capsys: pytest.CaptureFixture[str]
) -> None:
    # Epochs enough that the kill comes before the last one, and few enough to wait for them.
    settings = (f"quantize.train.epochs={EPOCHS}", "export.precisions=[int8]")
    recipe = slim(tmp_path, *settings)
    told = (f"model={{weights: {tmp_path / 'slim.pt'}}}", *settings)
    words = [word for setting in told for word in ("--set", setting)]
    killed = edgeresnet("run", "tiny.yaml", *words, "-o", "run", changed=KILLED, timeout=120)
    assert killed.returncode == -signal.SIGKILL, killed.stderr
    assert not (tmp_path / "run" / "03-quantize" / "checkpoint.pt").exists()
    moved = (tmp_path / "run").rename(tmp_path / "moved")
    stages = ran(recipe, moved, progress=True)
    assert stages[0] == "03-quantize"
    behind = re.findall(r"resuming behind epoch (\d+)", capsys.readouterr().err)
    assert len(behind) == 1
    assert 1 <= int(behind[0]) < EPOCHS


def test_run_proves_and_does_not_measure_what_was_made_for_another_device(tmp_path: Path) -> None:
    if TARGETS["tensorrt"].devices():
        pytest.skip("an NVIDIA GPU is here, so TensorRT's bundles are measured")
    recipe = slim(
        tmp_path, "export.targets=[tensorrt]", "export.precisions=[int8]", "quantize.method=ptq"
    )
    said: list[str] = []
    result = run_recipe(recipe, tmp_path / "run", progress=False, on_step=said.append)
    assert (result["verdict"], result["rows"], result["baseline"]) == ("not measured", [], None)
    assert json.loads((tmp_path / "run" / "results.json").read_text())["verdict"] == "not measured"
    assert said[0].startswith("tensorrt's gpu is not here (")
    assert result["unmeasured"] == ["tensorrt-int8"]
    assert compare_table(result).row_count == 0
    assert load_bundle(tmp_path / "run" / "04-export" / "tensorrt-int8").manifest.proof


@pytest.mark.slow
def test_a_run_goes_on_when_it_and_its_data_have_moved(tmp_path: Path) -> None:
    """As on another machine, where no path is the same, and the cache knows no file."""
    here, there = tmp_path / "here", tmp_path / "there"
    shutil.copytree(
        image_folder(tmp_path / "photos", ["a", "b"], images=30, size=8), here / "photos"
    )
    told = (
        "limit=null", "compare.limit=null",
        "prune={macs: 0.5, step: 8, images: 20, train: {epochs: 1, batch_size: 10, augment: none}}",
    )  # fmt: skip
    began = ran(slim(tmp_path, f"data={here / 'photos'}", *told), here / "run")
    assert len(began) == 9
    shutil.copytree(here, there)
    shutil.rmtree(here)
    moved = f"data={there / 'photos'}"
    assert ran(slim(tmp_path, moved, *told), there / "run") == ["05-compare"]
    # What is made anew there is made of the data there.
    changed = ran(slim(tmp_path, moved, *told, "quantize.observer=ema"), there / "run")
    assert changed[0] == "03-quantize-dense"
    assert str(here) not in (there / "run" / "results.json").read_text()
