"""The layers that are to stay float are exactly the float ones, in each runtime's own graph."""

from __future__ import annotations

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
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.export import export_bundle
from edgeresnet.host.export.canonical_graph import canonical_graph
from edgeresnet.host.export.lint import check_canonical
from edgeresnet.host.export.proof import expected_layers, prove_integer
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.settings.export import BatchRange, BuildOptions, ExportOptions
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions
from tests.conftest import CPU_TARGETS
from tests.mixed import SOME, calibrated, mixed_checkpoint

ADDS = ("layer2.0.add", "layer3.0.add")
INTEGERS = {"Conv": 15, "Add": 6, "Gemm": 0}
COMPILER = target_of("tensorrt").available()
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


def test_the_npu_is_refused_float_layers(tmp_path: Path) -> None:
    with pytest.raises(InputError, match="runs no float layers among integer ones, and conv1 and"):
        export_bundle.export_bundle(
            mixed_checkpoint(), target="qnn", precision="int8", out_dir=tmp_path / "b"
        )


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
