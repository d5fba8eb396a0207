"""Runs whose bundles give embeddings, with logits left out or a network without a classifier."""

from __future__ import annotations

import json
import shutil
from collections.abc import Callable
from functools import cache
from pathlib import Path
from typing import Any

import numpy as np
import pytest
from PIL import Image

from edgeresnet.device.bundle.bundle import read_manifest
from edgeresnet.device.bundle.manifest import MANIFEST
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.results.audit import BROKEN
from edgeresnet.run.preflight import fault_lines
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.runner import run_recipe
from edgeresnet.run.verify import verify
from tests.forged import edit_json, reseal_run
from tests.networks_without_head import without_head
from tests.small_checkpoints import SLIM, make_checkpoint

RECIPE = """
name: embeddings
data: {data}
image_size: 8
model: {{weights: {weights}}}
quantize: {{method: ptq, calibration_images: 20}}
export: {{targets: [onnx], precisions: [fp32, int8], {export}}}
compare: {{rounds: 2}}
"""
# Of times nothing is said here: other tests run beside these.
TIMES = ("latency of", "speed-up of")


def recipe_in(folder: Path, weights: Path, export: str, data: str = "digits") -> Path:
    path = folder / "embeddings.yaml"
    path.write_text(RECIPE.format(weights=weights, export=export, data=data))
    return path


def run(folder: Path, checkpoint: Checkpoint, export: str) -> Path:
    save_checkpoint(checkpoint, folder / "slim.pt")
    recipe = recipe_in(folder, folder / "slim.pt", export)
    settings = ["limit=60"]
    run_recipe(load_recipe(recipe, settings, check=fault_lines), folder / "run")
    return folder / "run"


# Each is made where it is asked for, once.
WANTED = {
    "headless": (True, "features: [C4, pool]"),
    "left-out": (False, "features: [C4, pool], logits: false"),
    "beside": (False, "features: [C4]"),
}
EACH = ["headless", *(pytest.param(name, marks=pytest.mark.slow) for name in [*WANTED][1:])]


@pytest.fixture(scope="module")
def runs(tmp_path_factory: pytest.TempPathFactory) -> Callable[[str], Path]:
    """Of a network without a classifier, of one without its logits, and of one with both."""

    @cache
    def made(name: str) -> Path:
        headless, export = WANTED[name]
        checkpoint = make_checkpoint(size=8, widths=SLIM)
        own = without_head(checkpoint) if headless else checkpoint
        return run(tmp_path_factory.mktemp(name), own, export)

    return made


def results_of(path: Path) -> dict[str, Any]:
    found: dict[str, Any] = json.loads((path / "results.json").read_text())
    return found


@pytest.mark.parametrize("name", EACH[:2])
def test_run_judges_by_neighbours_when_bundles_give_no_logits(
    runs: Callable[[str], Path], name: str
) -> None:
    rows = results_of(runs(name))["rows"]
    assert [row["answers"] for row in rows] == ["embeddings"] * 2
    assert 0.9 < rows[1]["cosine"]["smallest"] < 1
    manifest = read_manifest(runs(name) / "04-export" / "onnx-int8")
    assert manifest.output_names == ("C4", "pool")
    page = (runs(name) / "report.html").read_text()
    assert "judged by embeddings" in page
    assert "Cosine with the baseline" in page


@pytest.mark.parametrize("name", EACH)
def test_results_and_page_show_how_near_features_are(
    runs: Callable[[str], Path], name: str
) -> None:
    row = results_of(runs(name))["rows"][1]
    proof = read_manifest(runs(name) / "04-export" / "onnx-int8").proof
    assert row["features"] == proof["outputs"]
    c4 = proof["outputs"]["C4"]
    told = f"C4 {c4['largest_difference']:.2g} ({c4['bound']:.2g})"
    assert f"onnx-int8 gives {told}" in (runs(name) / "report.html").read_text()


def faults(path: Path) -> dict[str, str]:
    return {
        f"{one['subject']} {one['name']}": one["text"]
        for one in verify(path)["claims"]
        if one["outcome"] == BROKEN and not one["name"].startswith(TIMES)
    }


# By default test_verify.py audits a run, and what the features of bundles are is proven at export.
@pytest.mark.slow
@pytest.mark.parametrize("name", EACH)
def test_verify_accepts_an_honest_run_when_bundles_give_features(
    runs: Callable[[str], Path], name: str
) -> None:
    claims = verify(runs(name))["claims"]
    held = {f"{one['subject']} {one['name']}" for one in claims if one["outcome"] == "held"}
    assert faults(runs(name)) == {}
    wanted = ("answers", "proof", "golden logits", "integer kernels")
    assert held >= {f"onnx-int8 {name}" for name in wanted}
    assert held >= {"03-quantize accuracy", "results.json accuracy of onnx-int8"}


def copy_of(path: Path, folder: Path) -> Path:
    shutil.copytree(path, folder / "copy")
    return folder / "copy"


@pytest.mark.parametrize("name", EACH)
def test_verify_finds_a_feature_that_is_told_nearer_than_it_is(
    runs: Callable[[str], Path], tmp_path: Path, name: str
) -> None:
    copy = copy_of(runs(name), tmp_path)
    bundle = copy / "04-export" / "onnx-int8"

    def nearer(manifest: dict[str, Any]) -> None:
        manifest["proof"]["outputs"]["C4"]["largest_difference"] *= 0.1

    edit_json(bundle / MANIFEST, nearer)
    reseal_run(copy)
    found = faults(copy)
    assert found["onnx-int8 proof"].startswith("C4: largest_difference is")
    # And results.json tells what the bundle told before.
    assert "other features than its bundle's proof" in found["results.json rows"]


@pytest.mark.slow
def test_verify_finds_features_of_another_network(
    runs: Callable[[str], Path], tmp_path: Path
) -> None:
    """One block's weights of the checkpoint are others than those that the bundle was made of."""
    copy = copy_of(runs("beside"), tmp_path)
    path = copy / "01-train" / "checkpoint.pt"
    checkpoint = load_checkpoint(str(path))
    # Behind C4, and made up for by nothing: the logits tell it too; in front of it C4 does.
    checkpoint.state_dict["layer3.1.bn2.bias"] += 0.3
    save_checkpoint(checkpoint, path)
    reseal_run(copy)
    found = faults(copy)
    assert "C4 up to" in found["onnx-fp32 answers"]


def test_load_recipe_refuses_to_leave_logits_out_when_nothing_judges(tmp_path: Path) -> None:
    for export in ("logits: false", "logits: false, features: [C4]"):
        path = recipe_in(tmp_path, tmp_path / "slim.pt", export)
        with pytest.raises(InputError, match=r"export\.logits: false leaves nothing"):
            load_recipe(path)


def unlabelled(folder: Path) -> Path:
    random = np.random.default_rng(0)
    for number in range(24):
        pixels = random.integers(0, 256, (8, 8, 3), dtype=np.uint8)
        (folder / "images").mkdir(exist_ok=True)
        Image.fromarray(pixels).save(folder / "images" / f"{number}.png")
    return folder / "images"


def test_run_refuses_images_without_labels_when_bundles_give_no_logits(tmp_path: Path) -> None:
    checkpoint = make_checkpoint(size=8, widths=SLIM)
    save_checkpoint(checkpoint, tmp_path / "slim.pt")
    data = str(unlabelled(tmp_path))
    export = "features: [pool], logits: false"
    path = recipe_in(tmp_path, tmp_path / "slim.pt", export, data)
    with pytest.raises(InputError, match=r"export\.logits: bundles without logits are compared"):
        run_recipe(load_recipe(path), tmp_path / "run")
    save_checkpoint(without_head(checkpoint), tmp_path / "slim.pt")
    path = recipe_in(tmp_path, tmp_path / "slim.pt", "features: [pool]", data)
    with pytest.raises(InputError, match="has no labels"):
        run_recipe(load_recipe(path), tmp_path / "run2")
    assert not (tmp_path / "run2" / "04-export").exists()


def test_run_refuses_features_without_pool_when_there_is_no_classifier(tmp_path: Path) -> None:
    save_checkpoint(without_head(make_checkpoint(size=8, widths=SLIM)), tmp_path / "slim.pt")
    path = recipe_in(tmp_path, tmp_path / "slim.pt", "features: [C4]")
    with pytest.raises(InputError, match=r"export\.features has no pool"):
        run_recipe(load_recipe(path), tmp_path / "run")
    assert not (tmp_path / "run" / "03-quantize").exists()
