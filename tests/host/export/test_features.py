"""Features leave integer networks as float32, and every convolution and add stays integer."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import pytest
import torch

from edgeresnet.device.bundle.bundle import Bundle, load_bundle
from edgeresnet.device.bundle.golden import golden_fault
from edgeresnet.device.bundle.manifest import GOLDEN, Manifest
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.data.preprocess import normalize, to_pixels
from edgeresnet.device.session import open_bundle
from edgeresnet.device.targets.outputs import GivesOutputs, Output
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.export.canonical_graph import canonical_graph
from edgeresnet.host.export.encodings.encode import ENCODINGS
from edgeresnet.host.export.export_bundle import export_bundle, folded, write_model
from edgeresnet.host.export.writers import WRITERS
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.level_outputs import every_output
from edgeresnet.host.models.resnet import Widths
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import FEATURES, ONE_IMAGE, BatchRange, ExportOptions
from edgeresnet.settings.measuring import RunOptions
from edgeresnet.settings.quantization import QuantizeOptions
from tests.forged import reseal_bundle
from tests.small_checkpoints import CPU_TARGETS, SLIM, make_checkpoint

ALL = ExportOptions(features=FEATURES)
NAMES = ("logits", *FEATURES)
SIZE = 16


@pytest.fixture(scope="module")
def with_features(
    tmp_path_factory: pytest.TempPathFactory, checkpoint: Checkpoint, int8_checkpoint: Checkpoint
) -> dict[str, Bundle]:
    """Bundles with all features by target and precision."""
    folder = tmp_path_factory.mktemp("features")
    return {
        f"{target}-{precision}": export_bundle(
            source, target=target, precision=precision, out_dir=folder / f"{target}-{precision}",
            options=ALL,
        )
        for target, precision, source in (
            ("onnx", "int8", int8_checkpoint),
            ("openvino", "int8", int8_checkpoint),
            ("openvino", "fp32", checkpoint),
        )
    }  # fmt: skip


def inputs(checkpoint: Checkpoint, count: int) -> np.ndarray:
    data = open_dataset("digits", "val", limit=count)
    spec = checkpoint.input_spec
    return normalize(np.stack([to_pixels(data.image(i), spec) for i in range(count)]), spec)


def of_pytorch(checkpoint: Checkpoint, images: np.ndarray) -> dict[str, np.ndarray]:
    model = folded(checkpoint)
    for quantizer in model.quantizers().values():
        quantizer.enabled = checkpoint.precision == "int8"
    with torch.inference_mode():
        found = every_output(model, torch.from_numpy(images))
    return {name: value.numpy() for name, value in found.items()}


def given(bundle: Bundle, images: np.ndarray) -> dict[str, np.ndarray]:
    with open_bundle(bundle.path, None, RunOptions()).session as session:
        assert isinstance(session, GivesOutputs)
        parts = [session.outputs(images[i : i + 1]) for i in range(len(images))]
    return {name: np.concatenate([part[name] for part in parts]) for name in parts[0]}


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_export_bundle_gives_pytorchs_features_when_quantized(
    with_features: dict[str, Bundle], int8_checkpoint: Checkpoint, target: str
) -> None:
    bundle = with_features[f"{target}-int8"]
    images = inputs(int8_checkpoint, 8)
    expected, found = of_pytorch(int8_checkpoint, images), given(bundle, images)
    assert set(found) == set(NAMES)
    for name in NAMES:
        assert found[name].dtype == np.float32
        assert found[name].shape == expected[name].shape
        difference = found[name] - expected[name]
        # 7-bit weights, where products saturate here, move more than rounding does.
        assert np.sqrt(np.square(difference).mean()) <= 0.05 * np.ptp(expected[name])
    assert bundle.manifest.proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}
    assert set(bundle.manifest.proof["outputs"]) == set(FEATURES)


def test_export_bundle_gives_pytorchs_features_when_float(
    with_features: dict[str, Bundle], checkpoint: Checkpoint
) -> None:
    images = inputs(checkpoint, 4)
    expected = of_pytorch(checkpoint, images)
    for name, value in given(with_features["openvino-fp32"], images).items():
        assert np.allclose(value, expected[name], atol=1e-3), name


def test_manifest_names_each_output_with_shape_and_stride(
    with_features: dict[str, Bundle],
) -> None:
    stored = json.loads((with_features["onnx-int8"].path / "manifest.json").read_text())
    assert stored["format_version"] == 4
    assert stored["outputs"] == [
        {"name": "logits", "shape": [10], "stride": None},
        {"name": "C2", "shape": [16, 16, 16], "stride": 1},
        {"name": "C3", "shape": [32, 8, 8], "stride": 2},
        {"name": "C4", "shape": [64, 4, 4], "stride": 4},
        {"name": "C5", "shape": [128, 2, 2], "stride": 8},
        {"name": "pool", "shape": [128], "stride": None},
    ]


def test_stride_is_that_of_the_network_when_the_size_is_odd() -> None:
    model = folded(make_checkpoint(stem="imagenet", widths=SLIM, size=225))
    from edgeresnet.host.models.level_outputs import outputs_of

    found = outputs_of(model, 225, ("C2", "C5"), logits=False)
    assert found == (Output("C2", (16, 57, 57), 4), Output("C5", (128, 8, 8), 32))


def test_run_answers_with_logits_when_there_are_features(
    with_features: dict[str, Bundle], int8_checkpoint: Checkpoint
) -> None:
    images = inputs(int8_checkpoint, 1)
    with open_bundle(with_features["onnx-int8"].path, None, RunOptions()).session as session:
        assert isinstance(session, GivesOutputs)
        assert session.run(images).shape == (1, 10)
        assert np.array_equal(session.run(images), session.outputs(images)["logits"])


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_export_bundle_leaves_the_head_out_when_without_logits(
    tmp_path: Path, int8_checkpoint: Checkpoint, target: str
) -> None:
    options = ExportOptions(
        features=("C3", "C4"), logits=False, batch=BatchRange(smallest=1, best=2, largest=4)
    )
    bundle = export_bundle(
        int8_checkpoint, target=target, precision="int8", out_dir=tmp_path / "b", options=options
    )
    manifest = load_bundle(bundle.path).manifest
    assert manifest.output_names == ("C3", "C4")
    assert (manifest.logits, manifest.logit_bound) == (0, None)
    names = {layer["name"] for layer in manifest.layers}
    assert "layer3.1.conv2" in names
    assert not any(name.startswith(("layer4", "fc")) for name in names)
    assert manifest.macs == sum(layer["macs"] for layer in manifest.layers)
    assert manifest.proof["integer_kernels"] == {"Conv": 15, "Add": 6, "Gemm": 0}
    images = inputs(int8_checkpoint, 3)
    with open_bundle(bundle.path, None, RunOptions()).session as session:
        assert isinstance(session, GivesOutputs)
        # The deepest one, as a row.
        deepest = session.outputs(images)["C4"].reshape(3, -1)
        assert np.array_equal(session.run(images), deepest)


def test_export_bundle_refuses_to_give_nothing(tmp_path: Path, checkpoint: Checkpoint) -> None:
    with pytest.raises(InputError, match="leaves nothing to give"):
        export_bundle(
            checkpoint, target="onnx", precision="fp32", out_dir=tmp_path / "b",
            options=ExportOptions(logits=False),
        )  # fmt: skip


@pytest.mark.parametrize("target", ["onnx", "openvino", "tensorrt", "qnn"])
def test_write_model_writes_the_same_bytes_when_without_features(
    tmp_path: Path, int8_checkpoint: Checkpoint, target: str
) -> None:
    """As it was written before there were features: graph, encoding, file."""
    model, spec = folded(int8_checkpoint), int8_checkpoint.input_spec
    (tmp_path / "now").mkdir()
    (tmp_path / "before").mkdir()
    write_model(model, spec, target, "int8", tmp_path / "now", ExportOptions())
    graph = canonical_graph(model, spec.image_size, ONE_IMAGE, quantized=True)
    own = target_of(target).spec
    ENCODINGS[own.encoding(own.default_device)](graph, "int8")
    WRITERS[own.writer](graph, tmp_path / "before", "int8")
    # OpenVINO numbers what it adds on from one conversion to the next: its input is compared.
    name = "exported.onnx" if own.writer == "openvino_ir" else "model.onnx"
    assert (tmp_path / "now" / name).read_bytes() == (tmp_path / "before" / name).read_bytes()


def test_manifest_has_no_key_of_features_when_there_are_none(files: Path) -> None:
    text = (files / "onnx-int8" / "manifest.json").read_text()
    stored = json.loads(text)
    assert "outputs" not in stored
    assert stored["format_version"] == 1
    assert Manifest.from_json(text).to_json() == text
    with np.load(files / "onnx-int8" / GOLDEN) as golden:
        assert golden.files == ["images", "logits"]


def damaged(bundle: Bundle, folder: Path, change: Any) -> Bundle:
    """A copy with other golden arrays."""
    import shutil

    copy = folder / "copy"
    shutil.copytree(bundle.path, copy)
    with np.load(copy / GOLDEN) as golden:
        arrays = dict(golden)
    change(arrays)
    np.savez_compressed(copy / GOLDEN, **arrays)
    reseal_bundle(copy)
    return load_bundle(copy)


def test_golden_fault_names_the_output_when_it_is_another(
    tmp_path: Path, with_features: dict[str, Bundle]
) -> None:
    bundle = with_features["onnx-int8"]
    outputs = bundle.manifest.outputs
    start = outputs[1].columns
    end = start + outputs[2].columns

    def change(arrays: dict[str, np.ndarray]) -> None:
        """Two channels of C3 change places."""
        part = arrays["features"][:, start:end].reshape(-1, 32, 16)
        part[:, [3, 7]] = part[:, [7, 3]] + 1

    copy = damaged(bundle, tmp_path, change)
    with open_bundle(bundle.path, None, RunOptions()).session as session:
        assert golden_fault(bundle, session, "cpu")[0] is None
        fault, _ = golden_fault(copy, session, "cpu")
    assert fault is not None
    assert fault.startswith("C3 up to")
    with pytest.raises(CheckError, match="C3 up to"):
        open_bundle(copy.path, None, RunOptions())


def test_golden_fault_refuses_bounds_that_explain_anything(
    tmp_path: Path, with_features: dict[str, Bundle]
) -> None:
    def change(arrays: dict[str, np.ndarray]) -> None:
        arrays["bounds"] = arrays["bounds"] * 1000

    copy = damaged(with_features["onnx-int8"], tmp_path, change)
    with pytest.raises(InputError, match=r"C2 may be .* away, and at most"):
        open_bundle(copy.path, None, RunOptions())


def test_load_bundle_refuses_golden_features_that_are_missing(
    tmp_path: Path, with_features: dict[str, Bundle]
) -> None:
    copy = damaged(with_features["onnx-int8"], tmp_path, lambda arrays: arrays.pop("bounds"))
    with pytest.raises(InputError, match="no zip file of four arrays"):
        copy.golden_features(8)


def test_opening_refuses_a_model_of_other_outputs(
    tmp_path: Path, with_features: dict[str, Bundle]
) -> None:
    bundle = with_features["onnx-int8"]
    manifest = replace(bundle.manifest, outputs=bundle.manifest.outputs[:-1])
    options = RunOptions(outputs=manifest.output_names)
    with pytest.raises(InputError, match="its manifest tells logits, C2, C3, C4, C5"):
        target_of("onnx").load(bundle.model_path, "cpu", options)


@pytest.mark.parametrize("precision", ["int8", pytest.param("int8+fp16", marks=pytest.mark.slow)])
def test_tensorrt_engine_is_integer_when_it_gives_features(
    tmp_path: Path, int8_checkpoint: Checkpoint, precision: str
) -> None:
    if not target_of("tensorrt").available().usable:
        pytest.skip("TensorRT-RTX is not here")
    bundle = export_bundle(
        int8_checkpoint, target="tensorrt", precision=precision, out_dir=tmp_path / "b", options=ALL
    )
    assert bundle.manifest.proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}
    told = {o.name: o.type.tensor_type.elem_type for o in onnx.load(bundle.model_path).graph.output}
    assert told == dict.fromkeys(NAMES, onnx.TensorProto.FLOAT)


def test_hexagon_runs_in_integers_when_it_gives_features(
    tmp_path: Path, int8_checkpoint: Checkpoint
) -> None:
    if not target_of("qnn").available().usable:
        pytest.skip("onnxruntime-qnn is not here")
    bundle = export_bundle(
        int8_checkpoint, target="qnn", precision="int8", out_dir=tmp_path / "b", options=ALL
    )
    assert bundle.manifest.proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}
    assert bundle.manifest.proof["logits_from"] == "qnn"
    assert set(bundle.manifest.proof["outputs"]) == set(FEATURES)


def halved(arch: str) -> Widths:
    dense = Widths.dense(arch)
    inner = tuple(tuple(tuple(w // 2 for w in block) for block in level) for level in dense.inner)
    streams = [width // 2 for width in dense.streams]
    return Widths(streams[0] if arch == "resnet18" else 32, tuple(streams), inner)


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino", "tensorrt", "qnn"])
@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "half"])
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_features_of_large_networks_stay_integer(
    tmp_path: Path, arch: str, pruned: bool, target: str
) -> None:
    if not target_of(target).available().usable:
        pytest.skip(f"the runtime of {target} is not here")
    widths = halved(arch) if pruned else None
    float_one = make_checkpoint(arch, stem="imagenet", size=64, widths=widths)
    checkpoint, _ = quantize_checkpoint(
        float_one, QuantizeOptions(method="ptq", calibration_images=32),
        context=TaskContext(data="digits", limit=64),
    )  # fmt: skip
    bundle = export_bundle(
        checkpoint, target=target, precision="int8", out_dir=tmp_path / "b", options=ALL
    )
    proof = bundle.manifest.proof
    convs, adds = (20, 8) if arch == "resnet18" else (53, 16)
    assert proof["integer_kernels"] == {"Conv": convs, "Add": adds, "Gemm": 1}
    print(arch, pruned, target, {n: o["share_outside"] for n, o in proof["outputs"].items()})
    if target in CPU_TARGETS:
        open_bundle(bundle.path, None, RunOptions()).session.__exit__(None, None, None)
