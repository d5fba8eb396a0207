"""Training with what torch's compiler makes of the passes."""

from __future__ import annotations

import copy
import os
import shutil
from collections.abc import Iterator
from dataclasses import replace
from pathlib import Path

import pytest
import torch
from torch import Tensor, nn
from torch._dynamo.utils import counters

from edgeresnet.device.data.preprocess import normalize
from edgeresnet.errors import InputError, MissingError
from edgeresnet.files.places import cache_dir
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.resnet import Widths, build_resnet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.training import compiling
from edgeresnet.host.training.fit import fit
from edgeresnet.host.training.step import Learner
from edgeresnet.settings.training import TrainOptions, TrainPrecision
from tests.blobs import CPU, SHORT, SPEC, blobs, network

PLAIN = replace(SHORT, augment="none", warmup=0.0, lr=0.01)
compiler = pytest.mark.skipif(shutil.which("g++") is None, reason="no C++ compiler (g++) here")


@pytest.fixture(scope="module")
def kernels(tmp_path_factory: pytest.TempPathFactory) -> str:
    """A folder for what is compiled."""
    return str(tmp_path_factory.mktemp("kernels"))


@pytest.fixture(autouse=True)
def _from_the_start(kernels: str, monkeypatch: pytest.MonkeyPatch) -> Iterator[None]:
    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", kernels)
    counters.clear()
    yield
    torch.compiler.reset()


def test_training_is_refused_when_there_is_no_compiler(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler -O2")
    with pytest.raises(MissingError, match="and no-such-compiler is not here") as caught:
        Learner(network(), replace(PLAIN, compile=True), 10, CPU)
    assert "leave out compile" in caught.value.fix


@pytest.mark.slow
@compiler
def test_training_is_refused_when_the_compiler_fails(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    import torch._inductor.config as inductor

    monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", str(tmp_path))
    failing = inductor.patch({"cpp.cxx": ("false",)})  # type: ignore[attr-defined]
    with failing, pytest.raises(MissingError, match="PyTorch cannot compile here"):
        Learner(network(), replace(PLAIN, compile=True), 10, CPU)


@pytest.mark.parametrize("given", [None, "/tmp/torchinductor_me", "/mine"])
def test_kernels_are_kept_where_nobody_else_can_put_theirs(
    given: str | None, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setenv("CXX", "no-such-compiler")
    monkeypatch.setattr(compiling, "TORCHS_OWN", "/tmp/torchinductor_")
    if given is None:
        monkeypatch.delenv("TORCHINDUCTOR_CACHE_DIR")
    else:
        monkeypatch.setenv("TORCHINDUCTOR_CACHE_DIR", given)
    with pytest.raises(MissingError):
        Learner(network(), replace(PLAIN, compile=True), 10, CPU)
    kept = os.environ["TORCHINDUCTOR_CACHE_DIR"]
    assert kept == ("/mine" if given == "/mine" else str(cache_dir() / "torch"))


def test_compile_is_refused_when_levels_are_looked_into() -> None:
    with pytest.raises(InputError, match="compile fuses the levels that distill_features"):
        TrainOptions(distill=1, distill_features=1, compile=True)


def test_keys_of_older_runs_stay_when_nothing_is_compiled() -> None:
    assert "compile" not in TrainOptions().to_dict()
    assert TrainOptions(compile=True).to_dict()["compile"] is True


def resnet(kind: str, images: Tensor) -> nn.Module:
    torch.manual_seed(0)
    widths = Widths(8, (8, 8, 8, 8), (((8,), (8,)),) * 4)
    plain = build_resnet("resnet18", 2, "small", widths)
    # As pruning leaves it; compiling takes half of the time.
    for level in (plain.layer1, plain.layer2, plain.layer3, plain.layer4):
        level[1] = nn.Identity()
    if kind == "float":
        return plain
    model = QuantResNet(plain, live_bn=True)
    calibrate(model, [images], "minmax")
    with torch.no_grad():
        for quantizer in model.quantizers().values():
            # The largest element would lie on the end of the grid, where the last bit decides
            # whether a gradient passes.
            quantizer.scale.mul_(1.1)
    if kind == "frozen":
        model.freeze_bn()
    return model


def gradients(kind: str, options: TrainOptions, device: torch.device) -> list[dict[str, Tensor]]:
    """Of a first step, as it is and compiled; the loss is beside them."""
    data = blobs("train", 32)
    batch = torch.from_numpy(normalize(data.pixels, SPEC)), torch.from_numpy(data.labels)
    start = resnet(kind, batch[0])
    found = []
    for wanted in (False, True):
        learner = Learner(copy.deepcopy(start), replace(options, compile=wanted), 10, device)
        loss, _ = learner.step(*(tensor.to(device) for tensor in batch))
        trained = learner.model.named_parameters()
        found.append({"loss": loss, **{n: p.grad for n, p in trained if p.grad is not None}})
    return found


def held_near(kind: str, precision: TrainPrecision, near: float, device: torch.device) -> None:
    """An element whose rounding goes the other way by its last bit is a whole step of the grid."""
    options = replace(PLAIN, accumulate=2, precision=precision)
    plain, compiled = gradients(kind, options, device)
    assert plain.keys() == compiled.keys()
    apart = {
        name: float((compiled[name] - grad).norm() / grad.norm().clamp_min(1e-3))
        for name, grad in plain.items()
    }
    assert max(apart.values()) < near, apart
    # All of it in one piece: the passes, and before them the trial.
    assert not counters["graph_break"]
    assert counters["stats"]["unique_graphs"] == 2


@pytest.mark.slow
@compiler
@pytest.mark.parametrize(
    ("kind", "precision", "near"),
    [("float", "fp32", 1e-4), ("live", "fp32", 0.01), ("frozen", "fp32", 0.01),
     ("float", "bf16", 0.3)],
)  # fmt: skip
def test_compiled_steps_have_the_gradients_of_the_others(
    kind: str, precision: TrainPrecision, near: float
) -> None:
    held_near(kind, precision, near, CPU)


@pytest.mark.gpu
@pytest.mark.parametrize(("kind", "precision"), [("float", "fp32"), ("live", "fp16")])
def test_compiled_steps_have_the_gradients_of_the_others_on_a_gpu(
    kind: str, precision: TrainPrecision
) -> None:
    held_near(kind, precision, 0.3, torch.device("cuda"))


@pytest.mark.slow
@compiler
def test_training_with_compiled_steps_learns_and_leaves_the_network_as_it_is() -> None:
    options = replace(SHORT, epochs=5, compile=True, ema=0.5)
    model = network()
    names = list(model.state_dict())
    # 47 images: batches of two sizes.
    result = fit(model, blobs("train", 47), blobs("val"), SPEC, options, progress=False)
    assert result.top1 > 0.9
    assert list(result.state_dict) == list(model.state_dict()) == names
    plain = fit(
        network(), blobs("train", 47), blobs("val"), SPEC, replace(options, compile=False),
        progress=False,
    )  # fmt: skip
    assert result.history[-1]["loss"] == pytest.approx(plain.history[-1]["loss"], abs=0.02)
    assert not counters["graph_break"]
