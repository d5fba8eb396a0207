"""TensorRT-RTX's real compiler: engines of every ResNet, proven layer by layer, with no GPU."""

from __future__ import annotations

import json
import shutil
from dataclasses import replace
from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.device.targets.tensorrt import cuda
from edgeresnet.device.targets.tensorrt import target as tensorrt
from edgeresnet.device.targets.tensorrt.bindings import (
    Bindings,
    find_bindings,
    log_of,
    need_bindings,
)
from edgeresnet.device.targets.tensorrt.build import _network_flags, build_engine
from edgeresnet.device.targets.tensorrt.engine import EngineRecord, Host, read_record, write_engine
from edgeresnet.device.targets.tensorrt.kernels import engine_kernels
from edgeresnet.errors import CheckError, InputError, MissingError
from edgeresnet.files.hashes import sha256_bytes
from edgeresnet.host.export.export_bundle import export_bundle, write_model
from edgeresnet.host.export.proof import expected_layers, prove_integer
from edgeresnet.host.models.checkpoint import Checkpoint, load_checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import ARCHS, Widths, build_resnet
from edgeresnet.host.pruning.groups import groups_of
from edgeresnet.host.pruning.slicing import slice_weights
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.settings.export import BatchRange, BuildOptions, ExportOptions
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions
from tests.conftest import CommandLine
from tests.fake_cuda import FakeCuda
from tests.host.export.encodings.test_signed import REFUSED, SAID, one_convolution

NO_TENSORRT = """
import sys
for name in ("tensorrt", "tensorrt_rtx_bindings", "cuda"):
    sys.modules[name] = None
"""
needs_compiler = pytest.mark.skipif(
    isinstance(find_bindings(), str), reason=f"no TensorRT compiler here: {find_bindings()}"
)


def settled(arch: str, *, pruned: bool) -> torch.nn.Module:
    """A random network, at half its widths if ``pruned``, with activations as of a trained one."""
    torch.manual_seed(0)
    widths = Widths.dense(arch)
    model = build_resnet(arch, 10)
    if pruned:
        keep = {n: range(g.channels // 2) for n, g in groups_of(arch, widths).items()}
        widths, weights = slice_weights(model.state_dict(), arch, widths, keep)
        model = build_resnet(arch, 10, widths=widths)
        model.load_state_dict(weights)
    for module in model.modules():
        if isinstance(module, torch.nn.BatchNorm2d):
            module.momentum = 1.0
            torch.nn.init.uniform_(module.weight, 0.5, 1.0)
    with torch.no_grad():
        model.train()(torch.randn(4, 3, 64, 64))
    return model.eval()


# Of the same blocks as a ResNet-18 or 50, and many more of them. A ResNet-50's, whose kernels are
# those of a ResNet-18 and its shortcuts, are compiled for ten seconds.
DEEP = ("resnet34", "resnet101", "resnet152")


@needs_compiler
@pytest.mark.parametrize(
    ("arch", "pruned"),
    [
        pytest.param(arch, pruned, marks=[pytest.mark.slow] if slow else [])
        for arch in ARCHS
        for pruned in (False, True)
        for slow in (arch in DEEP or arch == "resnet50",)
    ],
)
def test_every_layer_of_an_engine_is_int8_when_built_ahead_of_time(
    tmp_path: Path, arch: str, pruned: bool
) -> None:
    model = QuantResNet(settled(arch, pruned=pruned), weight_bits=8)  # type: ignore[arg-type]
    calibrate(model, [torch.randn(2, 3, 64, 64)], "ema")
    model.fold()
    spec, options = InputSpec(64), ExportOptions()
    graph, files = write_model(model.eval(), spec, "tensorrt", "int8+fp16", tmp_path, options)
    (tmp_path / "engines").mkdir()
    engine_path = TARGETS["tensorrt"].save_engine(
        files["model.onnx"], "gpu", tmp_path / "engines", BuildOptions()
    )
    expected = expected_layers(graph)
    kernels = engine_kernels(files["model.onnx"], expected)
    blocks = sum(ARCHS[arch].depths)
    convolutions = blocks * ARCHS[arch].convs + (5 if ARCHS[arch].bottleneck else 4)
    assert kernels is not None
    assert prove_integer(expected, kernels, "tensorrt") == {
        "Conv": convolutions, "Add": blocks, "Gemm": 1,
    }  # fmt: skip
    record = read_record(engine_path) if engine_path else None
    assert record is not None
    assert "fp16" in {kind for layer in record.layers for kind in (layer["weights"],)}


@needs_compiler
@pytest.mark.parametrize("fault", REFUSED)
def test_tensorrt_itself_refuses_or_misreads_what_the_lint_refuses(
    tmp_path: Path, fault: str
) -> None:
    model, _ = REFUSED[fault]
    path = tmp_path / "m.onnx"
    path.write_bytes(model.SerializeToString())
    bindings = need_bindings()
    with pytest.raises(InputError) as caught:
        build_engine(bindings, path, "gpu", BuildOptions())
    assert SAID[fault] in caught.value.cause
    assert "--target tensorrt" in caught.value.fix


@needs_compiler
def test_engine_is_sparse_and_limited_when_asked_for(tmp_path: Path) -> None:
    path = tmp_path / "m.onnx"
    path.write_bytes(one_convolution(np.int8(0)).SerializeToString())
    options = BuildOptions(sparse=True, workspace_mib=64, version_compatible=False)
    built = build_engine(need_bindings(), path, "gpu", options)
    assert built.flags == ("STRONGLY_TYPED", "SPARSE_WEIGHTS", "WORKSPACE=64MiB")


@needs_compiler
def test_kernels_are_float_when_the_graph_is_not_quantized(
    checkpoint: Checkpoint, tmp_path: Path
) -> None:
    bundle = export_bundle(checkpoint, target="tensorrt", precision="fp16", out_dir=tmp_path / "b")
    kernels = engine_kernels(bundle.model_path, {"layer1.0.conv1": "Conv", "layer1.0.add": "Add"})
    assert kernels is not None
    with pytest.raises(CheckError, match=r"layer1\.0\.conv1 runs in float"):
        prove_integer({"layer1.0.conv1": "Conv"}, kernels, "tensorrt")


def fake_bindings(version: tuple[int, ...], product: str = "tensorrt") -> Bindings:
    flags = SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1)
    module = SimpleNamespace(NetworkDefinitionCreationFlag=flags)
    return Bindings(product, module, version)


@pytest.mark.parametrize(
    ("version", "strong", "flags"),
    [((8, 6, 2), False, 1), ((10, 3, 0), True, 2), ((10, 3, 0), False, 0), ((11, 0, 0), True, 0)],
)
def test_network_is_strongly_typed_where_that_is_asked_for_by_a_flag(
    version: tuple[int, ...], strong: bool, flags: int
) -> None:
    assert _network_flags(fake_bindings(version), strong) == flags
    assert _network_flags(fake_bindings((1, 4, 0), "tensorrt-rtx"), True) == 2


class Module(SimpleNamespace):
    """Hashable, as modules are."""

    __hash__ = object.__hash__  # type: ignore[assignment]


class RecordingBuilder:
    """Stands in for every TensorRT object, and notes the builder's flags."""

    def __init__(self) -> None:
        self.set_to: list[str] = []
        self.network_flags = -1
        self.limits: dict[str, int] = {}

    def bindings(
        self, version: tuple[int, ...], dla_cores: int = 0, plan: bytes | None = b"plan"
    ) -> Bindings:
        recorder = self
        image = SimpleNamespace(name="images", shape=(1, 3, 8, 8))

        class Log:
            pass

        class Builder:
            num_DLA_cores = dla_cores  # noqa: N815 - TensorRT's own name

            def __init__(self, log: Any) -> None:
                pass

            def create_network(self, flags: int) -> Any:
                recorder.network_flags = flags
                return SimpleNamespace(get_input=lambda index: image)

            def create_builder_config(self) -> Any:
                return SimpleNamespace(
                    set_flag=recorder.set_to.append,
                    set_memory_pool_limit=recorder.limits.__setitem__,
                    create_timing_cache=lambda content: SimpleNamespace(
                        serialize=lambda: content + b"!"
                    ),
                    set_timing_cache=lambda cache, ignore_mismatch: True,
                )

            def build_serialized_network(self, network: Any, config: Any) -> bytes | None:
                recorder.config = config
                return plan

        names = ("FP16", "INT8", "SPARSE_WEIGHTS", "VERSION_COMPATIBLE", "GPU_FALLBACK")
        module = Module(
            ILogger=Log,
            Builder=Builder,
            OnnxParser=lambda network, log: SimpleNamespace(parse_from_file=lambda path: True),
            NetworkDefinitionCreationFlag=SimpleNamespace(EXPLICIT_BATCH=0, STRONGLY_TYPED=1),
            BuilderFlag=SimpleNamespace(**{name: name for name in names}),
            ProfilingVerbosity=SimpleNamespace(DETAILED="detailed"),
            MemoryPoolType=SimpleNamespace(WORKSPACE="workspace"),
            HardwareCompatibilityLevel=SimpleNamespace(AMPERE_PLUS="ampere+"),
            DeviceType=SimpleNamespace(DLA="dla"),
            Runtime=lambda log: SimpleNamespace(deserialize_cuda_engine=lambda plan: None),
        )
        return Bindings("tensorrt", module, version)

    config: Any = None


@pytest.mark.parametrize(
    ("version", "device", "network", "flags"),
    [
        ((8, 6, 2), "gpu", 1, ["FP16", "INT8"]),
        ((10, 3, 0), "gpu", 2, []),
        ((10, 3, 0), "dla0", 0, ["FP16", "GPU_FALLBACK"]),
        ((11, 4, 1), "gpu", 0, []),
        ((11, 4, 1), "dla0", 0, ["GPU_FALLBACK"]),
    ],
)
def test_build_sets_precision_flags_only_where_types_do_not_say_it(
    tmp_path: Path, version: tuple[int, ...], device: str, network: int, flags: list[str]
) -> None:
    recorder = RecordingBuilder()
    model = tmp_path / "m.onnx"
    model.write_bytes(b"onnx" if device.startswith("dla") else b"QuantizeLinear")
    built = build_engine(
        recorder.bindings(version, dla_cores=2), model, device,
        BuildOptions(gpu_fallback=True), b"before",
    )  # fmt: skip
    assert (recorder.network_flags, recorder.set_to) == (network, flags)
    assert recorder.config.profiling_verbosity == "detailed"
    assert built.timing_cache == b"before!"
    assert device == "gpu" or recorder.config.DLA_core == 0


def test_build_asks_for_no_int8_when_the_model_has_no_scales(tmp_path: Path) -> None:
    recorder, model = RecordingBuilder(), tmp_path / "m.onnx"
    model.write_bytes(b"onnx")
    build_engine(recorder.bindings((8, 6, 2)), model, "gpu", BuildOptions())
    assert recorder.set_to == ["FP16"]


def test_build_refuses_the_dla_when_there_is_none(tmp_path: Path) -> None:
    bindings, model = RecordingBuilder().bindings((10, 13, 0), dla_cores=0), tmp_path / "m.onnx"
    model.write_bytes(b"onnx")
    with pytest.raises(MissingError, match="finds 0 DLA cores"):
        build_engine(bindings, model, "dla0", BuildOptions())


def test_dla_is_refused_when_the_bundle_is_quantized(
    edgeresnet: CommandLine,
    int8_checkpoint: Checkpoint,
    tmp_path: Path,
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr("edgeresnet.host.export.export_bundle.build_ahead", lambda *args: {})
    bundle = export_bundle(
        int8_checkpoint, target="tensorrt", precision="int8+fp16", out_dir=tmp_path / "b"
    ).path
    before = sorted(bundle.rglob("*"))
    commands = [("build", ""), *((name, NO_TENSORRT) for name in ("build", "profile", "evaluate"))]
    for command, here in commands:
        found = edgeresnet(command, bundle, "--device", "dla0", changed=here)
        assert found.returncode == 2, found.stderr
        assert "a DLA takes none" in found.stderr
        assert "--fp16" in found.stderr
        assert "--device gpu" in found.stderr
    assert sorted(bundle.rglob("*")) == before


def test_dla_is_offered_in_fp16_only(monkeypatch: pytest.MonkeyPatch) -> None:
    orin = cuda.Gpu("Orin", "8.7", "12.6", 8192, integrated=True)
    bindings = RecordingBuilder().bindings((10, 3, 0), dla_cores=2)
    monkeypatch.setattr(tensorrt, "find_gpu", lambda: orin)
    monkeypatch.setattr(tensorrt, "find_bindings", lambda: bindings)
    found = {device.name: device.capabilities for device in TARGETS["tensorrt"].devices()}
    assert found == {
        "gpu": ("fp32", "fp16", "int8"), "dla0": ("fp16",), "dla1": ("fp16",),
    }  # fmt: skip


def test_engine_for_a_dla_is_refused_when_it_computes_in_int8(tmp_path: Path) -> None:
    layer = {
        "name": "conv", "op": "Conv", "inputs": ["int8"], "weights": "int8", "outputs": ["int8"],
        "layers": [],
    }  # fmt: skip
    record = EngineRecord(
        "dla0", Host("tensorrt", "10.3.0"), "0" * 64, sha256_bytes(b"plan"), (), (1, 1, 1), False,
        False, None, (layer,),
    )  # fmt: skip
    path = write_engine(tmp_path, b"plan", record)
    with pytest.raises(InputError, match="a DLA takes none"):
        TARGETS["tensorrt"].load(path, "dla0", RunOptions())


def test_build_is_refused_when_no_record_could_name_the_gpu(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As on a Jetson without cuda-python: TensorRT builds, and nothing tells for what."""
    bindings, model = RecordingBuilder().bindings((10, 3, 0)), tmp_path / "m.onnx"
    model.write_bytes(b"onnx")
    monkeypatch.setattr(tensorrt, "find_bindings", lambda: bindings)
    for module in (tensorrt, cuda):
        monkeypatch.setattr(module, "find_gpu", lambda: "running TensorRT needs cuda-python")
    with pytest.raises(MissingError, match="needs cuda-python"):
        TARGETS["tensorrt"].save_engine(model, "gpu", tmp_path, BuildOptions())
    assert [path.name for path in tmp_path.iterdir()] == ["m.onnx"]


def test_build_names_the_memory_when_it_does_not_suffice(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    device = FakeCuda()
    device.integrated = True
    monkeypatch.setattr(cuda, "runtime", lambda: device)
    bindings, model = RecordingBuilder().bindings((10, 3, 0), plan=None), tmp_path / "m.onnx"
    model.write_bytes(b"onnx")
    log = log_of(bindings)
    monkeypatch.setattr(log, "take", lambda: [(1, "[E] OutOfMemory: no memory for 1 tactics")])
    with pytest.raises(CheckError) as caught:
        build_engine(bindings, model, "gpu", BuildOptions())
    assert "OutOfMemory" in caught.value.cause
    assert "unified memory" in caught.value.fix
    assert "--workspace-mib" in caught.value.fix


@pytest.mark.parametrize(("fallback", "fix"), [(False, "--gpu-fallback"), (True, "NVIDIA's")])
def test_build_offers_the_fallback_when_the_dla_cannot_run_a_model(
    tmp_path: Path, fallback: bool, fix: str
) -> None:
    bindings = RecordingBuilder().bindings((10, 3, 0), dla_cores=2, plan=None)
    model = tmp_path / "m.onnx"
    model.write_bytes(b"onnx")
    with pytest.raises(CheckError) as caught:
        build_engine(bindings, model, "dla0", BuildOptions(gpu_fallback=fallback))
    assert fix in caught.value.fix


def test_export_writes_a_bundle_when_no_tensorrt_is_here(
    edgeresnet: CommandLine, files: Path, tmp_path: Path
) -> None:
    done = edgeresnet(
        "export",
        files / "int8.pt",
        "--target",
        "tensorrt",
        "--int8",
        "-o",
        "b",
        changed=NO_TENSORRT,
    )
    assert done.returncode == 0, done.stderr
    assert "no engine is built" in done.stderr
    manifest = load_bundle(tmp_path / "b").manifest
    assert (manifest.target, manifest.precision, manifest.proof["logits_from"]) == (
        "tensorrt", "int8", "onnx",
    )  # fmt: skip
    assert sorted(manifest.files) == ["example.py", "golden.npz", "model.onnx"]
    assert "integer_kernels" not in manifest.proof
    assert {layer["precision"] for layer in manifest.layers} == {"int8"}


@needs_compiler
def test_bundle_has_a_hashed_engine_that_can_be_built_again(
    edgeresnet: CommandLine, files: Path, tmp_path: Path
) -> None:
    done = edgeresnet(
        "export", files / "float.pt", "--target", "tensorrt", "--int8", "--fp16", "--limit", 64,
        "--batch", "1:4:8", "--embed-preprocess", "-o", "b",
    )  # fmt: skip
    assert done.returncode == 0, done.stderr
    bundle = load_bundle(tmp_path / "b")
    assert bundle.manifest.precision == "int8+fp16"
    assert bundle.manifest.proof["integer_kernels"] == {"Conv": 20, "Add": 8, "Gemm": 1}
    engine = next(path for path in (bundle.path / "engines").iterdir() if path.suffix == ".engine")
    assert read_record(engine).batch == (1, 4, 8)
    content = engine.read_bytes()
    engine.write_bytes(content[:-1] + bytes([content[-1] ^ 1]))
    with pytest.raises(InputError, match=r"engine is not the file that was built"):
        load_bundle(bundle.path)
    again = edgeresnet("build", "b", "--workspace-mib", 128)
    assert again.returncode == 0, again.stderr
    rebuilt = load_bundle(bundle.path).manifest
    assert rebuilt.files["model.onnx"] == bundle.manifest.files["model.onnx"]
    assert read_record(engine).flags == ("STRONGLY_TYPED", "WORKSPACE=128MiB")
    shutil.rmtree(bundle.path / "engines")
    load_bundle(bundle.path)


def test_profile_says_what_is_missing_when_there_is_no_gpu(
    edgeresnet: CommandLine, files: Path, tmp_path: Path
) -> None:
    bundle = export_bundle(
        load_checkpoint(files / "int8.pt"),
        target="tensorrt",
        precision="int8",
        out_dir=tmp_path / "b",
    )
    if TARGETS["tensorrt"].devices():
        pytest.skip("an NVIDIA GPU is here")
    found = edgeresnet("profile", bundle.path)
    assert found.returncode == 3, found.stderr
    assert "fix: " in found.stderr
    assert "Traceback" not in found.stderr


@pytest.mark.parametrize("device", ["npu", "cpu", "dla"])
def test_device_is_refused_when_tensorrt_has_no_such(tmp_path: Path, device: str) -> None:
    with pytest.raises(MissingError, match=f"TensorRT has no device {device}"):
        TARGETS["tensorrt"].save_engine(tmp_path / "m.onnx", device, tmp_path, BuildOptions())


def test_build_refuses_tensorrts_options_when_the_bundle_is_anothers(
    edgeresnet: CommandLine, files: Path
) -> None:
    found = edgeresnet("build", files / "onnx-int8", "--gpu-fallback")
    assert found.returncode == 2, found.stderr
    assert "--gpu-fallback is a build option of tensorrt" in " ".join(found.stderr.split())


def test_devices_lists_tensorrt_with_reason_and_fix_when_it_is_missing(
    edgeresnet: CommandLine,
) -> None:
    found = edgeresnet("devices", "--json", "-", changed=NO_TENSORRT)
    assert found.returncode == 0, found.stderr
    targets = {target["name"]: target for target in json.loads(found.stdout)["targets"]}
    assert not targets["tensorrt"]["available"]
    assert "edgeresnet[tensorrt-rtx]" in targets["tensorrt"]["fix"]


@pytest.mark.parametrize(
    ("target", "precision"), [("openvino", "int8+fp16"), ("onnx", "fp16"), ("tensorrt", "bf16")]
)
def test_export_refuses_a_precision_when_the_target_has_none(
    int8_checkpoint: Checkpoint, tmp_path: Path, target: str, precision: str
) -> None:
    with pytest.raises(InputError, match="has no"):
        export_bundle(int8_checkpoint, target=target, precision=precision, out_dir=tmp_path / "b")


@needs_compiler
def test_pixels_and_an_open_batch_go_into_an_engine(
    int8_checkpoint: Checkpoint, tmp_path: Path
) -> None:
    options = ExportOptions(BatchRange(1, 4, 8), embed_preprocess=True)
    bundle = export_bundle(
        replace(int8_checkpoint, data="digits"), target="tensorrt", precision="int8+fp16",
        out_dir=tmp_path / "b", options=options,
    )  # fmt: skip
    record = read_record(next((bundle.path / "engines").glob("*.engine")))
    assert record.batch == (1, 4, 8)
    assert record.precision == "int8"
    assert bundle.manifest.proof["integer_kernels"]["Conv"] == 20
