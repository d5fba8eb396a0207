"""Exports agree with PyTorch, run in integers throughout, and fail when they do not."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnxruntime.quantization import CalibrationDataReader, QuantFormat, QuantType, quantize_static

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import normalize, to_pixels
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.protocol import Kernel
from edgeresnet.device.targets.registry import TARGETS, target_of
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.export.export_bundle import export_bundle, write_model
from edgeresnet.host.export.proof import prove_integer
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import BatchRange, ExportOptions
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.quantization import QuantizeOptions
from tests.small_checkpoints import CPU_TARGETS, make_checkpoint


def digits(checkpoint: Checkpoint, count: int) -> np.ndarray:
    data = open_dataset("digits", "val", limit=count)
    spec = checkpoint.input_spec
    return normalize(np.stack([to_pixels(data.image(i), spec) for i in range(count)]), spec)


def run_bundle(path: Path, images: np.ndarray, batch: int | None = None) -> np.ndarray:
    bundle = load_bundle(path)
    target = target_of(bundle.manifest.target)
    with target.load(
        bundle.model_path, "cpu", RunOptions(batch=batch, precision="fp32")
    ) as session:
        return run_padded(session, images)


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_int8_bundle_agrees_with_fake_quantization(
    files: Path, int8_checkpoint: Checkpoint, target: str
) -> None:
    images = digits(int8_checkpoint, 200)
    with torch.inference_mode():
        expected = int8_checkpoint.build()(torch.from_numpy(images)).numpy()
    found = run_bundle(files / f"{target}-int8", images)
    assert np.abs(found - expected).max() <= 0.1 * np.ptp(expected)
    # A random network is often in two minds.
    second, first = np.sort(expected, axis=1)[:, -2:].T
    sure = first - second >= 0.02 * np.ptp(expected)
    assert sure.mean() >= 0.5
    assert (found.argmax(1) == expected.argmax(1))[sure].mean() >= 0.95


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_float_bundle_equals_pytorch(files: Path, checkpoint: Checkpoint, target: str) -> None:
    images = digits(checkpoint, 50)
    with torch.inference_mode():
        expected = checkpoint.build()(torch.from_numpy(images)).numpy()
    assert np.allclose(run_bundle(files / f"{target}-fp32", images), expected, atol=1e-3)


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_manifest_counts_integer_kernels(files: Path, target: str) -> None:
    manifest = load_bundle(files / f"{target}-int8").manifest
    assert manifest.proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}


@pytest.mark.parametrize(
    ("precision", "target"),
    [
        pytest.param(
            precision, target,
            marks=[] if (precision, target) in (("int8", "onnx"), ("fp32", "openvino"))
            else [pytest.mark.slow],
        )
        for precision in ("fp32", "int8")
        for target in CPU_TARGETS
    ],
)  # fmt: skip
def test_dynamic_batch_with_pixels_inside_equals_the_plain_bundle(
    files: Path,
    tmp_path: Path,
    checkpoint: Checkpoint,
    int8_checkpoint: Checkpoint,
    target: str,
    precision: str,
) -> None:
    source = int8_checkpoint if precision == "int8" else checkpoint
    options = ExportOptions(BatchRange(1, 4, 8), embed_preprocess=True)
    bundle = export_bundle(
        source, target=target, precision=precision, out_dir=tmp_path / "b", options=options
    )
    pixels = np.random.default_rng(0).integers(0, 256, (8, 16, 16, 3), dtype=np.uint8)
    plain = run_bundle(files / f"{target}-{precision}", normalize(pixels, source.input_spec))
    for batch in (1, 8):
        found = run_bundle(bundle.path, pixels[:batch])
        tolerance = 0.03 * np.ptp(plain) if precision == "int8" else 1e-3
        assert np.abs(found - plain[:batch]).max() <= tolerance


def test_prove_integer_names_the_layer_when_it_runs_in_float() -> None:
    kernels = [
        Kernel("QLinearConv", "int8", "cpu", ("conv1",)),
        Kernel("Conv", "fp32", "cpu", ("layer1.0.conv1",)),
    ]
    expected = {"conv1": "Conv", "layer1.0.conv1": "Conv", "layer1.0.add": "Add"}
    with pytest.raises(CheckError) as caught:
        prove_integer(expected, kernels, "onnx")
    assert "layer1.0.conv1 runs in float (Conv)" in caught.value.cause
    assert "layer1.0.add is in none of its kernels" in caught.value.cause
    assert prove_integer({"conv1": "Conv"}, kernels, "onnx") == {"Conv": 1, "Add": 0, "Gemm": 0}


@pytest.mark.parametrize(
    "target", [t if t in CPU_TARGETS else pytest.param(t, marks=pytest.mark.slow) for t in TARGETS]
)
def test_export_succeeds_when_two_tensors_have_the_same_scale(
    int8_checkpoint: Checkpoint, tmp_path: Path, target: str
) -> None:
    """The exporter stores equal constants once, and then two layers have one name."""
    weights = dict(int8_checkpoint.state_dict)
    weights["pool_quant.scale"] = weights["layer4.1.output_quant.scale"].clone()
    weights["layer2.0.conv1_quant.scale"] = weights["layer1.1.output_quant.scale"].clone()
    same = replace(int8_checkpoint, state_dict=weights)
    bundle = export_bundle(same, target=target, precision="int8", out_dir=tmp_path / target)
    assert bundle.manifest.proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}


def test_export_fails_and_writes_nothing_when_a_branch_has_no_quantizer(
    int8_checkpoint: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """The peers' mistake: the convolution's output goes into the add in float."""
    build = Checkpoint.build

    def without_one(self: Checkpoint) -> torch.nn.Module:
        model = build(self)
        model.get_submodule("layer2.0").conv2_quant = torch.nn.Identity()
        return model

    monkeypatch.setattr(Checkpoint, "build", without_one)
    with pytest.raises(CheckError, match=r"layer2\.0"):
        export_bundle(int8_checkpoint, target="onnx", precision="int8", out_dir=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


def test_export_refuses_when_int8_is_asked_of_a_float_checkpoint(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    with pytest.raises(InputError, match="quantized checkpoint"):
        export_bundle(checkpoint, target="onnx", precision="int8", out_dir=tmp_path / "b")


@pytest.mark.parametrize("target", ["onnx", "tensorrt"])
def test_quantizers_stay_apart_when_their_scales_are_equal(
    int8_checkpoint: Checkpoint, tmp_path: Path, target: str
) -> None:
    """The exporter gives equal scales one tensor; here of a signed and a non-negative grid."""
    weights = dict(int8_checkpoint.state_dict)
    weights["layer1.0.conv2_quant.scale"] = weights["layer1.0.output_quant.scale"].clone()
    same = replace(int8_checkpoint, state_dict=weights)
    model = same.build()
    assert isinstance(model, QuantResNet)
    model.fold()
    _, files = write_model(model.eval(), same.input_spec, target, "int8", tmp_path, ExportOptions())
    path = files["model.onnx"]
    onnx.checker.check_model(path, full_check=True)
    images = digits(same, 20)
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    with TARGETS["onnx"].load(path, "cpu", RunOptions(as_written=True)) as session:
        found = run_padded(session, images)
    assert np.abs(found - expected).max() <= 0.1 * np.ptp(expected)


class _Reader(CalibrationDataReader):  # type: ignore[misc]
    def __init__(self, images: np.ndarray, name: str) -> None:
        self._batches = iter([{name: image[None]} for image in images])

    def get_next(self) -> dict[str, np.ndarray] | None:
        return next(self._batches, None)


@pytest.mark.filterwarnings("ignore::DeprecationWarning")
def test_calibration_is_no_worse_than_onnxruntimes_when_compared(
    files: Path, checkpoint: Checkpoint, tmp_path: Path
) -> None:
    images = digits(checkpoint, 200)
    float_path = files / "onnx-fp32" / "model.onnx"
    name = onnx.load(float_path).graph.input[0].name
    theirs_path = tmp_path / "theirs.onnx"
    quantize_static(
        float_path, theirs_path, _Reader(images[:32], name), quant_format=QuantFormat.QDQ,
        per_channel=True, activation_type=QuantType.QUInt8, weight_type=QuantType.QInt8,
        reduce_range=True,
    )  # fmt: skip
    expected = run_bundle(files / "onnx-fp32", images)
    with TARGETS["onnx"].load(theirs_path, "cpu", RunOptions()) as session:
        theirs = run_padded(session, images)
    ours = run_bundle(files / "onnx-int8", images)

    def error(logits: np.ndarray) -> float:
        return float(np.square(logits - expected).mean())

    assert error(ours) <= 1.5 * error(theirs)


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_layers_of_int8_bundle_are_int8_when_profiled(files: Path, target: str) -> None:
    bundle = load_bundle(files / f"{target}-int8")
    options = RunOptions(profile_layers=True, threads=1)
    with TARGETS[target].load(bundle.model_path, "cpu", options) as session:
        for _ in range(3):
            session.run(np.zeros((1, 3, 16, 16), np.float32))
        layers = session.layers(2)
    convolutions = [layer for layer in layers if "Conv" in layer.op]
    assert len(convolutions) == 20
    assert {layer.precision for layer in convolutions} == {"int8"}
    assert all(layer.time_ms >= 0 for layer in layers)


def test_integer_kernels_do_not_saturate_when_weights_are_narrow(
    int8_checkpoint: Checkpoint, files: Path
) -> None:
    """The same graph, in integer kernels and operator by operator in float, says the same."""
    import onnxruntime

    images = digits(int8_checkpoint, 100)
    options = onnxruntime.SessionOptions()
    options.graph_optimization_level = onnxruntime.GraphOptimizationLevel.ORT_DISABLE_ALL
    options.log_severity_level = 3
    path = files / "onnx-int8" / "model.onnx"
    plain = onnxruntime.InferenceSession(str(path), options, providers=["CPUExecutionProvider"])
    name = plain.get_inputs()[0].name
    expected = np.concatenate([plain.run(None, {name: image[None]})[0] for image in images])
    found = run_bundle(files / "onnx-int8", images)
    assert np.abs(found - expected).max() <= 0.05 * np.ptp(expected)


@pytest.mark.slow
def test_resnet50_runs_in_integers_throughout_when_exported(tmp_path: Path) -> None:
    source = replace(make_checkpoint("resnet50", "imagenet", 64), data="digits")
    options = QuantizeOptions(method="ptq", calibration_images=16)
    quantized, _ = quantize_checkpoint(
        source, options=options, context=TaskContext(data="digits", limit=32)
    )
    for target in TARGETS:
        bundle = export_bundle(
            quantized, target=target, precision="int8", out_dir=tmp_path / target
        )
        manifest = json.loads((bundle.path / "manifest.json").read_text())
        assert manifest["proof"]["integer_kernels"] == {"Conv": 53, "Add": 16, "Gemm": 1}
