"""Weights of a few bits: on their grid in the file that travels, in integer kernels, and proven."""

from __future__ import annotations

import re
import zlib
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgeresnet.cli.export import _size_lines
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.registry import target_of
from edgeresnet.host.export.export_bundle import export_bundle, folded, write_model
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint, save_checkpoint
from edgeresnet.host.models.quant_resnet import QuantConv, QuantResNet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.measuring import RunOptions
from tests.mixed import NARROW
from tests.small_bundles import write_small_bundle
from tests.small_checkpoints import CPU_TARGETS, make_checkpoint

ENDS = ("conv1", "fc")
MODEL_FILES = {"onnx": ["model.onnx"], "openvino": ["model.xml", "model.bin"]}
HERE = target_of("qnn").available()
emulator = pytest.mark.skipif(not HERE.usable, reason=f"no emulator here: {HERE.reason}")


def few_bits(bits: int) -> Checkpoint:
    source = replace(make_checkpoint(size=32, widths=NARROW), data=None)
    model = QuantResNet(source.build(), weight_bits=bits)  # type: ignore[arg-type]
    calibrate(model, [torch.randn(8, 3, 32, 32)], "mse")
    return replace(
        source,
        precision="int8",
        quantization={"weight_bits": bits},
        state_dict=model.state_dict(),
    )


@pytest.mark.parametrize("bits", [4, pytest.param(5, marks=pytest.mark.slow), 6])
def test_weights_are_on_the_grid_of_their_bits(bits: int) -> None:
    model = few_bits(bits).build()
    assert isinstance(model, QuantResNet)
    high = 2 ** (bits - 1) - 1
    weights = {n: q.range[1] for n, q in model.quantizers().items() if n.endswith("weight_quant")}
    assert weights == {
        name: 63 if name.removesuffix(".weight_quant") in ENDS else high for name in weights
    }
    convolution = model.get_submodule("layer1.0.conv1")
    assert isinstance(convolution, QuantConv)
    quantizer = convolution.weight_quant
    steps = quantizer(convolution.weight) / quantizer.step()[:, None, None, None]
    assert steps.abs().max().item() == pytest.approx(high, abs=1e-4)


def test_a_checkpoint_of_four_bits_comes_back(tmp_path: Path) -> None:
    made = few_bits(4)
    save_checkpoint(made, tmp_path / "c.pt")
    images = torch.randn(2, 3, 32, 32)
    with torch.inference_mode():
        assert torch.equal(load_checkpoint(tmp_path / "c.pt").build()(images), made.build()(images))


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_four_bits_are_integer_kernels_with_four_bits_in_the_file(
    tmp_path: Path, target: str
) -> None:
    bundle = export_bundle(few_bits(4), target=target, precision="int8", out_dir=tmp_path / "b")
    assert load_bundle(bundle.path).manifest.proof["integer_kernels"]
    size = sum((bundle.path / n).stat().st_size for n in MODEL_FILES[target])
    (line,) = _size_lines(bundle)
    told = re.fullmatch(r"4-bit weights: ([\d,]+) bytes, compressed \(zip, gzip\) ([\d,]+)", line)
    assert told is not None
    plain, compressed = (int(text.replace(",", "")) for text in told.groups())
    assert plain == size
    contents = [(bundle.path / name).read_bytes() for name in MODEL_FILES[target]]
    assert compressed == sum(len(zlib.compress(content)) for content in contents)
    assert compressed < 0.8 * plain
    if target != "onnx":
        return
    graph = onnx.load(str(bundle.path / bundle.manifest.model)).graph
    weights = {
        tensor.name: numpy_helper.to_array(tensor)
        for tensor in graph.initializer
        if tensor.name.endswith(".int8") and tensor.name.count("weight")
    }
    assert len(weights) == 21
    for name, weight in weights.items():
        at_end = name.split(".weight")[0] in ENDS
        assert np.abs(weight).max() <= (63 if at_end else 7), name


def hexagons(folder: Path) -> Path:
    """The model that Hexagon gets of a network of 4 bits."""
    folder.mkdir()
    source = few_bits(4)
    write_model(folded(source), source.input_spec, "qnn", "int8", folder, ExportOptions())
    return folder / "model.onnx"


def types_of_weights(path: Path) -> dict[str, int]:
    """Of the convolutions and the classifier, by their names."""
    graph = onnx.load(str(path)).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    stored = {n.output[0]: n.input[0] for n in graph.node if n.op_type == "DequantizeLinear"}
    return {
        node.name: types[stored[node.input[1]]]
        for node in graph.node
        if node.op_type in ("Conv", "Gemm")
    }


def test_hexagon_gets_four_bits_as_int4_and_more_as_int8(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    path = hexagons(tmp_path / "four")
    types = types_of_weights(path)
    assert len(types) == 21
    int4, int8 = onnx.TensorProto.INT4, onnx.TensorProto.INT8
    assert {n: t for n, t in types.items() if t != int4} == dict.fromkeys(ENDS, int8)
    # The same numbers, operator by operator, as what was stored in 8 bits.
    monkeypatch.setattr("edgeresnet.host.export.encodings.encode.pack_weights", lambda graph: None)
    wide = hexagons(tmp_path / "wide")
    assert set(types_of_weights(wide).values()) == {int8}
    assert path.stat().st_size < 0.75 * wide.stat().st_size
    images = np.random.default_rng(0).normal(0, 1, (2, 3, 32, 32)).astype(np.float32)
    assert np.array_equal(answers("onnx", path, images), answers("onnx", wide, images))


def answers(target: str, path: Path, images: np.ndarray) -> np.ndarray:
    runtime = target_of(target)
    options = RunOptions(as_written=target == "onnx")
    with runtime.load(path, runtime.spec.default_device, options) as session:
        return np.concatenate([session.run(image[None]) for image in images])


@emulator
@pytest.mark.parametrize("precision", ["int8", pytest.param("w8a16", marks=pytest.mark.slow)])
def test_four_bits_on_the_emulator_are_pytorchs(tmp_path: Path, precision: str) -> None:
    out_dir = tmp_path / "bundle"
    bundle = export_bundle(few_bits(4), target="qnn", precision=precision, out_dir=out_dir)
    # The export has held the emulator's logits against PyTorch's, and found all on the NPU.
    proof = bundle.manifest.proof
    assert proof["logits_from"] == "qnn"
    assert proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}
    assert onnx.TensorProto.INT4 in types_of_weights(bundle.path / bundle.manifest.model).values()


def test_nothing_is_said_of_the_size_of_eight_bits_or_floats(tmp_path: Path) -> None:
    bundle = write_small_bundle(tmp_path / "bundle")
    size = (bundle / "model.onnx").stat().st_size
    for quantization, told in (
        (None, []),
        ({}, []),
        ({"weight_bits": 8}, []),
        ({"weight_bits": 6}, [f"6-bit weights: {size:,} bytes, compressed"]),
    ):
        found = load_bundle(bundle)
        manifest = replace(found.manifest, provenance={"quantization": quantization})
        lines = _size_lines(replace(found, manifest=manifest))
        assert [line.partition(" (zip")[0] for line in lines] == told
