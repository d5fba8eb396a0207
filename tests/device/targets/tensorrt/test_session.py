"""A session's order of work on a fake device, and on an NVIDIA GPU where there is one."""

from __future__ import annotations

from pathlib import Path
from typing import Any

import numpy as np
import pytest
import torch

from edgeresnet.device.bundle.build import build_bundle
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.bundle.golden import check_golden
from edgeresnet.device.data.preprocess import normalize
from edgeresnet.device.targets.protocol import PhaseTimes
from edgeresnet.device.targets.registry import TARGETS
from edgeresnet.device.targets.tensorrt import cuda, deserialize
from edgeresnet.device.targets.tensorrt import session as tensorrt_session
from edgeresnet.device.targets.tensorrt.bindings import Bindings, find_bindings
from edgeresnet.device.targets.tensorrt.cuda import find_gpu
from edgeresnet.device.targets.tensorrt.session import TensorRtSession
from edgeresnet.errors import CheckError, InputError
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.settings.export import BatchRange, ExportOptions
from edgeresnet.settings.measuring import RunOptions
from tests.fake_cuda import (
    CALLED,
    CLASSES,
    CREATING,
    SIDE,
    TRT,
    FakeContext,
    FakeCuda,
    FakeEngine,
    Module,
    NoMemory,
    Status,
)


@pytest.fixture
def device(monkeypatch: pytest.MonkeyPatch) -> FakeCuda:
    fake = FakeCuda()
    for module in (cuda, tensorrt_session):
        monkeypatch.setattr(module, "runtime", lambda: fake)
    return fake


def opened(
    device: FakeCuda,
    options: RunOptions | None = None,
    product: str = "tensorrt",
    engine: Any = None,
) -> tuple[TensorRtSession, Any]:
    engine = engine or FakeEngine(device)
    bindings = Bindings(product, TRT, (10, 3, 0))
    return TensorRtSession(bindings, engine, options or RunOptions(), "gpu"), engine


def images(count: int, seed: int = 0) -> np.ndarray:
    generator = np.random.default_rng(seed)
    return generator.standard_normal((count, 3, SIDE, SIDE), dtype=np.float32)


def expected(batch: np.ndarray) -> np.ndarray:
    return batch.sum((1, 2, 3))[:, None] + np.arange(CLASSES, dtype=np.float32)


@pytest.mark.parametrize("cuda_graph", [True, False])
def test_run_gives_each_batchs_own_logits_when_sizes_change(
    device: FakeCuda, cuda_graph: bool
) -> None:
    session, _ = opened(device, RunOptions(cuda_graph=cuda_graph))
    with session:
        assert session.batch_sizes == (1, 8)
        assert session.input_shape == (3, SIDE, SIDE)
        kept = []
        for seed, count in enumerate((4, 4, 1, 8, 4)):
            batch = images(count, seed)
            kept.append((session.run(batch), batch))
        # Checked at the end: a result must not be the buffer that the next run writes into.
        for logits, batch in kept:
            assert np.allclose(logits, expected(batch), atol=1e-5)
    assert device.memory == {}
    assert device.calls.count("graph") == (5 if cuda_graph else 0)
    created = sum(call.startswith("cudaEventCreate") for call in device.calls)
    assert device.calls.count("cudaEventDestroy") == created == 4
    graphs = 4 if cuda_graph else 0
    assert device.calls.count("cudaGraphExecDestroy") == graphs


def test_run_copies_computes_and_copies_back_in_that_order(device: FakeCuda) -> None:
    session, _ = opened(device, RunOptions(cuda_graph=False))
    with session:
        session.run(images(2))
        work = [c for c in device.calls if c in ("copy1", "enqueue", "copy2")]
        assert work == ["copy1", "enqueue", "copy2"]
        times = session.phase_times_ms()
        assert isinstance(session, PhaseTimes)
    assert set(times) == {"h2d_ms", "compute_ms", "d2h_ms", "enqueue_ms"}
    assert all(value >= 0 for value in times.values())


def test_run_polls_only_when_spinning_is_asked_for(device: FakeCuda) -> None:
    for spin in (False, True):
        session, _ = opened(device, RunOptions(spin_wait=spin))
        with session:
            session.run(images(1))
        assert (device.spins > 0) is spin


def test_run_refuses_when_the_batch_is_larger_than_the_engines(device: FakeCuda) -> None:
    session, _ = opened(device)
    with session, pytest.raises(InputError, match="batches of 1 to 8, not 9"):
        session.run(images(9))


def test_layers_are_timed_and_named_only_when_profiled(device: FakeCuda) -> None:
    session, _ = opened(device, RunOptions(profile_layers=True))
    with session:
        session.run(images(1))
        (layer,) = session.layers(2)
    assert (layer.name, layer.op, layer.precision, layer.unit) == ("conv1", "conv", "int8", "gpu")
    assert layer.time_ms == 0.5
    assert "graph" not in device.calls
    session, _ = opened(device)
    with session, pytest.raises(InputError, match="layers were not timed"):
        session.layers(2)


@pytest.mark.parametrize(
    ("options", "strategy"),
    [
        (RunOptions(), "whole"),
        (RunOptions(cuda_graph=False), "disabled"),
        (RunOptions(profile_layers=True), "disabled"),
    ],
)
def test_tensorrt_rtx_makes_its_own_graph(
    device: FakeCuda, options: RunOptions, strategy: str
) -> None:
    session, engine = opened(device, options, product="tensorrt-rtx")
    with session:
        batch = images(3)
        assert np.allclose(session.run(batch), expected(batch), atol=1e-5)
    assert engine.settings.cuda_graph_strategy == strategy
    assert "graph" not in device.calls


@pytest.mark.parametrize("product", ["tensorrt", "tensorrt-rtx"])
@pytest.mark.parametrize("integrated", [False, True])
def test_context_that_cannot_be_made_is_an_error_about_memory(
    device: FakeCuda, product: str, integrated: bool
) -> None:
    device.integrated = integrated
    with pytest.raises(CheckError) as caught:
        opened(device, product=product, engine=FakeEngine(device, too_large=True))
    assert "TensorRT makes no execution context" in caught.value.cause
    assert "--workspace-mib" in caught.value.fix
    assert ("unified memory" in caught.value.fix) is integrated
    assert nothing_is_held(device)


def test_memory_that_cannot_be_had_is_an_error_about_memory(device: FakeCuda) -> None:
    device.integrated = True
    device.failing["cudaMalloc"] = NoMemory(2)
    session, _ = opened(device)
    with session, pytest.raises(CheckError) as caught:
        session.run(images(1))
    assert "cudaErrorMemoryAllocation" in caught.value.cause
    assert "--workspace-mib" in caught.value.fix
    assert "unified memory" in caught.value.fix
    assert nothing_is_held(device)
    del device.failing["cudaMalloc"]
    session, _ = opened(device)
    with session:
        assert session.run(images(1)).shape == (1, CLASSES)


@pytest.mark.parametrize(
    "failing", ["cudaEventCreateWithFlags", "cudaStreamCreate", "cudaGraphInstantiate"]
)
def test_nothing_is_held_when_a_session_cannot_be_made_or_run(
    device: FakeCuda, failing: str
) -> None:
    device.failing[failing] = Status(999)

    def use() -> None:
        session, _ = opened(device)
        with session:
            session.run(images(1))

    with pytest.raises(CheckError, match="CUDA failed"):
        use()
    assert nothing_is_held(device)
    assert ("cudaGraphDestroy" in device.calls) is (failing == "cudaGraphInstantiate")


def test_engine_that_is_too_large_to_load_is_an_error_about_memory(device: FakeCuda) -> None:
    class Runtime:
        def __init__(self, log: Any) -> None:
            self.log = log

        def deserialize_cuda_engine(self, plan: bytes) -> None:
            self.log.log(1, "[defaultAllocator.cpp] Cuda Runtime (out of memory)")

    bindings = Bindings("tensorrt", Module(ILogger=TRT.ILogger, Runtime=Runtime), (10, 3, 0))
    with pytest.raises(CheckError) as caught:
        deserialize.deserialize(bindings, b"plan", "gpu", host_code=False)
    assert "out of memory" in caught.value.cause
    assert "--workspace-mib" in caught.value.fix


def test_run_fails_when_tensorrt_does_not_take_the_shape(
    device: FakeCuda, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(FakeContext, "set_input_shape", lambda *args: False)
    session, _ = opened(device)
    with session, pytest.raises(CheckError, match="does not take batches of 2"):
        session.run(images(2))


def nothing_is_held(device: FakeCuda) -> bool:
    """Whether all memory, events, streams and graphs were given back."""
    made = {
        name: sum(call.startswith(name) for call in device.calls) - failed
        for name, failed in (
            ("cudaStreamCreate", int("cudaStreamCreate" in device.failing)),
            ("cudaEventCreate", int("cudaEventCreateWithFlags" in device.failing)),
        )
    }
    returned = {name: device.calls.count(name.replace("Create", "Destroy")) for name in made}
    return made == returned and not device.memory


@pytest.mark.gpu
@pytest.mark.parametrize("precision", ["int8", "int8+fp16"])
def test_engine_agrees_with_fake_quantization_when_a_gpu_is_here(
    int8_checkpoint: Checkpoint, tmp_path: Path, precision: str
) -> None:
    gpu, bindings = find_gpu(), find_bindings()
    if isinstance(gpu, str) or isinstance(bindings, str):
        reasons = [reason for reason in (gpu, bindings) if isinstance(reason, str)]
        pytest.skip("; ".join(reasons))
    options = ExportOptions(BatchRange(1, 4, 8))
    export_bundle(
        int8_checkpoint, target="tensorrt", precision=precision, out_dir=tmp_path / "b",
        options=options,
    )  # fmt: skip
    build_bundle(tmp_path / "b", "gpu")
    bundle = load_bundle(tmp_path / "b")
    pixels, _ = bundle.golden()
    batch = normalize(pixels, bundle.manifest.input_spec)
    with torch.inference_mode():
        wanted = int8_checkpoint.build()(torch.from_numpy(batch)).numpy()
    for cuda_graph in (True, False):
        run_options = RunOptions(cuda_graph=cuda_graph)
        with TARGETS["tensorrt"].load(bundle.model_path, "gpu", run_options) as session:
            check_golden(bundle, session, "gpu", f"{precision}-{cuda_graph}")
            found = session.run(batch)
            assert np.abs(found - wanted).max() <= 0.1 * np.ptp(wanted)
            assert isinstance(session, PhaseTimes)
            times = session.phase_times_ms()
            print(f"{gpu.name}, {bindings.product} {bindings.version_text}: {times}")
            assert all(times[key] > 0 for key in ("h2d_ms", "compute_ms", "d2h_ms"))


def test_the_fake_cuda_has_only_names_of_cuda_and_refuses_others() -> None:
    runtime = pytest.importorskip(
        "cuda.bindings.runtime", reason="cuda-python's bindings are not installed"
    )
    known = [*CREATING, *CALLED, *(name for name in vars(FakeCuda) if name.startswith("cuda"))]
    assert [name for name in known if not hasattr(runtime, name)] == []
    with pytest.raises(AttributeError, match="cudaEventSynchronise"):
        FakeCuda().cudaEventSynchronise(1)
    with pytest.raises(TypeError, match="0 arguments"):
        FakeCuda().cudaEventSynchronize()
