"""Qualcomm's target: its encoding, and the NPU's own compiler and emulator where they are."""

from __future__ import annotations

import hashlib
import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest

from edgeresnet.api.opening import open_model
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.machine.native_output import captured_output
from edgeresnet.device.measure.accuracy import agreement, predict
from edgeresnet.device.measure.budgets import check_time_budgets
from edgeresnet.device.targets.engine_record import describe_engines, engine_fits, write_engine
from edgeresnet.device.targets.qnn.snapdragon import SOCS, soc_of
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.host.export.encodings.encode import encode_hexagon
from edgeresnet.host.export.encodings.hexagon import check_quantized_outputs
from edgeresnet.host.export.export_bundle import export_bundle, write_model
from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.host.training.train_checkpoint import train_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.export import BatchRange, ExportOptions
from edgeresnet.settings.measuring import Budgets, RunOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import ModelSettings, TrainOptions
from tests.conftest import CommandLine
from tests.small_checkpoints import CLASSES, make_checkpoint

HERE = target_of("qnn").available()
emulator = pytest.mark.skipif(not HERE.usable, reason=f"no emulator here: {HERE.reason}")
NARROW = Widths(
    16, (16, 16, 32, 32), (((16,), (16,)), ((16,), (16,)), ((32,), (32,)), ((32,), (32,)))
)


def learned(
    folder: Path, arch: str, widths: Widths, epochs: int, lr: float = 0.05, images: int = 128
) -> tuple[Checkpoint, Checkpoint]:
    """A network that knows digits, and its quantized form."""
    start = Checkpoint(
        arch, "small", widths, CLASSES, make_checkpoint(size=8).input_spec,
        build_resnet(arch, 10, "small", widths).state_dict(), data="digits",
    )  # fmt: skip
    save_checkpoint(start, folder / "start.pt")
    trained, _ = train_checkpoint(
        ModelSettings(arch=arch, weights=str(folder / "start.pt")),
        image_size=8,
        options=TrainOptions(epochs=epochs, batch_size=64, lr=lr, augment="none", workers=0),
        context=TaskContext(data="digits"),
    )
    quantized, _ = quantize_checkpoint(
        trained,
        # What ONNX Runtime gives beside it may be of a processor that takes no more.
        options=QuantizeOptions(method="ptq", calibration_images=images, weight_bits=7),
        context=TaskContext(data="digits"),
    )
    return trained, quantized


@pytest.fixture(scope="module")
def narrow(tmp_path_factory: pytest.TempPathFactory) -> tuple[Checkpoint, Checkpoint]:
    return learned(tmp_path_factory.mktemp("narrow"), "resnet18", NARROW, epochs=5)


@pytest.fixture(scope="module")
def bundle(tmp_path_factory: pytest.TempPathFactory, narrow: tuple[Checkpoint, Checkpoint]) -> Path:
    """Proven on the emulator by the export itself."""
    out_dir = tmp_path_factory.mktemp("qnn") / "bundle"
    export_bundle(narrow[1], target="qnn", precision="int8", out_dir=out_dir)
    return out_dir


def same_on_the_npu(own: Path, checkpoint: Checkpoint, folder: Path, images: int) -> None:
    """Top-1 on the NPU is that of ONNX Runtime's INT8 kernels, give or take one image."""
    other = folder / "onnx"
    export_bundle(checkpoint, target="onnx", precision="int8", out_dir=other)
    dataset = open_dataset("digits", "val", limit=images)
    found = []
    for path in (own, other):
        with open_model(path) as opened:
            found.append(predict(opened.session, dataset, opened.input_spec))
            if path == own:
                assert {kernel.unit for kernel in opened.session.kernels()} == {"npu"}
                (share,) = opened.placement()
                assert (share["unit"], share["precision"], share["macs_share"]) == (
                    "npu",
                    "int8",
                    1.0,
                )
    npu, cpu = found
    assert npu.correct().sum() >= 0.8 * images, "the network must know something"
    assert abs(int(npu.correct().sum()) - int(cpu.correct().sum())) <= 1
    assert agreement(npu, cpu).value >= 1 - 2 / images


def quantized_graph(checkpoint: Checkpoint, folder: Path, precision: str) -> onnx.ModelProto:
    model = checkpoint.build()
    assert isinstance(model, QuantResNet)
    model.fold()
    _, files = write_model(
        model.eval(), checkpoint.input_spec, "qnn", precision, folder, ExportOptions()
    )
    return onnx.load(files["model.onnx"])


@pytest.mark.parametrize(("precision", "wide"), [("int8", 5), ("w8a16", None)])
def test_logits_are_16_bit_and_the_classifier_reads_16_bit_when_encoded(
    int8_checkpoint: Checkpoint, tmp_path: Path, precision: str, wide: int | None
) -> None:
    graph = quantized_graph(int8_checkpoint, tmp_path, precision).graph
    types = {tensor.name: tensor.data_type for tensor in graph.initializer}
    pairs = [n for n in graph.node if n.op_type == "QuantizeLinear"]
    wide_pairs = [n for n in pairs if types[n.input[2]] == onnx.TensorProto.UINT16]
    assert all(n.domain == "com.microsoft" for n in wide_pairs)
    if wide is None:
        assert len(wide_pairs) == len(pairs)
    else:
        assert [n.name for n in wide_pairs] == [
            "avgpool_wide.quantize", "pool_quant.quantize", "logits_quant.quantize",
        ]  # fmt: skip
    last = next(n for n in graph.node if graph.output[0].name in n.output)
    assert (last.op_type, graph.output[0].name) == ("DequantizeLinear", "logits")


def test_no_input_leaves_the_grid_of_the_logits_when_its_images_are_extreme(
    int8_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    quantized_graph(int8_checkpoint, tmp_path, "int8")
    size = int8_checkpoint.input_spec.image_size
    images = np.concatenate(
        [np.full((1, 3, size, size), value, np.float32) for value in (-1e4, 0, 1e4)]
        + [np.random.default_rng(0).normal(0, 1e3, (5, 3, size, size)).astype(np.float32)]
    )
    onnx_path = tmp_path / "model.onnx"
    graph = onnx.load(onnx_path).graph
    scale_name = next(n for n in graph.node if n.name == "logits_quant.quantize").input[1]
    scale = next(
        float(onnx.numpy_helper.to_array(t)) for t in graph.initializer if t.name == scale_name
    )
    with target_of("onnx").load(onnx_path, "cpu", RunOptions(as_written=True)) as session:
        logits = np.concatenate([session.run(image[None]) for image in images])
    assert np.abs(logits).max() < 32767 * scale


def test_lint_names_the_layer_when_its_output_is_not_quantized(
    int8_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    import onnx_ir as ir

    quantized_graph(int8_checkpoint, tmp_path, "int8")
    model = ir.load(tmp_path / "model.onnx")
    check_quantized_outputs(model)
    conv = next(n for n in model.graph if n.name == "layer2.0.conv2")
    behind = conv.outputs[0].uses()[0].node
    dequantize = behind.outputs[0].uses()[0].node
    for user, index in dequantize.outputs[0].uses():
        user.replace_input_with(index, conv.outputs[0])
    with pytest.raises(CheckError, match=r"layer2\.0\.conv2 has no quantized output"):
        check_quantized_outputs(model)


def test_float_graph_stays_as_it_is_when_encoded(checkpoint: Checkpoint, tmp_path: Path) -> None:
    import onnx_ir as ir

    model = QuantResNet(checkpoint.build())  # type: ignore[arg-type]
    model.fold()
    graph, _ = write_model(
        model.eval(), checkpoint.input_spec, "onnx", "fp32", tmp_path, ExportOptions()
    )
    before = ir.to_proto(graph).SerializeToString()
    encode_hexagon(graph, "fp16")
    assert ir.to_proto(graph).SerializeToString() == before


@pytest.mark.parametrize(
    ("options", "told"),
    [
        (ExportOptions(BatchRange(1, 4, 8)), "takes one batch size"),
        (ExportOptions(embed_preprocess=True), "normalization of pixels"),
    ],
)
def test_export_refuses_what_the_npu_does_not_take(
    int8_checkpoint: Checkpoint, tmp_path: Path, options: ExportOptions, told: str
) -> None:
    with pytest.raises((InputError, MissingError), match=told):
        export_bundle(
            int8_checkpoint, target="qnn", precision="int8", out_dir=tmp_path / "b", options=options
        )
    assert not (tmp_path / "b").exists()


def test_soc_of_lists_the_known_ones_when_the_name_is_wrong() -> None:
    with pytest.raises(InputError) as caught:
        soc_of("sm9999")
    assert all(name in caught.value.fix for name in SOCS)
    assert (soc_of("SM8650").soc_model, soc_of("SM8650").htp_arch) == (57, 75)
    free = soc_of("69:79")
    assert (free.name, free.soc_model, free.htp_arch) == ("soc69-v79", 69, 79)


def test_captured_output_takes_what_native_code_writes(capfd: pytest.CaptureFixture[str]) -> None:
    import os

    with captured_output() as told:
        os.write(1, b"greeting\n")
        os.write(2, b"warning\n")
    assert told == ["greeting\nwarning\n"]
    assert capfd.readouterr() == ("", "")


@emulator
def test_export_is_proven_on_the_emulator(bundle: Path) -> None:
    proof = load_bundle(bundle).manifest.proof
    assert proof["logits_from"] == "qnn"
    assert proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}


# By default the export's proof compares logits.
@pytest.mark.slow
@emulator
def test_top1_on_the_npu_is_that_of_onnx_runtime(
    bundle: Path, narrow: tuple[Checkpoint, Checkpoint], tmp_path: Path
) -> None:
    same_on_the_npu(bundle, narrow[1], tmp_path, 200)


@emulator
def test_context_binaries_are_built_described_and_loaded(
    bundle: Path, edgeresnet: CommandLine, tmp_path: Path
) -> None:
    for soc in ("sm8550", "SM8750"):
        done = edgeresnet("build", bundle, "--device", soc)
        assert done.returncode == 0, done.stderr
    shown = json.loads(edgeresnet("inspect", bundle, "--json", "-").stdout)
    assert [(e["device"], e["soc_model"], e["htp_arch"]) for e in shown["engines"]] == [
        ("sm8550", 43, 73), ("sm8750", 69, 79),
    ]  # fmt: skip
    assert all(e["size_bytes"] > 10_000 and e["compiler"] == HERE.version for e in shown["engines"])
    done = edgeresnet("evaluate", bundle, "--device", "sm8550", "--limit", "20", "--json", "-")
    assert done.returncode == 0, done.stderr
    found = json.loads(done.stdout)
    assert (found["device"], found["emulated"], found["run_ms"]) == ("sm8550", True, None)
    assert found["top1"] >= 0.8
    assert [(s["unit"], s["macs_share"]) for s in found["placement"]] == [("npu", 1.0)]
    missing = edgeresnet("evaluate", bundle, "--device", "sm8650", "--limit", "20")
    assert missing.returncode == 3
    assert "edgeresnet build" in missing.stderr
    wrong = edgeresnet("build", bundle, "--device", "sm9999")
    assert wrong.returncode == 2
    assert all(name in wrong.stderr for name in SOCS)
    assert len(describe_engines(bundle / "engines")) == 2


def test_engine_does_not_fit_when_it_was_altered(tmp_path: Path) -> None:
    model_path = tmp_path / "model.onnx"
    model_path.write_bytes(b"model")
    facts = {"device": "sm8450", "compiler": "1"}
    path = tmp_path / "sm8450.context.onnx"
    assert engine_fits(path, model_path, facts) == "there is none"
    engine = write_engine(path, b"engine", model_path, facts)
    assert engine_fits(engine, model_path, facts) is None
    assert "its compiler is 1" in str(engine_fits(engine, model_path, facts | {"compiler": "2"}))
    model_path.write_bytes(b"another")
    assert "another model" in str(engine_fits(engine, model_path, facts))
    model_path.write_bytes(b"model")
    engine.write_bytes(b"something else")
    assert "sha256" in str(engine_fits(engine, model_path, facts))
    engine.with_name(engine.name + ".json").unlink()
    assert "no record" in str(engine_fits(engine, model_path, facts))


@emulator
def test_refused_operator_is_named_and_not_run_on_the_cpu(
    bundle: Path, edgeresnet: CommandLine, tmp_path: Path
) -> None:
    """An operator that Hexagon lacks, put before the pool; it changes no value."""
    loaded = load_bundle(bundle, check_engines=False)
    model = onnx.load(loaded.model_path)
    place, pool = next(
        (i, n) for i, n in enumerate(model.graph.node) if n.op_type == "GlobalAveragePool"
    )
    odd = onnx.helper.make_node(
        "Shrink", [pool.input[0]], ["odd.output"], name="layer4.odd", lambd=0.0, bias=0.0
    )
    pool.input[0] = "odd.output"
    model.graph.node.insert(place, odd)
    changed = tmp_path / "changed"
    changed.mkdir()
    onnx.save(model, changed / "model.onnx")
    (changed / "golden.npz").write_bytes((bundle / "golden.npz").read_bytes())
    files = {
        name: hashlib.sha256((changed / name).read_bytes()).hexdigest()
        for name in ("model.onnx", "golden.npz")
    }
    manifest = replace(loaded.manifest, files=files)
    (changed / "manifest.json").write_text(manifest.to_json(), encoding="utf-8")
    done = edgeresnet("evaluate", changed, "--limit", "10")
    assert done.returncode == 1
    assert "layer4.odd (Shrink:" in done.stderr
    assert "Traceback" not in done.stderr
    allowed = edgeresnet("evaluate", changed, "--limit", "10", "--allow-fallback", "--json", "-")
    assert allowed.returncode == 0, allowed.stderr
    assert json.loads(allowed.stdout)["top1"] >= 0.8


@emulator
def test_profile_is_refused_when_the_device_is_emulated(
    bundle: Path, edgeresnet: CommandLine
) -> None:
    done = edgeresnet("profile", bundle)
    assert done.returncode == 3
    assert "emulated here" in done.stderr


@emulator
def test_compare_tells_agreement_and_no_latency_when_emulated(
    bundle: Path, narrow: tuple[Checkpoint, Checkpoint], edgeresnet: CommandLine, tmp_path: Path
) -> None:
    save_checkpoint(narrow[1], tmp_path / "int8.pt")
    export_bundle(narrow[1], target="onnx", precision="int8", out_dir=tmp_path / "onnx")
    arguments = (
        "compare",
        "int8.pt",
        "onnx",
        bundle,
        "--pairwise",
        "--limit",
        "50",
        "--rounds",
        "5",
    )
    done = edgeresnet(*arguments, "--json", "r.json")
    assert done.returncode == 0, done.stderr
    assert "emulated" in done.stdout
    assert "Same top-1 class" in done.stdout
    result = json.loads((tmp_path / "r.json").read_text())
    row = result["rows"][2]
    assert (row["target"], row["emulated"], row["p50_ms"], row["speedup"]) == (
        "qnn",
        True,
        None,
        None,
    )
    assert min(min(line) for line in result["agreements"]) >= 0.96
    with pytest.raises(InputError, match="cannot be checked"):
        check_time_budgets(result["rows"], Budgets(max_p99_ms=100.0))


@pytest.mark.slow
@emulator
@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
@pytest.mark.parametrize("pruned", [False, True], ids=["dense", "pruned"])
def test_networks_run_on_the_npu_as_in_onnx_runtime(
    tmp_path: Path, arch: str, pruned: bool
) -> None:
    widths = Widths.dense(arch)
    if pruned:
        inner = tuple(
            tuple(tuple(w // 2 for w in block) for block in stage) for stage in widths.inner
        )
        widths = Widths(widths.stem // 2, tuple(w // 2 for w in widths.streams), inner)
    # Deep and narrow it diverges at the rate of the others; at its rate the dense one is left with
    # logits that rounding moves by more than the export's proof allows.
    frail = arch == "resnet50" and pruned
    epochs, lr, images = (12, 0.01, 512) if frail else (4, 0.05, 128)
    _, quantized = learned(tmp_path, arch, widths, epochs, lr, images)
    out_dir = tmp_path / "bundle"
    export_bundle(quantized, target="qnn", precision="int8", out_dir=out_dir)
    same_on_the_npu(out_dir, quantized, tmp_path, 200)
