"""The command line as users meet it: output, exit codes, what is left on disk."""

from __future__ import annotations

import json
from pathlib import Path

import numpy as np
import pytest
import torch
from PIL import Image

from edgeresnet.host.models.checkpoint import Checkpoint
from tests.conftest import CommandLine
from tests.short import PROOF_IMAGES

NO_TORCH = """
import sys
for name in ("torch", "torchvision", "onnx", "onnx_ir", "onnxscript"):
    sys.modules[name] = None
"""
HEAVY = ("torch", "onnx", "numpy", "onnxruntime", "openvino", "pydantic", "yaml")


def image_folder(path: Path, classes: list[str], images: int = 12, size: int = 24) -> Path:
    generator = np.random.default_rng(0)
    for name in classes:
        (path / name).mkdir(parents=True)
        for i in range(images):
            pixels = generator.integers(0, 256, (size, size, 3), dtype=np.uint8)
            Image.fromarray(pixels).save(path / name / f"{i}.png")
    return path


def test_help_imports_nothing_heavy_when_asked(edgeresnet: CommandLine) -> None:
    before = f"""
import atexit, sys
atexit.register(lambda: print([m for m in {HEAVY} if m in sys.modules], file=sys.stderr))
"""
    found = edgeresnet("--help", before=before)
    assert found.returncode == 0, found.stderr
    assert found.stderr.strip() == "[]"
    commands = "train prune quantize export build profile evaluate compare inspect devices"
    assert all(command in found.stdout for command in [*commands.split(), "recipes", "run"])
    assert max(map(len, found.stdout.splitlines())) <= 80


def test_measuring_works_when_torch_is_unimportable(edgeresnet: CommandLine, files: Path) -> None:
    bundle = files / "onnx-int8"
    profiled = edgeresnet("profile", bundle, "--json", "-", before=NO_TORCH)
    assert profiled.returncode == 0, profiled.stderr
    figures = json.loads(profiled.stdout)
    assert figures["target"] == "onnx"
    assert figures["precision"] == "int8"
    assert 0 < figures["p50_ms"] <= figures["p90_ms"] <= figures["p95_ms"] <= figures["p99_ms"]
    evaluated = edgeresnet("evaluate", bundle, "--limit", 50, "--json", "-", before=NO_TORCH)
    assert evaluated.returncode == 0, evaluated.stderr
    figures = json.loads(evaluated.stdout)
    low, high = figures["top1_interval"]
    assert figures["n"] == 50
    assert low <= figures["top1"] <= high


# Profiling and evaluating, above, import all that this does.
@pytest.mark.slow
def test_compare_works_when_torch_is_unimportable(edgeresnet: CommandLine, files: Path) -> None:
    compared = edgeresnet(
        "compare", files / "openvino-fp32", files / "onnx-int8", "--limit", 50, "--rounds", 5,
        "--json", "-",
        before=NO_TORCH,
    )  # fmt: skip
    assert compared.returncode == 0, compared.stderr
    result = json.loads(compared.stdout)
    assert [row["precision"] for row in result["rows"]] == ["fp32", "int8"]
    assert result["rows"][0]["speedup"]["value"] == 1.0
    assert result["verdict"] == "pass"


def test_compare_exits_1_when_a_budget_is_missed(edgeresnet: CommandLine, files: Path) -> None:
    found = edgeresnet(
        "compare", files / "onnx-fp32", files / "onnx-int8", "--limit", 20, "--rounds", 3,
        "--max-p99-ms", 1e-6,
    )  # fmt: skip
    assert found.returncode == 1
    assert "max_p99_ms" in found.stderr
    assert "Traceback" not in found.stderr


def test_foreign_checkpoint_goes_all_the_way_when_it_has_a_module_prefix(
    edgeresnet: CommandLine, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    tensors = {f"module.{name}": tensor for name, tensor in checkpoint.state_dict.items()}
    torch.save(tensors, tmp_path / "ddp.pth")
    data = image_folder(tmp_path / "photos", [f"class-{i}" for i in range(10)], images=30)
    common = ("--data", data)
    steps = [
        ("quantize", "ddp.pth", *common, "--image-size", 16, "--method", "ptq", "-o", "int8.pt"),
        ("export", "int8.pt", "--target", "onnx", "--int8", "-o", "int8"),
        ("export", "ddp.pth", "--image-size", 16, "--target", "openvino", "-o", "float"),
        ("evaluate", "int8", *common),
        ("compare", "float", "int8", *common, "--rounds", 3, "--json", "compare.json"),
        ("inspect", "int8", "--json", "inspect.json"),
        ("build", "int8"),
    ]
    for step in steps:
        done = edgeresnet(*step)
        assert done.returncode == 0, (step, done.stderr)
    rows = json.loads((tmp_path / "compare.json").read_text())["rows"]
    assert rows[1]["agreement"] >= 0.8
    inspected = json.loads((tmp_path / "inspect.json").read_text())
    assert inspected["classes"][3] == "class-3"
    assert {layer["precision"] for layer in inspected["layers"]} == {"int8"}


def test_float_checkpoint_is_calibrated_first_when_exported_as_int8(
    edgeresnet: CommandLine, files: Path, tmp_path: Path
) -> None:
    done = edgeresnet("export", files / "float.pt", "--int8", "-o", "b", "--limit", 64)
    assert done.returncode == 0, done.stderr
    manifest = json.loads((tmp_path / "b" / "manifest.json").read_text())
    assert manifest["proof"]["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}
    assert manifest["provenance"]["quantization"]["method"] == "ptq"
    told = " ".join(done.stdout.split())
    assert "logits within" in told
    assert f"on {PROOF_IMAGES} images of the calibration data (bound" in told


@pytest.mark.parametrize(
    ("arguments", "code", "told"),
    [
        (("profile", "nowhere"), 2, "nowhere does not exist"),
        (("evaluate", "{files}/onnx-int8", "--data", "nowhere"), 2, "nowhere does not exist"),
        (("quantize", "nowhere.pt", "--data", "digits", "-o", "x.pt"), 2, "nowhere.pt"),
        (("quantize", "cut.pt", "--data", "digits", "-o", "x.pt"), 2, "cut.pt is damaged"),
        (("quantize", "other.pt", "--data", "digits", "-o", "x.pt"), 2, "other.pt"),
        (
            ("quantize", "{files}/float.pt", "--data", "two", "-o", "x.pt"),
            2,
            "has other classes than the model",
        ),
        (("train", "--arch", "resnet18", "--data", "one", "-o", "x.pt"), 2, "only one class"),
        (("train", "--arch", "resnet18", "--data", "empty", "-o", "x.pt"), 2, "empty/b"),
        (("run", "recipe.yaml"), 2, "epohcs: unknown key (is epochs meant?)"),
        (("prune", "{files}/float.pt", "-o", "x.pt"), 2, "needs one budget"),
        (("prune", "{files}/float.pt", "--macs", 1.5, "-o", "new/x.pt"), 2, "nothing to prune"),
        (
            ("prune", "{files}/float.pt", "--latency", 0.5, "--target", "abacus", "-o", "x.pt"),
            2,
            "abacus",
        ),
        (
            ("prune", "{files}/float.pt", "--macs", 0.5, "--data", "two", "-o", "x.pt"),
            2,
            "has other classes than the model",
        ),
        (("export", "{files}/float.pt", "--target", "abacus"), 2, "abacus"),
        (("export", "{files}/int8.pt", "--fp16", "--int8"), 2, "more than one precision"),
        (("export", "{files}/float.pt", "--batch", "8:1"), 2, "8:1"),
        (("profile", "{files}/onnx-int8", "--device", "npu"), 2, "onnx has no device npu"),
        (("profile", "{files}/onnx-int8", "--batch", "4"), 2, "not 4"),
        (("export",), 2, "no checkpoint is given"),
    ],
)
def test_error_is_one_message_when_the_user_can_mend_it(
    edgeresnet: CommandLine,
    files: Path,
    tmp_path: Path,
    arguments: tuple[object, ...],
    code: int,
    told: str,
) -> None:
    image_folder(tmp_path / "one", ["a"])
    image_folder(tmp_path / "two", ["a", "b"])
    image_folder(tmp_path / "empty", ["a"])
    (tmp_path / "empty" / "b").mkdir()
    (tmp_path / "cut.pt").write_bytes((files / "float.pt").read_bytes()[:100_000])
    torch.save({"features.0.weight": torch.zeros(64, 3, 3, 3)}, tmp_path / "other.pt")
    (tmp_path / "recipe.yaml").write_text("name: x\ndata: digits\ntrain: {epohcs: 2}\n")
    before = sorted(path.name for path in tmp_path.iterdir())
    found = edgeresnet(*(str(argument).format(files=files) for argument in arguments))
    assert found.returncode == code, found.stderr
    assert told in found.stderr
    assert "fix: " in found.stderr
    assert "Traceback" not in found.stderr
    assert sorted(path.name for path in tmp_path.iterdir()) == before


@pytest.mark.parametrize(
    ("command", "option", "wrong"),
    [
        ("train", "--arch", "resnet19"),
        ("quantize", "--method", "qta"),
        ("prune", "--pattern", "1:4"),
    ],
)
def test_choice_is_refused_with_all_choices(
    edgeresnet: CommandLine, command: str, option: str, wrong: str
) -> None:
    found = edgeresnet(command, option, wrong)
    assert found.returncode == 2
    told = " ".join(found.stderr.split())
    right = {"--arch": "resnet18", "--method": "ptq", "--pattern": "2:4"}[option]
    assert wrong in told
    assert right in told
    assert "Traceback" not in told


def test_pruned_checkpoint_shows_its_widths_before_and_after(
    edgeresnet: CommandLine, files: Path, tmp_path: Path
) -> None:
    done = edgeresnet(
        "prune", files / "float.pt", "--macs", 0.5, "--criterion", "l2", "--epochs", 1,
        "--limit", 60, "-o", "half.pt", "--json", "figures.json",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    assert sorted(p.name for p in tmp_path.iterdir()) == ["figures.json", "half.pt"]
    figures = json.loads((tmp_path / "figures.json").read_text())
    assert figures["schema"] == 1
    assert figures["macs_after"] <= 0.5 * figures["macs_before"]
    shown = edgeresnet("inspect", "half.pt")
    assert shown.returncode == 0, shown.stderr
    assert "layer1 stream" in shown.stdout
    assert max(map(len, shown.stdout.splitlines())) <= 80


@pytest.mark.parametrize(
    ("package", "arguments", "extra"),
    [
        ("torch", ("quantize", "{files}/float.pt", "--data", "digits", "-o", "x.pt"), "host"),
        ("torch", ("evaluate", "{files}/float.pt"), "host"),
        ("onnxruntime", ("profile", "{files}/onnx-int8"), "onnx"),
        ("openvino", ("profile", "{files}/openvino-int8"), "openvino"),
    ],
)
def test_missing_extra_is_named_when_its_package_is_absent(
    edgeresnet: CommandLine, files: Path, package: str, arguments: tuple[str, ...], extra: str
) -> None:
    before = f"import sys; sys.modules['{package}'] = None"
    found = edgeresnet(*(a.format(files=files) for a in arguments), before=before)
    assert found.returncode == 3, found.stderr
    assert f"pip install 'edgeresnet[{extra}]'" in found.stderr
    assert "Traceback" not in found.stderr


def test_devices_tells_what_is_missing_when_a_runtime_is_absent(edgeresnet: CommandLine) -> None:
    found = edgeresnet(
        "devices", "--json", "-", before="import sys; sys.modules['openvino'] = None"
    )
    assert found.returncode == 0, found.stderr
    targets = {target["name"]: target for target in json.loads(found.stdout)["targets"]}
    assert targets["onnx"]["available"]
    assert not targets["openvino"]["available"]
    assert targets["openvino"]["fix"] == "pip install 'edgeresnet[openvino]'"
