"""The layers that are to stay float are exactly the float ones, in each runtime's own graph."""

from __future__ import annotations

import copy
from pathlib import Path

import numpy as np
import onnx
import onnx_ir as ir
import pytest
import torch

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.protocol import Kernel
from edgeresnet.device.targets.registry import TARGETS, target_of
from edgeresnet.device.targets.tensorrt.kernels import engine_kernels
from edgeresnet.errors import CheckError
from edgeresnet.host.export import export_bundle
from edgeresnet.host.export.canonical_graph import canonical_graph
from edgeresnet.host.export.lint import check_canonical
from edgeresnet.host.export.proof import expected_layers, prove_integer
from edgeresnet.host.models.fake_quant import FakeQuant, Kind
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.settings.export import BatchRange, BuildOptions, ExportOptions
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions
from tests.mixed import SOME, calibrated, mixed_checkpoint
from tests.small_checkpoints import CPU_TARGETS

ADDS = ("layer2.0.add", "layer3.0.add")
INTEGERS = {"Conv": 15, "Add": 6, "Gemm": 0}
COMPILER = target_of("tensorrt").available()
HEXAGON = target_of("qnn").available()
emulator = pytest.mark.skipif(not HEXAGON.usable, reason=f"no emulator: {HEXAGON.reason}")
needs_compiler = pytest.mark.skipif(not COMPILER.usable, reason=f"no compiler: {COMPILER.reason}")


@pytest.fixture(scope="module")
def model() -> QuantResNet:
    return calibrated()[1]


@pytest.fixture(scope="module")
def canonical(model: QuantResNet) -> bytes:
    graph = canonical_graph(model, 32, BatchRange(1, 1, 1), quantized=True)
    content: bytes = ir.to_proto(graph).SerializeToString()
    return content


def copy_of(canonical: bytes) -> ir.Model:
    return ir.from_proto(onnx.load_from_string(canonical))


@pytest.fixture
def written(
    model: QuantResNet, canonical: bytes, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> object:
    """Writes the model for a target; the canonical graph is made once."""
    monkeypatch.setattr(
        export_bundle, "canonical_graph", lambda *args, **options: copy_of(canonical)
    )

    def write(target: str, precision: str = "int8") -> tuple[ir.Model, Path]:
        graph, files = export_bundle.write_model(
            model, InputSpec(32), target, precision, tmp_path, ExportOptions()
        )
        return graph, next(iter(files.values()))

    return write


def test_float_operators_are_the_named_layers_and_what_joins_them(model: QuantResNet) -> None:
    assert model.computed_in_float == {*SOME, *ADDS}


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_named_layers_are_the_float_ones_in_the_runtimes_graph(
    written, model: QuantResNet, target: str
) -> None:  # type: ignore[no-untyped-def]
    graph, path = written(target)
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
    with target_of(target).load(path, "cpu", RunOptions(precision="fp32")) as session:
        kernels = session.kernels()
        found = run_padded(session, images)
    where = {layer: kernel.precision for kernel in kernels for layer in kernel.layers}
    layers = model.wiring.layers
    assert {layer for layer in layers if where[layer] == "fp32"} == set(SOME)
    assert {layer for layer in layers if where[layer] == "int8"} == set(layers) - set(SOME)
    counts = prove_integer(expected_layers(graph), kernels, target, model.computed_in_float)
    assert counts == INTEGERS
    with torch.inference_mode():
        expected = model(torch.from_numpy(images)).numpy()
    assert np.abs(found - expected).max() <= 0.1 * np.ptp(expected)


@needs_compiler
@pytest.mark.parametrize("precision", ["int8", "int8+fp16"])
def test_named_layers_are_the_float_ones_in_an_engine(
    written, model: QuantResNet, precision: str
) -> None:  # type: ignore[no-untyped-def]
    graph, path = written("tensorrt", precision)
    (path.parent / "engines").mkdir()
    TARGETS["tensorrt"].save_engine(path, "gpu", path.parent / "engines", BuildOptions())
    expected = expected_layers(graph)
    kernels = engine_kernels(path, expected)
    assert kernels is not None
    counts = prove_integer(expected, kernels, "tensorrt", model.computed_in_float)
    assert counts == INTEGERS
    kind = precision.partition("+")[2] or "fp32"
    where = {layer: kernel.precision for kernel in kernels for layer in kernel.layers}
    assert {where[layer] for layer in SOME} == {f"{kind} by {kind}"}


def wide_nodes(path: Path) -> dict[str, tuple[bool, bool]]:
    """Of each layer and add: whether all that it reads, and what it writes, has 16 bits."""
    graph = onnx.load(path).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    makers = {name: node for node in graph.node for name in node.output}
    users: dict[str, list[onnx.NodeProto]] = {}
    for node in graph.node:
        for name in node.input:
            users.setdefault(name, []).append(node)

    def wide(pair: onnx.NodeProto) -> bool:
        return types[pair.input[2]] == onnx.TensorProto.UINT16

    found = {}
    for node in graph.node:
        if node.op_type in ("Conv", "Add", "Gemm"):
            behind = users[node.output[0]]
            if behind[0].op_type == "Relu":
                behind = users[behind[0].output[0]]
            read = node.input[: 2 if node.op_type == "Add" else 1]
            found[node.name] = (all(wide(makers[name]) for name in read), all(map(wide, behind)))
    return found


def wide_model(model: QuantResNet) -> QuantResNet:
    own = copy.deepcopy(model)
    own.in_sixteen_bits()
    return own


def test_named_layers_have_16_bit_activations_in_the_npus_graph(
    model: QuantResNet, tmp_path: Path
) -> None:
    own = wide_model(model)
    _, files = export_bundle.write_model(
        own, InputSpec(32), "qnn", "int8", tmp_path, ExportOptions()
    )
    found = wide_nodes(files["model.onnx"])
    # The classifier has them in any case.
    assert {name for name, (read, _) in found.items() if read} == {*SOME, *ADDS, "fc"}
    assert {name for name, (_, wrote) in found.items() if wrote} == {*SOME, *ADDS, "fc"}
    images = np.random.default_rng(0).standard_normal((4, 3, 32, 32), dtype=np.float32)
    with torch.inference_mode():
        expected = own(torch.from_numpy(images)).numpy()
    options = RunOptions(as_written=True)
    with target_of("onnx").load(files["model.onnx"], "cpu", options) as session:
        logits = run_padded(session, images)
    assert np.abs(logits - expected).max() <= 0.1 * np.ptp(expected)


@pytest.mark.parametrize("kind", ["signed", "unsigned"])
def test_sixteen_bits_are_257_times_as_fine_between_the_same_ends(kind: Kind) -> None:
    quantizer = FakeQuant(kind).requires_grad_(False)
    quantizer.scale.data.fill_(0.1)
    x = torch.linspace(-20, 20, 999)
    narrow = quantizer(x)
    quantizer.wide = True
    wide = quantizer(x)
    # uint8 behind a ReLU has 255 steps where the canonical grid has 127.
    finer = 257 if kind == "signed" else 65535 / 127
    inside = narrow == narrow.clamp(narrow.min() + 0.1, narrow.max() - 0.1)
    assert (wide - x)[inside].abs().max() <= 0.1 / finer * 0.51
    assert wide.min() == pytest.approx(float(narrow.min()), abs=1e-4)
    assert wide.max() == pytest.approx(float(narrow.max()), abs=1e-4)
    if kind == "signed":
        assert torch.allclose(quantizer(narrow), narrow, atol=1e-5)


@emulator
@pytest.mark.slow
def test_named_layers_run_on_the_emulated_npu_with_16_bit_activations(tmp_path: Path) -> None:
    bundle = export_bundle.export_bundle(
        mixed_checkpoint(), target="qnn", precision="int8", out_dir=tmp_path / "b"
    )
    proof = bundle.manifest.proof
    assert proof["logits_from"] == "qnn"
    assert proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}
    said = {layer["name"]: layer["precision"] for layer in bundle.manifest.layers}
    assert [name for name, precision in said.items() if precision == "w8a16"] == list(SOME)
    found = wide_nodes(bundle.model_path)
    assert {name for name, pair in found.items() if all(pair)} == {*SOME, *ADDS}


@pytest.mark.usefixtures("written")
def test_bundle_says_the_precision_of_each_layer(tmp_path: Path) -> None:
    checkpoint = mixed_checkpoint()
    export_bundle.export_bundle(checkpoint, target="onnx", precision="int8", out_dir=tmp_path / "b")
    manifest = load_bundle(tmp_path / "b").manifest
    said = {layer["name"]: layer["precision"] for layer in manifest.layers}
    assert [name for name, precision in said.items() if precision == "fp32"] == list(SOME)
    assert set(said.values()) == {"fp32", "int8"}
    assert manifest.proof["integer_kernels"] == INTEGERS


def test_lint_refuses_another_mix_than_was_named(canonical: bytes) -> None:
    floats = {*SOME, *ADDS}
    assert check_canonical(copy_of(canonical), floats) == INTEGERS
    for wrong, told in (
        (floats - {"fc"}, "Gemm fc: its input .* is not quantized"),
        (floats - {"layer4.0.conv1"}, r"layer4\.0\.conv1: its weight is not an int8 constant"),
        (floats | {"layer4.1.conv1"}, r"layer4\.1\.conv1: it is to stay float, and is quantized"),
        (floats | {"layer4.1.add"}, r"layer4\.1\.add: it is to stay float, and is quantized"),
        (floats | {"layer9.0.add"}, r"layer9\.0\.add is to stay float, and is not in the graph"),
    ):
        with pytest.raises(CheckError, match=told):
            check_canonical(copy_of(canonical), wrong)


def test_proof_names_what_runs_in_integers_and_is_to_stay_float() -> None:
    expected = {"conv1": "Conv", "fc": "Gemm", "layer1.0.add": "Add"}
    kernels = [Kernel("QLinearConv", "int8", "cpu", ("conv1",))]
    with pytest.raises(CheckError) as caught:
        prove_integer(expected, kernels, "onnx", {"conv1", "layer1.0.add", "fc"})
    assert "conv1 is to stay float and runs in integers (QLinearConv)" in caught.value.cause
    assert "fc is in none of its kernels" in caught.value.cause
    assert "layer1.0.add" not in caught.value.cause
