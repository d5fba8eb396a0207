"""An export with a fault in it is refused; an honest one is proven on many images."""

from __future__ import annotations

import json
from collections.abc import Callable
from dataclasses import replace
from pathlib import Path
from typing import Any

import numpy as np
import onnx
import onnx_ir as ir
import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.logits import allowed_outside, compare_logits
from edgeresnet.device.data.dataset import batches
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.targets.precision import is_quantized
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.errors import CheckError
from edgeresnet.host.export import export_bundle as export_module
from edgeresnet.host.export import logit_proof
from edgeresnet.host.export import proof_images as proof_images_module
from edgeresnet.host.export.canonical_graph import canonical_graph, weight_of
from edgeresnet.host.export.encodings.encode import ENCODINGS
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.export.golden_choice import GoldenChoice
from edgeresnet.host.export.graph import QUANTIZE, array_of, constant, input_of, nodes_of
from edgeresnet.host.export.logit_proof import LogitProof
from edgeresnet.host.export.proof_images import proof_images
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import ONE_IMAGE, ExportOptions
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.quantization import QuantizeOptions
from tests.fakes import FakeSession
from tests.short import PROOF_IMAGES
from tests.small_checkpoints import CPU_TARGETS, make_checkpoint

Fault = Callable[[ir.Graph], None]
NARROW = Widths(
    16, (16, 16, 32, 32), (((16,), (16,)), ((16,), (16,)), ((32,), (32,)), ((32,), (32,)))
)


@pytest.fixture(autouse=True)
def all_proof_images(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(proof_images_module, "PROOF_IMAGES", 256)


@pytest.fixture(scope="module")
def narrow() -> Checkpoint:
    return quantize_checkpoint(
        make_checkpoint(size=8, widths=NARROW),
        # Right on every processor: the graph that stands for each export is that of the whole.
        options=QuantizeOptions(method="ptq", calibration_images=64, weight_bits=7),
        context=TaskContext(data="digits", limit=256),
    )[0]


@pytest.fixture(scope="module")
def traced(narrow: Checkpoint) -> onnx.ModelProto:
    """What torch's exporter makes of it, once for all faults."""
    model = narrow.build()
    assert isinstance(model, QuantResNet)
    return ir.to_proto(canonical_graph(model, 8, ONE_IMAGE, quantized=True))


@pytest.fixture
def exporter(monkeypatch: pytest.MonkeyPatch, traced: onnx.ModelProto) -> None:
    monkeypatch.setattr(export_module, "canonical_graph", lambda *_, **__: ir.from_proto(traced))


def node_named(graph: ir.Graph, name: str) -> ir.Node:
    return next(node for node in graph if node.name == name)


def replace_constant(
    graph: ir.Graph, node: ir.Node, index: int, change: Callable[[np.ndarray], np.ndarray]
) -> None:
    value = input_of(node, index)
    changed = change(array_of(value).copy())
    node.replace_input_with(index, constant(graph, f"wrong.{node.name}.{index}", changed))


def activation_scale(name: str, factor: float, *, only_behind: bool = False) -> Fault:
    """The grid of a tensor; ``only_behind``: its numbers are read by another than wrote them."""

    def fault(graph: ir.Graph) -> None:
        quantize = node_named(graph, f"{name}.quantize")
        users = [node for node, _ in quantize.outputs[0].uses()]
        for node in users if only_behind else [quantize, *users]:
            replace_constant(graph, node, 1, lambda scale: scale * np.float32(factor))

    return fault


def channel(layer: str, index: int, factor: float) -> Fault:
    """One output channel's weights are those of the checkpoint times ``factor``."""

    def fault(graph: ir.Graph) -> None:
        dequantize = weight_of(node_named(graph, layer))[1]
        assert dequantize is not None

        def scaled(integers: np.ndarray) -> np.ndarray:
            integers[index] = np.rint(integers[index] * factor)
            return integers

        replace_constant(graph, dequantize, 0, scaled)

    return fault


def swapped_classes(graph: ir.Graph) -> None:
    gemm = next(nodes_of(graph, "Gemm"))
    dequantize = weight_of(gemm)[1]
    assert dequantize is not None
    order = [1, 0, *range(2, 10)]
    for node, index in ((dequantize, 0), (dequantize, 1)):
        replace_constant(graph, node, index, lambda rows: rows[order])


def without_relu(graph: ir.Graph) -> None:
    relu = next(n for n in nodes_of(graph, "Relu") if str(n.name).startswith("layer2.0"))
    for user, index in list(relu.outputs[0].uses()):
        user.replace_input_with(index, input_of(relu, 0))


def halved_ranges(graph: ir.Graph) -> None:
    """As where uint8 with zero point 0 is read as int8: what is above the middle is clipped."""
    for quantize in nodes_of(graph, QUANTIZE):
        activation_scale(str(quantize.name).removesuffix(".quantize"), 0.5)(graph)


def with_fault(monkeypatch: pytest.MonkeyPatch, target: str, fault: Fault) -> None:
    spec = TARGETS[target].spec
    encoding = spec.encoding(spec.default_device)
    encode = ENCODINGS[encoding]

    def faulty(model: ir.Model, precision: str) -> None:
        encode(model, precision)
        fault(model.graph)

    monkeypatch.setitem(ENCODINGS, encoding, faulty)


def slow(target: str, fault: Fault) -> Any:
    """A fault of the kind of one that is tried by default, at another layer."""
    return pytest.param(target, fault, marks=pytest.mark.slow)


@pytest.mark.parametrize(
    ("target", "fault"),
    [
        ("onnx", activation_scale("layer1.0.output_quant", 0.5)),
        slow("onnx", activation_scale("layer3.1.conv2_quant", 2.0, only_behind=True)),
        ("onnx", activation_scale("layer4.1.output_quant", 2.0, only_behind=True)),
        slow("onnx", channel("conv1", 3, 0.0)),
        slow("onnx", channel("layer1.1.conv2", 5, 0.0)),
        ("openvino", channel("layer1.0.conv1", 9, 0.0)),
        # Less than ten per cent of the range on the golden images.
        slow("onnx", channel("layer2.0.conv1", 3, 0.0)),
        ("onnx", channel("layer4.0.conv1", 7, 0.0)),
        slow("onnx", channel("layer4.0.downsample.0", 3, 0.0)),
        ("onnx", activation_scale("layer4.0.downsample_quant", 0.5)),
        ("onnx", swapped_classes),
        ("tensorrt", without_relu),
        ("tensorrt", halved_ranges),
    ],
)
@pytest.mark.usefixtures("exporter")
def test_export_refuses_when_the_written_graph_is_not_the_network(
    narrow: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
    target: str,
    fault: Fault,
) -> None:
    with_fault(monkeypatch, target, fault)
    with pytest.raises(CheckError, match="logits"):
        export_bundle(narrow, target=target, precision="int8", out_dir=tmp_path / "b")
    assert list(tmp_path.iterdir()) == []


@pytest.mark.usefixtures("exporter")
@pytest.mark.parametrize(
    ("target", "precision"),
    [
        # By default each target's INT8; the others go the same way, with other numbers.
        pytest.param(target, precision, marks=[] if precision == "int8" else [pytest.mark.slow])
        for target in TARGETS
        for precision in TARGETS[target].spec.precisions
        if is_quantized(precision)
    ],
)
def test_export_is_proven_when_the_written_graph_is_the_network(
    narrow: Checkpoint, tmp_path: Path, target: str, precision: str
) -> None:
    bundle = export_bundle(narrow, target=target, precision=precision, out_dir=tmp_path / "b")
    assert bundle.manifest.proof["images"] == 256


@pytest.mark.usefixtures("exporter")
def test_export_refuses_when_pixels_are_normalized_with_another_mean(
    narrow: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    embed = export_module.embed_preprocess

    def wrongly(graph: ir.Model, spec: InputSpec, *, cast_first: bool = False) -> None:
        embed(graph, replace(spec, mean=(0.5, 0.5, 0.5)), cast_first=cast_first)

    monkeypatch.setattr(export_module, "embed_preprocess", wrongly)
    options = ExportOptions(embed_preprocess=True)
    with pytest.raises(CheckError, match="logits"):
        export_bundle(
            narrow, target="onnx", precision="int8", out_dir=tmp_path / "b", options=options,
        )  # fmt: skip


@pytest.mark.parametrize("precision", ["fp32", "int8"])
@pytest.mark.parametrize("target", CPU_TARGETS)
def test_manifest_says_how_many_images_the_bound_and_the_largest_difference(
    files: Path, target: str, precision: str
) -> None:
    manifest = load_bundle(files / f"{target}-{precision}").manifest
    proof = manifest.proof
    assert proof["images"] == PROOF_IMAGES
    assert proof["data"] == ("calibration" if precision == "int8" else "data")
    assert 0 < proof["logit_bound"] == manifest.logit_bound
    assert proof["share_outside"] <= (0.01 if precision == "int8" else 0)
    if precision == "fp32":
        assert proof["largest_difference"] <= proof["logit_bound"]


@pytest.mark.usefixtures("exporter")
def test_proof_is_on_noise_and_says_so_when_the_data_is_not_here(
    narrow: Checkpoint, tmp_path: Path
) -> None:
    away = {**(narrow.quantization or {}), "data": "/nowhere/photos"}
    elsewhere = replace(narrow, data="/nowhere/photos", quantization=away)
    told: list[str] = []
    bundle = export_bundle(
        elsewhere,
        target="onnx",
        precision="int8",
        out_dir=tmp_path / "b",
        context=TaskContext(on_step=told.append),
    )
    assert (bundle.manifest.proof["images"], bundle.manifest.proof["data"]) == (256, "noise")
    assert any("/nowhere/photos is not here: proving on noise" in line for line in told)


def test_proof_images_are_of_every_class_when_only_the_first_are_looked_at(
    narrow: Checkpoint,
) -> None:
    found = proof_images(narrow, None)
    assert found.pixels.shape == (256, 8, 8, 3)
    pixels, labels = next(
        batches(open_dataset("digits", "train"), narrow.input_spec, 2000, raw=True)
    )
    label_of = {image.tobytes(): int(label) for image, label in zip(pixels, labels, strict=True)}
    assert len({label_of[image.tobytes()] for image in found.pixels}) == 10
    assert len({label_of[image.tobytes()] for image in found.pixels[:16]}) >= 6


def test_export_says_that_a_network_is_not_above_chance_when_its_data_has_labels(
    narrow: Checkpoint, tmp_path: Path
) -> None:
    """A random network: whoever exports somebody else's float file so may not have looked at it."""
    told: list[str] = []
    context = TaskContext(data="digits", on_step=told.append)
    bundle = export_bundle(
        narrow, target="onnx", precision="int8", out_dir=tmp_path / "b", context=context
    )
    (doubt,) = [line for line in told if "is not clearly above chance" in line and "adopt" in line]
    assert doubt in bundle.manifest.proof["doubts"]


def test_doubt_is_told_only_where_labels_are_those_of_the_checkpoint(narrow: Checkpoint) -> None:
    images = proof_images(narrow, "digits")
    assert images.labels is not None
    right = np.eye(10, dtype=np.float32)[images.labels]
    names = narrow.classes
    assert images.doubts(right, names) == []
    assert "not clearly above chance" in images.doubts(np.roll(right, 1, axis=1)[:64], names)[0]
    others = replace(narrow, classes=tuple("abcdefghij"))
    assert proof_images(others, "digits").doubts(np.roll(right, 1, axis=1), others.classes) == []
    assert "get the same logits" in proof_images(others, "digits").doubts(right * 0, names)[0]


def small_proof(checkpoint: Checkpoint) -> LogitProof:
    model = checkpoint.build()
    assert isinstance(model, QuantResNet)
    images = proof_images(checkpoint, None)
    golden = GoldenChoice(images.pixels[:1], np.zeros((1, 10), np.float32), np.zeros((0, 1, 10)))
    return LogitProof(model, checkpoint.input_spec, "int8", True, images, golden, ONE_IMAGE)


@pytest.mark.parametrize(("seconds", "images"), [(0.0, 16), (600.0, 256)])
def test_emulator_answers_as_many_images_as_there_is_time_for(
    narrow: Checkpoint, monkeypatch: pytest.MonkeyPatch, seconds: float, images: int
) -> None:
    monkeypatch.setattr(logit_proof, "EMULATOR_SECONDS", seconds)
    session = FakeSession(lambda batch: np.zeros((len(batch), 10)), batch_sizes=(2, 2))
    session.emulated = True
    proof = small_proof(narrow)
    assert len(proof.answers(session)) == images
    assert set(session.seen) == {2}
    session.emulated = False
    assert len(proof.answers(session)) == 256


def logits_of(images: int = 100, classes: int = 10) -> np.ndarray:
    return np.random.default_rng(0).normal(size=(images, classes)).astype(np.float32)


def test_few_images_may_have_one_whose_logits_lie_outside() -> None:
    assert [allowed_outside(n, 10, "int8") for n in (8, 16, 40, 100, 256)] == [
        0.05, 0.05, 0.025, 0.01, 0.01,
    ]  # fmt: skip
    assert [allowed_outside(n, 10, "fp16") for n in (8, 256)] == [0, 0]


def test_one_logit_may_lie_outside_however_few_there_are() -> None:
    reference = logits_of(images=7, classes=2)
    found = reference.copy()
    found[3, 1] += 0.108
    assert compare_logits(found, reference, 0.1, "int8").fault() is None
    found[4, 1] += 0.108
    assert "14.29% of all lie outside" in str(compare_logits(found, reference, 0.1, "int8").fault())


def test_logits_are_refused_when_more_than_a_hundredth_lies_outside() -> None:
    reference = logits_of()
    reference[:, 0] = 100
    found = reference.copy()
    found[:10, 5] += 0.2
    assert compare_logits(found, reference, 0.1, "int8").fault() is None
    found[10, 6] += 0.2
    check = compare_logits(found, reference, 0.1, "int8")
    assert check.share_outside == pytest.approx(0.011)
    assert "1.10% of all lie outside" in str(check.fault())
    assert "up to 0.2 away, where the bound is 0.1" in str(check.fault())
    assert compare_logits(found, reference, 0.3, "int8").fault() is None


def test_float_logits_are_refused_when_one_lies_outside() -> None:
    reference = logits_of()
    found = reference.copy()
    found[3, 5] -= 0.2
    assert compare_logits(found, reference, 0.1, "fp32").fault() is not None


def test_logits_are_refused_when_one_class_of_a_thousand_is_wrong() -> None:
    reference = logits_of(classes=1000)
    reference[:, 0] = 100
    found = reference.copy()
    found[:, 777] *= 2
    fault = compare_logits(found, reference, 0.1, "int8").fault()
    assert "class 777" in str(fault)


def test_logits_are_refused_when_an_image_changes_class_beyond_twice_the_bound() -> None:
    reference = np.zeros((200, 10), np.float32)
    reference[:, 1], reference[:, 2] = 1.0, 0.85
    found = reference.copy()
    found[7, 2] += 0.2
    close = compare_logits(found, reference, 0.1, "int8")
    assert (close.fault(), close.close_calls, close.changed) == (None, 1, ())
    far = compare_logits(found, reference, 0.07, "int8")
    names = [f"photo {i}" for i in range(200)]
    assert far.changed == (7,)
    assert "1 of 200 images change class" in str(far.fault(names))
    assert "photo 7" in str(far.fault(names))


def test_logits_are_refused_when_they_are_not_finite() -> None:
    reference = logits_of()
    check = compare_logits(np.full_like(reference, np.nan), reference, 1e9, "int8")
    assert check.largest_difference == float("inf")
    assert check.fault() is not None


def test_golden_logits_may_have_a_twentieth_outside_and_no_other_class() -> None:
    golden = logits_of(images=8)
    golden[:, 0] = 100
    found = golden.copy()
    found[2, 4:8] += 0.2
    assert compare_logits(found, golden, 0.1, "int8").fault() is None
    assert compare_logits(found, golden, 0.1, "fp32").fault() is not None
    found[3, 4] += 0.2
    assert compare_logits(found, golden, 0.1, "int8").fault() is not None
    other = golden.copy()
    other[5, 1] = 101
    assert "change class" in str(compare_logits(other, golden, 0.1, "int8").fault())


def test_older_manifest_keeps_its_tolerance_when_it_has_no_bound(files: Path) -> None:
    manifest = load_bundle(files / "onnx-int8").manifest
    values = json.loads(manifest.to_json())
    del values["logit_bound"]
    assert type(manifest).from_json(json.dumps(values)).logit_bound is None
