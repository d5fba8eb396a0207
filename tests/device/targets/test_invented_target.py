"""A target is one file and one line: every command and every recipe then knows it."""

from __future__ import annotations

import json
import os
import shutil
from collections.abc import Iterator
from pathlib import Path
from typing import Any

import pytest
from typer.testing import CliRunner

from edgeresnet.cli import app as cli
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import InputError, MissingError
from edgeresnet.host.export.encodings.encode import ENCODINGS
from edgeresnet.host.export.writers import WRITERS
from edgeresnet.host.models.checkpoint import save_checkpoint
from edgeresnet.host.models.resnet import Widths
from edgeresnet.run.device_commands import device_commands
from edgeresnet.run.preflight import devices_elsewhere
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.runner import run_recipe
from tests.copies import REPOSITORY
from tests.device.targets.reference_target import LINE, ReferenceTarget, as_bare_file
from tests.small_checkpoints import make_checkpoint

NARROW = Widths(16, (16,) * 4, tuple(((16,), (16,)) for _ in range(4)))
IN_EVERY_PROCESS = f"""
from edgeresnet.device.targets.registry import TARGETS
from tests.device.targets.reference_target import ReferenceTarget
{LINE}
"""


@pytest.fixture(scope="module", autouse=True)
def registered(tmp_path_factory: pytest.TempPathFactory) -> Iterator[None]:
    """In this process, and in those that `compare` times models in."""
    folder = tmp_path_factory.mktemp("site")
    (folder / "sitecustomize.py").write_text(IN_EVERY_PROCESS)
    with pytest.MonkeyPatch.context() as patch:
        patch.setitem(TARGETS, "reference", ReferenceTarget())
        patch.setenv("PYTHONPATH", os.pathsep.join([str(folder), str(REPOSITORY)]))
        yield


@pytest.fixture(scope="module")
def float_path(tmp_path_factory: pytest.TempPathFactory) -> Path:
    path = tmp_path_factory.mktemp("invented") / "float.pt"
    save_checkpoint(make_checkpoint(size=8, widths=NARROW), path)
    return path


@pytest.fixture(scope="module")
def exported(registered: None, float_path: Path) -> Path:
    """A bundle; not to be changed."""
    return exported_to(float_path, float_path.parent / "reference", "reference")


def exported_to(float_path: Path, out_dir: Path, target: str) -> Path:
    done("export", float_path, "--target", target, "-o", out_dir, "--quiet")
    return out_dir


def done(*arguments: object) -> Any:
    """What a command gives with ``--json -``; or what it raises."""
    found = CliRunner().invoke(cli.app, [*map(str, arguments)])
    if found.exception is not None:
        raise found.exception
    return json.loads(found.stdout) if "--json" in arguments else found.stdout


def test_export_knows_its_precisions_its_inputs_and_its_reasons(
    float_path: Path, exported: Path, tmp_path: Path
) -> None:
    bundle = load_bundle(exported)
    manifest = bundle.manifest
    assert (manifest.target, manifest.precision) == ("reference", "fp32")
    assert manifest.proof["logits_from"] == "reference"
    assert manifest.files["engines/slate.plan"]
    with pytest.raises(InputError, match="has no int8: on slate one reckons in full"):
        done("export", float_path, "--target", "reference", "--int8", "-o", tmp_path / "c")
    with pytest.raises(InputError, match="no operators for the normalization of pixels"):
        done("export", float_path, "--target", "reference", "--embed-preprocess")
    with pytest.raises(InputError, match="tensorrt, qnn, reference"):
        done("export", float_path, "--target", "refrence")


def test_devices_lists_it_with_what_is_missing() -> None:
    listed = {target["name"]: target for target in done("devices", "--json", "-")["targets"]}
    assert listed["reference"]["devices"][0]["name"] == "slate"
    assert listed["reference"]["missing"][0]["reason"] == "nobody has hung it up"


def test_build_knows_its_options_and_devices(exported: Path, tmp_path: Path) -> None:
    path = Path(shutil.copytree(exported, tmp_path / "b"))
    built = done("build", path, "--workspace-mib", 4, "--json", "-")
    assert (built["device"], built["engine"]) == ("slate", "engines/slate.plan")
    record = json.loads((path / "engines" / "slate.plan.json").read_text())
    assert record["workspace_mib"] == 4
    with pytest.raises(InputError, match="--gpu-fallback is a build option of tensorrt"):
        done("build", path, "--gpu-fallback")
    with pytest.raises(InputError, match="give one of slate, blackboard"):
        done("build", path, "--device", "npu")


def test_compare_measures_it_beside_another(
    float_path: Path, exported: Path, tmp_path: Path
) -> None:
    models = [exported_to(float_path, tmp_path / "onnx", "onnx"), exported]
    result = done("compare", *models, "--limit", 20, "--rounds", 3, "--json", "-")
    rows = {row["target"]: row for row in result["rows"]}
    assert (rows["reference"]["device"], rows["reference"]["precision"]) == ("slate", "fp32")
    assert rows["reference"]["agreement"] == 1.0
    assert rows["reference"]["p50_ms"] > rows["onnx"]["p50_ms"]


def test_its_bare_files_are_opened_and_described(exported: Path, tmp_path: Path) -> None:
    path = as_bare_file(load_bundle(exported).model_path, tmp_path)
    told = done("inspect", path, "--json", "-")
    assert (told["target"], told["precision"]) == ("reference", "fp32")
    assert told["operators"]["Conv"] == 20
    assert done("evaluate", path, "--data", "digits", "--limit", 20, "--json", "-")["n"] == 20


RECIPE = """
name: invented
data: digits
image_size: 8
limit: 40
model: {{arch: resnet18, stem: small, weights: {weights}}}
quantize: {{method: ptq, calibration_images: 20}}
export: {{targets: [{targets}], precisions: [fp32, int8]}}
compare: {{rounds: 3, limit: 20}}
"""


def test_recipe_runs_it_and_says_what_it_cannot(float_path: Path, tmp_path: Path) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.format(weights=float_path, targets="reference"))
    told: list[str] = []
    result = run_recipe(load_recipe(path), tmp_path / "run", progress=False, on_step=told.append)
    assert [(r["target"], r["precision"]) for r in result["rows"]] == [("reference", "fp32")]
    assert "target reference has no int8: left out" in told
    only_int8 = load_recipe(path, ["export.precisions=[int8]"])
    with pytest.raises(InputError, match="has none of int8: on slate one reckons in full"):
        run_recipe(only_int8, tmp_path / "other")
    path.write_text(RECIPE.format(weights=float_path, targets="reference, refrence"))
    with pytest.raises(InputError, match=r"export\.targets: target refrence is not known"):
        run_recipe(load_recipe(path), tmp_path / "third")


def test_its_device_elsewhere_gets_commands_that_build_first(
    float_path: Path, exported: Path, tmp_path: Path
) -> None:
    path = tmp_path / "r.yaml"
    path.write_text(RECIPE.format(weights=float_path, targets="reference"))
    recipe = load_recipe(path, ["compare.device=blackboard", "export.precisions=[fp32]"])
    elsewhere = devices_elsewhere(recipe)
    assert elsewhere == {"reference": "nobody has hung it up"}
    commands = device_commands(recipe, {"reference-fp32": exported}, elsewhere)
    assert commands[1] == "edgeresnet build reference --device blackboard"
    with pytest.raises(MissingError, match="there is no blackboard here"):
        done("profile", exported, "--device", "blackboard")


def test_every_target_names_what_the_host_has() -> None:
    for name, target in TARGETS.items():
        spec = target.spec
        assert spec.name == name
        assert {spec.encoding(device) for device in spec.devices} <= set(ENCODINGS)
        assert spec.writer in WRITERS
        assert set(spec.provers) <= set(TARGETS)
