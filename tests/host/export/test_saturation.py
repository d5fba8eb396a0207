"""Weights get 7 bits only where a processor needs them, and where a sum could saturate at all."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path

import numpy as np
import onnx
import pytest
import torch
from onnx import numpy_helper

from edgeresnet.api.export import export
from edgeresnet.api.inspect import inspect
from edgeresnet.api.opening import open_model
from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.device.machine import saturation as processor
from edgeresnet.device.targets.padding import run_padded
from edgeresnet.device.targets.registry import target_of
from edgeresnet.errors import InputError
from edgeresnet.host.export import saturation
from edgeresnet.host.export.export_bundle import export_bundle, folded, write_model
from edgeresnet.host.export.saturation import largest_pair, narrow, saturating_layers
from edgeresnet.host.models.checkpoint import Checkpoint, save_checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.progress import TaskContext
from edgeresnet.report.saturation import saturation_line
from edgeresnet.settings.export import ExportOptions
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import RunOptions
from tests.conftest import Command
from tests.examples import python_in
from tests.mixed import NARROW
from tests.small_checkpoints import make_checkpoint

HERE = processor.saturates_here()


def quantized(bits: int = 8, float_layers: tuple[str, ...] = ()) -> Checkpoint:
    """Weights of so many bits, of digits."""
    source = make_checkpoint(size=8, widths=NARROW)
    model = QuantResNet(source.build(), weight_bits=bits, float_layers=float_layers)  # type: ignore[arg-type]
    calibrate(model, [torch.randn(16, 3, 8, 8)], "ema")
    model.fold()
    return replace(
        source, precision="int8", quantization={"weight_bits": bits, "data": "digits"},
        state_dict=model.state_dict(), float_layers=float_layers,
    )  # fmt: skip


@pytest.fixture(scope="module")
def wide() -> Checkpoint:
    return quantized()


def saturates(integers: np.ndarray, activations: np.ndarray) -> bool:
    """Whether int16 cannot hold the sum of a pair of products, in either order of the weights."""
    orders = [(integers.reshape(len(integers), -1), activations.reshape(-1))]
    orders.append(
        (
            integers.transpose(0, 2, 3, 1).reshape(len(integers), -1),
            activations.transpose(1, 2, 0).reshape(-1),
        )
    )
    for weights, values in orders:
        products = weights.astype(np.int64) * values
        for first in (0, 1):
            pairs = products[:, first:]
            pairs = pairs[:, : pairs.shape[1] // 2 * 2].reshape(len(weights), -1, 2).sum(2)
            if pairs.size and (pairs.max() > 32767 or pairs.min() < -32768):
                return True
    return False


def test_no_sum_saturates_where_the_largest_pair_is_small() -> None:
    rng = np.random.default_rng(0)
    seen = set()
    for _ in range(200):
        shape = (3, int(rng.integers(1, 6)), *[int(rng.choice([1, 3]))] * 2)
        largest = int(rng.integers(30, 128))
        integers = rng.integers(-largest, largest + 1, shape).astype(np.int8)
        pair = largest_pair(integers)
        worst = any(
            saturates(integers, np.where(rng.random(shape[1:]) < 0.8, 255, 0)) for _ in range(20)
        )
        assert not (worst and pair <= 128)
        seen.add((worst, pair <= 128))
    assert {(True, False), (False, True)} <= seen


@pytest.mark.parametrize(
    ("weights", "pair"),
    [
        ([[100, 29]], 129),
        ([[100, -29]], 129),
        ([[-127]], 127),
        ([[100, 0, 100, 0]], 100),
        ([[64, 64, 64]], 128),
    ],
)
def test_largest_pair_is_of_neighbours(weights: list[list[int]], pair: int) -> None:
    assert largest_pair(np.array(weights, np.int8)) == pair


def test_neighbours_are_those_of_both_orders() -> None:
    integers = np.zeros((1, 2, 3, 3), np.int8)
    integers[0, 0, 1, 1] = integers[0, 1, 1, 1] = 100
    assert largest_pair(integers) == 200  # two channels at one place
    integers[0, 1, 1, 1], integers[0, 0, 1, 2] = 0, 100
    assert largest_pair(integers) == 200  # two places of one channel


def test_narrowed_weights_keep_their_ends_and_other_layers_all_their_bits(
    wide: Checkpoint,
) -> None:
    model = folded(wide)
    layers = saturating_layers(model)
    assert len(layers) > 10
    before = {name: q.scale.detach().clone() for name, q in model.quantizers().items()}
    narrow(model, layers[:2])
    for name, quantizer in model.quantizers().items():
        layer = name.removesuffix(".weight_quant")
        if layer in layers[:2]:
            assert torch.allclose(quantizer.scale * 63, before[name] * 127)
        else:
            assert torch.equal(quantizer.scale, before[name])
    assert saturating_layers(model) == layers[2:]


def test_layers_that_stay_float_have_no_sums() -> None:
    model = folded(quantized(float_layers=("layer2.0.conv1",)))
    assert "layer2.0.conv1" not in saturating_layers(model)


def test_weights_of_seven_bits_are_safe_as_they_are() -> None:
    narrow_one = quantized(bits=7)
    model = folded(narrow_one)
    assert saturating_layers(model) == ()
    found = saturation.without_saturation(model, narrow_one, TaskContext(), True)
    assert found == {"safe": True, "narrowed": []}
    assert saturation_line(found) == []


def weights_of(path: Path) -> dict[str, int]:
    """The largest magnitude of each layer's stored weights."""
    return {
        tensor.name.removesuffix(".weight.int8"): int(
            np.abs(numpy_helper.to_array(tensor).astype(int)).max()
        )
        for tensor in onnx.load(path).graph.initializer
        if tensor.name.endswith(".weight.int8")
    }


def test_bundle_for_any_processor_says_what_it_cost_and_opens(
    wide: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    said: list[str] = []
    bundle = export_bundle(
        wide, target="onnx", precision="int8", out_dir=tmp_path / "b", saturating=True,
        context=TaskContext(on_step=said.append),
    )  # fmt: skip
    found = load_bundle(bundle.path).manifest.saturation
    assert found is not None
    assert found["safe"]
    assert found["narrowed"] == list(saturating_layers(folded(wide)))
    assert found["images"] == 32
    assert 0.5 <= found["agreement"] <= 1
    assert abs(found["top1_change"]) <= 1 - found["agreement"]
    largest = weights_of(bundle.model_path)
    assert all(largest[layer] <= 63 for layer in found["narrowed"])
    assert any("weights of 7 bits in" in line for line in said)
    described = inspect(bundle.path)
    assert described["saturation"] == found
    assert "agreement" in saturation_line(found)[0]
    monkeypatch.setattr(processor, "saturates_here", lambda: True)
    with open_model(bundle.path):
        pass
    # The same bundle, as if its weights had stayed wide.
    manifest = bundle.path / "manifest.json"
    told = json.loads(manifest.read_text())
    told["saturation"] = {"safe": False, "narrowed": []}
    manifest.write_text(json.dumps(told))
    with (
        pytest.raises(InputError, match="whose sums saturate on this processor"),
        open_model(bundle.path),
    ):
        pass
    assert saturation_line(told["saturation"])[0].startswith("8-bit weights: not for processors")
    # So does the script that lies in it, which knows this processor by itself.
    ran = python_in(bundle.path, tmp_path, "example.py", "--check")
    assert ran.returncode == (1 if HERE else 0)
    assert ("8-bit products saturate on this processor" in ran.stderr) is HERE


def test_export_for_other_processors_is_refused_where_it_could_not_be_proven(
    wide: Checkpoint, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "saturates_here", lambda: True)
    with pytest.raises(InputError, match="it could not be proven") as caught:
        export_bundle(
            wide, target="onnx", precision="int8", out_dir=tmp_path / "b", saturating=False
        )
    assert "--for-device any" in caught.value.fix
    assert not (tmp_path / "b").exists()


def test_all_bits_stay_where_products_do_not_saturate(
    wide: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(saturation, "saturates_here", lambda: False)
    model = folded(wide)
    for told in (None, False):
        found = saturation.without_saturation(model, wide, TaskContext(), told)
        assert found == {"safe": False, "narrowed": []}
    assert {q.kind for q in model.quantizers().values() if q.axis == 0} == {"weight"}


def test_command_refuses_a_device_that_changes_nothing(
    wide: Checkpoint, tmp_path: Path, command: Command
) -> None:
    save_checkpoint(wide, tmp_path / "int8.pt")
    for options in (("--target", "tensorrt", "--int8"), ("--target", "onnx")):
        code, _, said = command(
            "export", tmp_path / "int8.pt", *options, "--for-device", "any", "-o", tmp_path / "b"
        )
        assert code == 2
        assert "--for-device any would have no effect" in " ".join(said.split())


def test_device_is_read_before_the_checkpoint(tmp_path: Path) -> None:
    with pytest.raises(InputError, match=r"device\.json"):
        export(
            tmp_path / "none.pt", tmp_path / "b", target="onnx", precision="int8",
            for_device=tmp_path / "device.json",
        )  # fmt: skip


@pytest.mark.slow
@pytest.mark.skipif(not HERE, reason="8-bit products do not saturate on this processor")
def test_wide_weights_saturate_here_and_narrowed_ones_do_not(tmp_path: Path) -> None:
    """In ONNX Runtime's own kernels: the network as written, and in integers."""
    images = np.full((2, 3, 8, 8), 3.0, np.float32)
    away = []
    for number in range(2):
        model = folded(quantized())
        with torch.no_grad():
            for layer in model.convolutions():
                layer.weight.abs_()
        calibrate(model, [torch.from_numpy(images)], "ema")
        if number:
            narrow(model, saturating_layers(model))
        (folder := tmp_path / str(number)).mkdir()
        _, files = write_model(model, InputSpec(8), "onnx", "int8", folder, ExportOptions())
        logits = []
        for as_written in (True, False):
            options = RunOptions(as_written=as_written)
            with target_of("onnx").load(files["model.onnx"], "cpu", options) as session:
                logits.append(run_padded(session, images))
        away.append(float(np.abs(logits[0] - logits[1]).max() / np.abs(logits[0]).max()))
    assert away[0] > 0.05
    assert away[1] < 0.01
