"""What is told of a network's input is used, or refused; nothing has no effect with exit 0."""

from __future__ import annotations

import json
import shutil
from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

import edgeresnet as er
from edgeresnet.api.inspect import inspect
from edgeresnet.api.opening import load_checkpoint, open_model
from edgeresnet.api.train import take_checkpoint
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.inputs import InputChanges, InputSpec
from tests.conftest import CommandLine
from tests.small_models import write_onnx, write_openvino

DATA = TaskContext(data="digits", limit=20)
SQUARE = InputChanges(resize=20, interpolation="bicubic", channels="bgr", mean="0.5", std="1/2")  # type: ignore[arg-type]
TOLD = InputSpec(16, (0.5,) * 3, (0.5,) * 3, resize=20, interpolation="bicubic", channels="bgr")


@pytest.mark.parametrize(
    ("told", "message"),
    [
        ({"image_size": 32}, "--image-size 32 has no effect"),
        ({"inputs": InputChanges(resize=20)}, "--resize would have no effect"),
        (
            {"inputs": InputChanges(channels="bgr", crop_ratio=0.5)},
            "--crop-ratio, --channels would",
        ),
    ],
)
def test_bundle_refuses_what_it_has_itself(files: Path, told: dict[str, Any], message: str) -> None:
    bundle = files / "onnx-int8"
    with pytest.raises(InputError, match=message):
        er.evaluate(bundle, context=DATA, **told)
    with pytest.raises(InputError, match=message):
        er.compare([bundle, files / "openvino-int8"], rounds=2, context=DATA, **told)
    if "image_size" in told:
        for task in (er.profile, inspect):
            with pytest.raises(InputError, match=message):
                task(bundle, **told)


def test_bundle_takes_the_image_size_that_it_has(files: Path) -> None:
    assert inspect(files / "onnx-int8", image_size=16)["image_size"] == 16
    with open_model(files / "onnx-int8", image_size=16) as opened:
        assert opened.input_spec == InputSpec(16)


@pytest.mark.parametrize("suffix", [".onnx", ".xml"])
def test_models_take_the_image_size_that_they_have_and_no_other(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch, suffix: str
) -> None:
    from edgeresnet.api import compare as module

    bare = write_onnx(tmp_path / "fixed.onnx")
    bare = bare if suffix == ".onnx" else write_openvino(bare)
    assert er.evaluate(bare, image_size=16, context=DATA)["n"] == 20
    assert inspect(bare, image_size=16)["image_size"] == 16
    for task in (er.evaluate, er.profile, inspect):
        with pytest.raises(InputError, match="--image-size 32 has no effect"):
            task(bare, image_size=32)
    seen: list[int] = []
    monkeypatch.setattr(
        module, "compare_models",
        lambda models, *args, **options: seen.extend(m.input_spec.image_size for m in models)
        or {"budgets": [], "rows": [], "strict": False},
    )  # fmt: skip
    bundles = [files / "onnx-int8", files / "openvino-int8"]
    er.compare(bundles, image_size=16, context=DATA)
    er.compare([bundles[0], bare, files / "float.pt"], image_size=16, context=DATA)
    assert seen == [16] * 5


def test_inspect_counts_at_the_image_size_that_is_told(files: Path, tmp_path: Path) -> None:
    free = write_onnx(tmp_path / "open.onnx", shape=("N", 3, "H", "W"))
    for path in (files / "float.pt", free):
        small, large = (inspect(path, image_size=size) for size in (16, 32))
        assert (small["image_size"], large["image_size"]) == (16, 32)
        assert 3.5 < large["macs"] / small["macs"] < 4.01


def test_compare_gives_what_is_told_to_the_models_that_leave_it_open(
    files: Path, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    from edgeresnet.api import compare as module

    fixed = write_onnx(tmp_path / "fixed.onnx")
    free = write_onnx(tmp_path / "open.onnx", shape=("N", 3, "H", "W"))
    seen: dict[str, InputSpec] = {}

    def look(models: Any, *args: Any, **kwargs: Any) -> dict[str, Any]:
        seen.update({model.name: model.input_spec for model in models})
        return {"budgets": [], "rows": [], "strict": False}

    monkeypatch.setattr(module, "compare_models", look)
    models = [files / "onnx-int8", fixed, free, files / "float.pt"]
    er.compare(models, image_size=32, inputs=InputChanges(channels="bgr"), context=DATA)
    assert seen == {
        "onnx-int8": InputSpec(16),
        "fixed.onnx": InputSpec(16, channels="bgr"),
        "open.onnx": InputSpec(32, channels="bgr"),
        "float.pt": InputSpec(32, channels="bgr"),
    }
    with pytest.raises(InputError, match="--image-size 32 has no effect"):
        er.compare([files / "onnx-int8", fixed], image_size=32, context=DATA)


@pytest.mark.parametrize("name", ["float.pt", "bare"])
def test_evaluate_uses_what_is_told(files: Path, tmp_path: Path, name: str) -> None:
    path = files / name if name != "bare" else write_onnx(tmp_path / "m.onnx")
    with open_model(path, inputs=SQUARE) as opened:
        assert opened.input_spec == TOLD


def test_checkpoints_keep_what_is_told(files: Path, tmp_path: Path) -> None:
    quantized = tmp_path / "int8.pt"
    options = er.QuantizeOptions(method="ptq", calibration_images=8)
    er.quantize(files / "float.pt", quantized, options, inputs=SQUARE, context=DATA)
    assert load_checkpoint(quantized).input_spec == TOLD
    assert torch.load(quantized, weights_only=True)["version"] == 2
    bundle = er.export(
        files / "float.pt", tmp_path / "b", target="onnx", precision="fp32", inputs=SQUARE,
        options=ExportOptions(), context=DATA,
    )  # fmt: skip
    assert bundle.manifest.input_spec == TOLD
    assert json.loads((bundle.path / "manifest.json").read_text())["format_version"] == 2
    assert load_bundle(bundle.path).manifest.input_spec == TOLD
    brief = er.TrainOptions(epochs=1, batch_size=16, augment="none", workers=0)
    settings = er.ModelSettings("resnet18", weights=str(files / "float.pt"))
    er.train(tmp_path / "t.pt", settings, brief, inputs=SQUARE, context=DATA)
    assert load_checkpoint(tmp_path / "t.pt").input_spec == TOLD


def test_quantization_that_calibrates_nothing_refuses_its_images(
    files: Path, tmp_path: Path
) -> None:
    for name, precision in (("float.pt", "fp32"), ("int8.pt", "int8")):
        with pytest.raises(InputError, match="--calibration-images 8 would have no effect"):
            er.export(
                files / name, tmp_path / "b", target="onnx", precision=precision,
                calibration_images=8, context=DATA,
            )  # fmt: skip


def test_arch_of_a_file_is_its_own(files: Path, tmp_path: Path) -> None:
    assert load_checkpoint(files / "float.pt", arch="resnet18").arch == "resnet18"
    with pytest.raises(InputError, match="resnet18, so --arch resnet50 has no effect"):
        load_checkpoint(files / "float.pt", arch="resnet50")
    # A recipe that takes it as it is may leave the architecture out, and must not say another.
    take_checkpoint(tmp_path / "taken.pt", str(files / "float.pt"))
    with pytest.raises(InputError, match="resnet18, so --arch resnet50 has no effect"):
        take_checkpoint(tmp_path / "taken.pt", str(files / "float.pt"), arch="resnet50")


def test_another_size_keeps_the_spec(checkpoint: Checkpoint, tmp_path: Path) -> None:
    path = tmp_path / "c.PT"
    from dataclasses import replace

    save_checkpoint(replace(checkpoint, input_spec=TOLD), path)
    with open_model(path, image_size=32, device="CPU") as opened:
        assert opened.input_spec == replace(TOLD, image_size=32, resize=40)
    assert inspect(path, image_size=32)["image_size"] == 32


def test_suffixes_and_devices_are_known_in_any_case(tmp_path: Path) -> None:
    model = write_onnx(tmp_path / "m.onnx")
    network = write_openvino(model)
    shutil.copy(model, tmp_path / "N.ONNX")
    shutil.copy(network, tmp_path / "X.XML")
    shutil.copy(network.with_suffix(".bin"), tmp_path / "X.BIN")
    for name in ("N.ONNX", "X.XML"):
        with open_model(tmp_path / name, device="CPU") as opened:
            assert (opened.device, opened.session.classes) == ("cpu", 10)
        assert inspect(tmp_path / name)["parameters"] == 280


@pytest.mark.parametrize("name", ["n" * 300 + ".onnx", "loop.onnx", "lone.xml", "half.xml"])
def test_path_that_cannot_be_read_is_one_message(tmp_path: Path, files: Path, name: str) -> None:
    (tmp_path / "loop.onnx").symlink_to(tmp_path / "loop.onnx")
    network = write_openvino(write_onnx(tmp_path / "m.onnx"))
    shutil.copy(network, tmp_path / "lone.xml")
    (tmp_path / "half.xml").write_bytes(network.read_bytes()[:500])
    (tmp_path / "half.bin").write_bytes(b"")
    path = tmp_path / name
    for task in (er.profile, inspect, lambda path: er.compare([path, path], context=DATA)):
        with pytest.raises(InputError) as caught:
            task(path)
        assert caught.value.fix
        assert len(caught.value.cause) < 2000


def test_command_line_tells_it_all(edgeresnet: CommandLine, tmp_path: Path) -> None:
    write_onnx(tmp_path / "m.onnx")
    told = (
        "--resize", "20", "--interpolation", "bicubic", "--mean", "104/255,117/255,123/255",
        "--std", "1/255", "--channels", "bgr", "--data", "digits", "--limit", 20,
    )  # fmt: skip
    found = edgeresnet("evaluate", "m.onnx", *told, "--device", "CPU", "--json", "r.json")
    assert found.returncode == 0, found.stderr
    plain = edgeresnet("evaluate", "m.onnx", *told[-4:], "--json", "p.json")
    assert plain.returncode == 0, plain.stderr
    for wrong in (("--mean", "104,117,123"), ("--resize", "9"), ("--resize", "9x9")):
        found = edgeresnet("evaluate", "m.onnx", *wrong, "--data", "digits", "--limit", 20)
        assert found.returncode == 2, found.stderr
        assert "Traceback" not in found.stderr


def test_probabilities_are_said(edgeresnet: CommandLine, tmp_path: Path) -> None:
    from tests.device.targets.test_bare_models import Form, write

    write(tmp_path / "m.onnx", Form(ending="Softmax"))
    found = edgeresnet("evaluate", "m.onnx", "--data", "digits", "--limit", 20, "--json", "r.json")
    assert found.returncode == 0, found.stderr
    assert "probabilities and no logits" in found.stderr
    assert json.loads((tmp_path / "r.json").read_text())["answers"] == "probabilities"
    assert np.isfinite(json.loads((tmp_path / "r.json").read_text())["top1"])


def test_options_of_a_training_are_refused_where_none_is_made(
    edgeresnet: CommandLine, files: Path
) -> None:
    given = ("--data", "digits", "--method", "ptq", "--epochs", 5, "-o", "q.pt")
    found = edgeresnet("quantize", files / "float.pt", *given)
    assert found.returncode == 2
    assert "--epochs would have no effect" in found.stderr
