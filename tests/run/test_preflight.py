"""What a run needs is checked before its first step, and what this machine lacks is said first."""

from __future__ import annotations

import json
from pathlib import Path

import pytest
import torch
from typer.testing import CliRunner

from edgeresnet.api.opening import open_model
from edgeresnet.cli import app as cli
from edgeresnet.device.targets.openvino.target import OpenVinoTarget
from edgeresnet.device.targets.protocol import Availability, Device
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.device.targets.tensorrt.target import TensorRtTarget
from edgeresnet.errors import EdgeResNetError, InputError, MissingError
from edgeresnet.run import runner
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.run.stages import Stage
from edgeresnet.settings.measuring import Budgets
from edgeresnet.settings.pruning import PruneOptions
from tests.run.test_recipe import RECIPES
from tests.run.test_runner import tiny

OPENVINO_FIX = "pip install 'edgeresnet[openvino]'"


@pytest.fixture(autouse=True)
def this_machine(monkeypatch: pytest.MonkeyPatch) -> None:
    """A workstation with neither GPU nor NPU, whatever the tests run on."""
    monkeypatch.setattr(TensorRtTarget, "devices", lambda self: [])
    monkeypatch.setattr(
        OpenVinoTarget, "devices", lambda self: [Device("cpu", "", ("FP32", "INT8"))]
    )
    monkeypatch.setattr(OpenVinoTarget, "missing", lambda self: [])
    monkeypatch.setattr(torch.cuda, "is_available", lambda: False)


@pytest.fixture
def no_work(monkeypatch: pytest.MonkeyPatch) -> None:
    def work(*arguments: object) -> None:
        raise AssertionError("the run began")

    monkeypatch.setattr(runner, "train_stage", work)


def refusal(recipe: Recipe, run_dir: Path) -> EdgeResNetError:
    with pytest.raises(EdgeResNetError) as caught:
        runner.run_recipe(recipe, run_dir, progress=False)
    assert not run_dir.exists()
    return caught.value


@pytest.mark.usefixtures("no_work")
@pytest.mark.parametrize(
    ("overrides", "kind", "told"),
    [
        (["prune={macs: 0.5, target: abacus}"], InputError, "target abacus is not known"),
        (["prune={macs: 0.5, device: abacus}"], InputError, "device abacus is not known"),
        (
            ["prune={macs: 0.5, target: tensorrt, device: cpu}"],
            InputError,
            "target tensorrt has no device cpu",
        ),
        (["prune={macs: 0.5, threads: 0}"], InputError, "threads 0 is too small"),
        (["prune={latency: 0.5, target: tensorrt}"], MissingError, "tensorrt's gpu: "),
        (["prune={latency: 0.5, target: openvino, device: npu}"], MissingError, "openvino's npu: "),
        (["compare.device=abacus"], InputError, "device abacus is not known"),
        (
            ["export.targets=[tensorrt]", "compare.device=cpu"],
            InputError,
            "target tensorrt has no device cpu",
        ),
        (["compare.rounds=1"], InputError, "compare.rounds"),
        (["compare.threads=0"], InputError, "compare.threads"),
        (["compare.limit=0"], InputError, "compare.limit"),
        (
            ["export.targets=[qnn]", "export.precisions=[fp32]"],
            InputError,
            "target qnn has none of fp32",
        ),
        (["export.targets=[onnx, qnn]", "export.batch=1:2:4"], InputError, "takes one batch size"),
        (["export.targets=[qnn]", "export.embed_preprocess=true"], InputError, "of pixels"),
        (["export.batch=8:1"], InputError, "batch 8:1 is not a size"),
        (["export.targets=[]"], InputError, "export.targets"),
        (["export.precisions=[]"], InputError, "export.precisions"),
        (["export.for_device=nowhere.json"], InputError, "export.for_device: "),
        (["export.for_device=any", "export.precisions=[fp32]"], InputError, "would have no effect"),
        (["quantize={method: ptq, start: equalize}"], InputError, "quantize.start: "),
        (["budgets.max_drop=-3"], InputError, "budgets.max_drop"),
        (["budgets.max_p99_ms=0"], InputError, "budgets.max_p99_ms"),
        (["budgets.min_speedup=-1"], InputError, "budgets.min_speedup"),
        (["data=nowhere"], InputError, "data nowhere does not exist"),
        (["image_size=4"], InputError, "image_size"),
        (["limit=0"], InputError, "limit"),
        (["model.weights=nowhere.pt"], InputError, "checkpoint nowhere.pt does not exist"),
        (["model.weights='torchvision:'"], InputError, "does not say which weights"),
        (["train.distill=0.5"], InputError, "needs a teacher"),
        (["train.precision=fp16"], MissingError, "fp16 needs an NVIDIA GPU"),
        (["quantize.train.precision=fp16"], MissingError, "fp16 needs an NVIDIA GPU"),
        (["quantize.train.compile=true"], MissingError, "no-such-compiler is not here"),
    ],
)
def test_run_is_refused_before_its_first_step_when_a_later_one_cannot_be_done(
    tmp_path: Path,
    overrides: list[str],
    kind: type[EdgeResNetError],
    told: str,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    with pytest.raises(kind) as caught:
        runner.run_recipe(tiny(tmp_path, *overrides), tmp_path / "run", progress=False)
    assert told in caught.value.cause
    assert not (tmp_path / "run").exists()


@pytest.mark.usefixtures("no_work")
def test_run_is_refused_when_a_runtime_that_proves_is_not_installed(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    absent = Availability(False, reason="openvino: no such module", fix=OPENVINO_FIX)
    monkeypatch.setattr(OpenVinoTarget, "available", lambda self: absent)
    error = refusal(tiny(tmp_path, "export.targets=[onnx, openvino]"), tmp_path / "run")
    assert isinstance(error, MissingError)
    assert error.cause.count(OPENVINO_FIX) == 1
    # With a fault in a name beside it, the name decides and both are told.
    recipe = tiny(tmp_path, "export.targets=[onnx, openvino]", "compare.device=abacus")
    error = refusal(recipe, tmp_path / "run")
    assert isinstance(error, InputError)
    assert OPENVINO_FIX in error.cause


@pytest.mark.usefixtures("no_work")
def test_run_names_every_fault_at_once_when_there_are_several(tmp_path: Path) -> None:
    names = ["prune={macs: 0.5, target: abacus}", "compare.device=abaci", "data=nowhere"]
    told = refusal(tiny(tmp_path, *names), tmp_path / "run").cause
    assert all(part in told for part in ("target abacus", "device abaci", "data nowhere"))
    # Values that are found out while the file is read are named together with the rest.
    (tmp_path / "other").mkdir()
    values = ["budgets.max_drop=-3", "budgets.min_speedup=0", "compare.rounds=1", "train.lr=-1"]
    with pytest.raises(InputError) as caught:
        tiny(tmp_path / "other", *values, *names[:2])
    told = caught.value.cause
    parts = ("budgets.max_drop: ", "budgets.min_speedup: ", "compare.rounds: ", "train.lr: ")
    assert all(part in told for part in (*parts, "target abacus", "device abaci"))
    assert "6 fault(s)" in told


@pytest.mark.usefixtures("no_work")
def test_settings_are_not_checked_when_the_run_does_not_use_them(
    tmp_path: Path,
) -> None:
    recipe = tiny(tmp_path, "quantize.method=ptq", "quantize.train.precision=fp16")
    with pytest.raises(AssertionError, match="the run began"):
        runner.run_recipe(recipe, tmp_path / "run", progress=False)


@pytest.mark.parametrize("path", RECIPES, ids=lambda path: path.stem)
def test_shipped_recipe_has_no_fault_but_that_its_data_is_not_here(path: Path) -> None:
    from edgeresnet.run.preflight import faults_of

    assert faults_of(load_recipe(path)).lines() == []


@pytest.fixture
def made_before(monkeypatch: pytest.MonkeyPatch, files: Path) -> None:
    """Every stage is done in no time; each bundle is one of ONNX Runtime's."""

    def export_stage(run: object, name: str, target: str, precision: str, source: object) -> Path:
        return files / f"onnx-{'int8' if 'int8' in precision else 'fp32'}"

    for name in ("train_stage", "quantize_stage"):
        monkeypatch.setattr(runner, name, lambda *arguments: Stage(files / "float.pt", "key"))
    monkeypatch.setattr(runner, "quantize_rungs", lambda *arguments: [])
    monkeypatch.setattr(runner, "export_stage", export_stage)


@pytest.mark.usefixtures("made_before")
@pytest.mark.parametrize(
    ("overrides", "code", "unmeasured"),
    [
        (["export.targets=[tensorrt]"], 0, ["tensorrt-fp32", "tensorrt-int8"]),
        (
            ["export.targets=[tensorrt]", "budgets.max_drop=1"],
            3,
            ["tensorrt-fp32", "tensorrt-int8"],
        ),
        (
            ["export.targets=[openvino]", "compare.device=npu", "budgets.max_drop=1"],
            3,
            ["openvino-fp32", "openvino-int8"],
        ),
        pytest.param(
            ["export.targets=[onnx]", "budgets.max_drop=1"], 0, [], marks=pytest.mark.slow
        ),
        pytest.param(
            ["export.targets=[onnx, tensorrt]"],
            0,
            ["tensorrt-fp32", "tensorrt-int8"],
            marks=pytest.mark.slow,
        ),
        (
            ["export.targets=[onnx, tensorrt]", "budgets.max_drop=1"],
            3,
            ["tensorrt-fp32", "tensorrt-int8"],
        ),
        (
            ["export.targets=[onnx, tensorrt]", "budgets.max_p99_ms=0.000001"],
            1,
            ["tensorrt-fp32", "tensorrt-int8"],
        ),
    ],
)
def test_run_measures_what_is_here_and_tells_how_to_measure_the_rest(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    overrides: list[str],
    code: int,
    unmeasured: list[str],
) -> None:
    monkeypatch.chdir(tmp_path)
    recipe = tiny(tmp_path, *overrides)
    settings = [part for override in overrides for part in ("--set", override)]
    done = CliRunner().invoke(cli.app, ["run", "tiny.yaml", *settings, "-o", "run"])
    error = done.exception
    exit_code = error.exit_code if isinstance(error, EdgeResNetError) else done.exit_code
    assert exit_code == code, f"{done.output}{error!r}"
    result = json.loads((tmp_path / "run" / "results.json").read_text())
    assert result["unmeasured"] == unmeasured
    assert [row["name"] for row in result["rows"]] == (
        [] if "onnx" not in recipe.export.targets else ["onnx-fp32", "onnx-int8"]
    )
    assert ("is not here" in done.stderr.splitlines()[0]) is bool(unmeasured)
    assert bool(result["device_commands"]) is bool(unmeasured)
    # The file, which is for others too, does not tell where the bundles are.
    copying, *there = result["device_commands"] or [""]
    assert copying.replace("PATH/", f"{files}/") in done.output
    assert all(command in done.output for command in there)


def test_device_commands_are_those_of_the_recipe(tmp_path: Path) -> None:
    from edgeresnet.run.device_commands import device_commands

    (tmp_path / "my photos").mkdir()
    path = next(path for path in RECIPES if path.stem == "resnet50_jetson_int8")
    told = ["compare.limit=500", "compare.all_images=true", "budgets.max_class_drop=0.1"]
    recipe = load_recipe(path, [f"data={tmp_path / 'my photos'}", *told])
    names = ("tensorrt-fp16", "tensorrt-int8+fp16")
    bundles = {name: Path("runs/r/04-export") / name for name in names}
    assert device_commands(recipe, bundles, {"tensorrt": "no GPU"}) == [
        f"scp -r {' '.join(map(str, bundles.values()))} '{tmp_path / 'my photos'}' DEVICE:",
        "edgeresnet build tensorrt-fp16",
        "edgeresnet build tensorrt-int8+fp16",
        "edgeresnet compare tensorrt-fp16 tensorrt-int8+fp16 --data 'my photos' --limit 500 "
        "--max-drop 0.005 --max-class-drop 0.1 --all-images",
    ]


def test_device_commands_compare_with_a_float_bundle_when_the_device_has_only_one(
    tmp_path: Path,
) -> None:
    from edgeresnet.run.device_commands import device_commands

    path = next(path for path in RECIPES if path.stem == "resnet18_snapdragon_int8")
    names = ("onnx-fp32", "onnx-int8", "openvino-fp32", "qnn-int8")
    bundles = {name: Path(name) for name in names}
    assert device_commands(load_recipe(path), bundles, {"qnn": "none"})[-1] == (
        "edgeresnet compare onnx-fp32 qnn-int8 --data fashion-mnist --limit 1000 --max-drop 0.02"
    )
    # A chip is named to both commands, and a bundle alone has nothing to be compared with.
    chip = load_recipe(path, ["compare.device=sm8650"])
    assert device_commands(chip, {"qnn-int8": Path("qnn-int8")}, {"qnn": "none"})[1:] == [
        "edgeresnet build qnn-int8 --device sm8650",
        "edgeresnet profile qnn-int8 --device sm8650",
        "edgeresnet evaluate qnn-int8 --data fashion-mnist --device sm8650",
    ]


@pytest.mark.parametrize(
    ("target", "known", "unknown"),
    [
        ("onnx", ["cpu", "gpu"], ["npu", "dla0", "CPU", ""]),
        ("openvino", ["cpu", "gpu", "npu", "gpu.1"], ["dla0", "gpu.", "gpu.x", "abacus"]),
        ("tensorrt", ["gpu", "dla0", "dla12"], ["cpu", "npu", "dla", "dlax"]),
        ("qnn", ["npu", "sm8650", "SM8650", "57:75"], ["cpu", "sm9999", "57:", "57"]),
    ],
)
def test_target_knows_its_devices_whether_they_are_here_or_not(
    target: str, known: list[str], unknown: list[str]
) -> None:
    one = TARGETS[target]
    assert one.spec.default_device in one.spec.devices
    assert [name for name in known if not one.knows_device(name)] == []
    assert [name for name in unknown if one.knows_device(name)] == []


def test_model_is_not_loaded_when_its_target_has_no_such_device(
    files: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    for device in ("abacus", "npu"):
        with (
            pytest.raises(InputError, match=device),
            open_model(files / "onnx-int8", device=device),
        ):
            pass
    with (
        pytest.raises(MissingError, match="npu"),
        open_model(files / "openvino-int8", device="npu"),
    ):
        pass


@pytest.mark.parametrize(
    ("command", "kind"),
    [
        (["profile", "{files}/onnx-int8", "--device", "abacus"], InputError),
        (["evaluate", "{files}/onnx-int8", "--device", "abacus"], InputError),
        (["build", "{files}/onnx-int8", "--device", "abacus"], InputError),
        (
            ["compare", "{files}/float.pt", "{files}/int8.pt", "--device", "abacus"],
            InputError,
        ),
        (["compare", "{files}/onnx-fp32", "{files}/onnx-int8", "--max-drop", "-3"], InputError),
        (
            ["prune", "{files}/float.pt", "--macs", "0.5", "--device", "abacus", "-o", "x.pt"],
            InputError,
        ),
        (
            ["prune", "{files}/float.pt", "--latency", "0.5", "--target", "tensorrt", "-o", "x.pt"],
            MissingError,
        ),
        (
            ["export", "{files}/float.pt", "--target", "qnn", "--int8", "--batch", "1:2:4"],
            InputError,
        ),
        (["export", "{files}/float.pt", "--int8", "--data", "nowhere"], InputError),
    ],
)
def test_command_is_refused_before_it_loads_a_model(
    files: Path,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    command: list[str],
    kind: type[EdgeResNetError],
) -> None:
    def load(*arguments: object, **options: object) -> None:
        raise AssertionError("a model was loaded")

    monkeypatch.chdir(tmp_path)
    monkeypatch.setattr("edgeresnet.host.models.checkpoint.load_checkpoint", load)
    for target in TARGETS.values():
        for method in ("load", "save_engine"):
            monkeypatch.setattr(type(target), method, load)
    done = CliRunner().invoke(cli.app, [part.format(files=files) for part in command])
    assert isinstance(done.exception, kind), done.exception
    assert list(tmp_path.iterdir()) == []


def test_options_are_refused_when_they_are_made_of_impossible_values() -> None:
    for limits in (
        {"max_drop": -3},
        {"max_drop": float("nan")},
        {"max_p99_ms": 0},
        {"min_speedup": -1},
    ):
        with pytest.raises(InputError):
            Budgets(**limits)
    with pytest.raises(InputError):
        PruneOptions(macs=0.5, threads=0)
    assert Budgets(max_drop=0.0).given() == ["max_drop"]
