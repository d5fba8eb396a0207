"""An option that a command has no use for, for what it is given, is refused by its name."""

from __future__ import annotations

from pathlib import Path

import pytest

from edgeresnet.api.opening import run_options_of, with_effect
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.device.targets.spec import RUN_OPTIONS
from edgeresnet.errors import InputError
from edgeresnet.run.preflight import fault_lines
from edgeresnet.run.recipe import load_recipe
from edgeresnet.settings.measuring import RunOptions
from tests.cli.test_app import image_folder
from tests.conftest import Command
from tests.host.training.test_train_checkpoint import narrow_weights
from tests.small_models import write_onnx, write_openvino

DATA = ("--data", "photos")
PRUNE = ("prune", "own.pt", *DATA, "-o", "x.pt")
QUANTIZE = ("quantize", "own.pt", *DATA, "-o", "x.pt")
EXPORT = ("export", "own.pt", *DATA, "-o", "x")
TRAIN = ("train", "--arch", "resnet18", *DATA, "-o", "x.pt")
MODELS = ("own.pt", "foreign.pth", "m.onnx", "m.xml", "bundle")
OTHERS = {
    "a pattern: step": (*PRUNE, "--pattern", "2:4", "--step", 8),
    "a pattern: floor": (*PRUNE, "--pattern", "2:4", "--floor", 0.5),
    "a pattern: remove_blocks": (*PRUNE, "--pattern", "2:4", "--remove-blocks"),
    "a pattern: iterations": (*PRUNE, "--pattern", "2:4", "--iterations", 2),
    "a pattern: compare_criteria": (*PRUNE, "--pattern", "2:4", "--compare-criteria"),
    "a pattern: target": (*PRUNE, "--pattern", "2:4", "--target", "openvino"),
    "a pattern: device": (*PRUNE, "--pattern", "2:4", "--device", "cpu"),
    "a pattern: threads": (*PRUNE, "--pattern", "2:4", "--threads", 1),
    "no latency: threads": (*PRUNE, "--macs", 0.5, "--threads", 1),
    "a step: target": (*PRUNE, "--macs", 0.5, "--step", 4, "--target", "openvino"),
    "a step: device": (*PRUNE, "--macs", 0.5, "--step", 4, "--device", "cpu"),
    "ptq: --epochs": (*QUANTIZE, "--method", "ptq", "--epochs", 2),
    "ptq: --batch-size": (*QUANTIZE, "--method", "ptq", "--batch-size", 8),
    "ptq: --lr": (*QUANTIZE, "--method", "ptq", "--lr", 0.5),
    "ptq: --augment": (*QUANTIZE, "--method", "ptq", "--augment", "flip"),
    "another arch: --arch": (*QUANTIZE, "--arch", "resnet50"),
    "our own: --raw": (*QUANTIZE, "--raw"),
    "no weights: --raw": (*TRAIN, "--raw"),
    "float: --calibration-images": (*EXPORT, "--calibration-images", 8),
    "onnx: --a16": (*EXPORT, "--int8", "--a16"),
    "onnx: --workspace-mib": ("build", "bundle", "--workspace-mib", 8),
    "onnx: --gpu-fallback": ("build", "bundle", "--gpu-fallback"),
    "nothing measured: --threads": ("devices", "--threads", 1),
    "a schema: NAME": ("recipes", "quickstart", "--schema"),
    "no recipe: -o": ("recipes", "-o", "x.yaml"),
    "a bundle's own: --mean": ("evaluate", "bundle", *DATA, "--mean", "0.5,0.5,0.5"),
    "a bundle's own: --image-size": ("inspect", "bundle", "--image-size", 32),
    "a fixed size: --image-size": ("profile", "m.onnx", "--image-size", 32),
}  # fmt: skip


@pytest.fixture(scope="module")
def given(tmp_path_factory: pytest.TempPathFactory, files: Path) -> Path:
    """One of each kind of model, and images."""
    folder = tmp_path_factory.mktemp("given")
    narrow_weights(folder / "own.pt", classes=2)
    narrow_weights(folder / "foreign.pth", classes=2)
    write_openvino(write_onnx(folder / "m.onnx", classes=2))
    (folder / "bundle").symlink_to(files / "onnx-fp32")
    image_folder(folder / "photos", ["a", "b"], size=8)
    return folder


@pytest.fixture(autouse=True)
def _place(given: Path, monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.chdir(given)


@pytest.mark.parametrize("case", OTHERS)
def test_an_option_without_effect_is_refused_by_its_name(command: Command, case: str) -> None:
    before = sorted(Path().iterdir())
    code, _, err = command(*OTHERS[case])
    assert code == 2, err
    # A class of settings names a field, which is the option's name without dashes.
    named = case.partition(": ")[2]
    assert named in err
    assert err.count("fix: ") == 1
    assert sorted(Path().iterdir()) == before


@pytest.mark.parametrize("option", ["--no-cuda-graph", "--spin-wait", "--allow-fallback"])
@pytest.mark.parametrize("model", MODELS)
def test_a_run_option_of_other_devices_is_refused(
    command: Command, model: str, option: str
) -> None:
    code, _, err = command("profile", model, option)
    assert code == 2
    assert f"{option} would have no effect: {model} on its usual device" in err


@pytest.mark.parametrize("what", ["evaluate", "compare"])
def test_every_measuring_command_refuses_it(command: Command, what: str) -> None:
    models = ("bundle", "m.onnx") if what == "compare" else ("bundle",)
    code, _, err = command(what, *models, *DATA, "--allow-fallback")
    assert code == 2
    assert "--allow-fallback would have no effect" in err


def test_each_target_says_which_run_options_it_has(given: Path) -> None:
    table = {
        f"{name} {device}": sorted(target.spec.run_options(device))
        for name, target in TARGETS.items()
        for device in target.spec.devices
        if device in ("cpu", "gpu", "npu", "dla0")
    }
    assert table == {
        "onnx cpu": ["threads"],
        "onnx gpu": ["allow_fallback"],
        "openvino cpu": ["threads"],
        "openvino gpu": ["allow_fallback"],
        "openvino npu": ["allow_fallback"],
        "tensorrt gpu": ["cuda_graph", "spin_wait"],
        "tensorrt dla0": ["cuda_graph", "spin_wait"],
        "qnn npu": ["allow_fallback"],
    }
    assert run_options_of(given / "own.pt", None) == {"threads"}
    assert run_options_of(given / "m.xml", "npu") == {"allow_fallback"}


def test_options_without_use_are_left_out_for_a_model_among_others() -> None:
    told = RunOptions(threads=2, batch=4, allow_fallback=True)
    assert with_effect(told, frozenset({"threads"})) == RunOptions(threads=2, batch=4)
    assert with_effect(told, RUN_OPTIONS) == told


def test_a_recipe_refuses_threads_where_no_device_has_any(tmp_path: Path) -> None:
    text = "name: r\ndata: digits\ntrain: {epochs: 1}\nexport: {targets: [qnn]}\n"
    path = tmp_path / "r.yaml"
    path.write_text(f"{text}compare: {{threads: 2}}\nwrong: 1\n")
    with pytest.raises(InputError, match=r"compare.threads: none of these targets"):
        load_recipe(path, check=fault_lines)
