"""The rungs' own promises: same float logits, same means, a smaller error on the same grid."""

from __future__ import annotations

import json
from dataclasses import replace
from pathlib import Path
from typing import Any, get_args

import pytest
import torch
from torch import Tensor

from edgeresnet.device.data.content_hashes import content_fingerprint
from edgeresnet.device.data.open import open_dataset
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantConv, QuantLinear, QuantResNet
from edgeresnet.host.quantization import rounding
from edgeresnet.host.quantization.bias_correction import channel_means, correct_biases
from edgeresnet.host.quantization.block_walk import Unit, units_of, walk
from edgeresnet.host.quantization.calibrate import calibrate, images_until_settled
from edgeresnet.host.quantization.calibration_images import HELD_OUT, CalibrationImages
from edgeresnet.host.quantization.equalization import equalized, inner_quantizers
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.host.quantization.rounding import Rounded, round_weights
from edgeresnet.host.quantization.rungs.registry import RUNGS, rungs_of
from edgeresnet.progress import TaskContext
from edgeresnet.settings.quantization import QuantizeOptions, RungName
from edgeresnet.settings.training import QAT_DEFAULTS
from tests.host.training.test_train_checkpoint import NARROW
from tests.small_checkpoints import make_checkpoint


def narrow(arch: str = "resnet18", size: int = 8) -> Checkpoint:
    widths = NARROW if arch == "resnet18" else None
    if widths is None:
        inner = tuple(((8, 8),) * depth for depth in (3, 4, 6, 3))
        widths = replace(NARROW, streams=(16, 16, 16, 16), inner=inner)
    return make_checkpoint(arch, size=size, widths=widths)


def images(n: int = 24, size: int = 8, seed: int = 1) -> list[Tensor]:
    generator = torch.Generator().manual_seed(seed)
    return list(torch.randn(n, 3, size, size, generator=generator).split(8))


def calibrated(checkpoint: Checkpoint, bits: int = 8) -> tuple[QuantResNet, QuantResNet]:
    network: Any = checkpoint.build()
    model = QuantResNet(network, weight_bits=bits).eval()
    calibrate(model, images(), "minmax")
    return model, QuantResNet(network, weight_bits=bits).eval()


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_equalization_changes_no_float_logit_and_evens_out_channels(arch: str) -> None:
    network: Any = narrow(arch).build().eval()
    model = QuantResNet(network)
    generator = torch.Generator().manual_seed(0)
    ranges = {
        name: torch.rand(8, generator=generator).mul(6).exp() for name in inner_quantizers(model)
    }
    ranges[next(iter(ranges))][3] = 0  # a channel that is never active
    even, largest = equalized(network, ranges)
    with torch.no_grad():
        for batch in images():
            assert torch.allclose(even(batch), network(batch), rtol=0, atol=1e-4)
    assert largest > 2
    assert any(
        not torch.equal(a, b) for a, b in zip(even.parameters(), network.parameters(), strict=True)
    )
    # The inner convolutions alone: the residual stream keeps its normalization.
    last = "bn2" if arch == "resnet18" else "bn3"
    own, changed = network.state_dict(), even.state_dict()
    for name in own:
        if f".{last}." in name or name.startswith(("bn1", "fc", "conv1")):
            assert torch.equal(own[name], changed[name]), name


def test_units_together_are_the_whole_network() -> None:
    model, _ = calibrated(narrow())
    x = images()[0]
    with torch.no_grad():
        wanted, found = model(x), x
        for unit in units_of(model):
            found = unit.run(found)
    assert torch.equal(found, wanted)
    layers = [layer for unit in units_of(model) for layer in unit.layers]
    assert len(layers) == len(model.convolutions()) + 1


@pytest.mark.parametrize("arch", ["resnet18", "resnet50"])
def test_bias_correction_gives_every_channel_the_float_networks_mean(arch: str) -> None:
    model, plain = calibrated(narrow(arch), bits=7)
    seen = images()
    before = _means(model, seen)
    assert walk(model, plain, seen, correct_biases) == 24
    wanted, found = _means(plain, seen), _means(model, seen)
    for a, b in zip(found, wanted, strict=True):
        assert torch.allclose(a, b, atol=1e-5)
    assert max(float((a - b).abs().max()) for a, b in zip(before, wanted, strict=True)) > 1e-3


def _means(model: QuantResNet, batches: list[Tensor]) -> list[Tensor]:
    layers = [m for m in model.modules() if isinstance(m, QuantConv | QuantLinear)]
    return channel_means(model, layers, batches)


def test_adaround_lowers_the_blocks_error_on_images_that_it_has_not_seen(
    monkeypatch: pytest.MonkeyPatch,
) -> None:
    monkeypatch.setattr(rounding, "STEPS", 100)
    checkpoint = narrow()
    model, plain = calibrated(checkpoint, bits=7)
    nearest, _ = calibrated(checkpoint, bits=7)
    with torch.no_grad():
        for layer in (*model.convolutions(), *nearest.convolutions()):
            layer.weight_quant.scale *= 2  # six bits: of more there is little to gain
    found: list[Rounded] = []
    errors: list[tuple[float, float]] = []
    new = smooth(images(32, seed=9))

    def visit(unit: Unit, own: Unit, inputs: list[Tensor], floats: list[Tensor]) -> None:
        if unit.name not in ("stem", "layer1.0"):
            return
        at = [u.name for u in units_of(nearest)].index(unit.name)
        with torch.no_grad():
            x, y = new, new
            for one, other in zip(units_of(model)[:at], units_of(plain)[:at], strict=True):
                x, y = one.run(x), other.run(y)
            before = (unit.run(x) - own.run(y)).square().mean()
        found.append(round_weights(unit, own, inputs, floats))
        with torch.no_grad():
            errors.append((float((unit.run(x) - own.run(y)).square().mean()), float(before)))

    walk(model, plain, list(smooth(images(160)).split(8)), visit)
    assert any(one.kept for one in found)
    for one, (after, before) in zip(found, errors, strict=True):
        if one.kept:
            assert one.learned < one.nearest
            assert after < before
        else:
            assert after == before
    _check_grid(model, nearest)


def _check_grid(model: QuantResNet, nearest: QuantResNet) -> None:
    """Integers of the same grid, each at most one step from the nearest."""
    moved = 0
    own = dict(nearest.named_modules())
    for name, layer in model.named_modules():
        if not isinstance(layer, QuantConv | QuantLinear):
            continue
        before: Any = own[name]
        step = layer.weight_quant.step().reshape(-1, *[1] * (layer.weight.ndim - 1))
        assert torch.equal(layer.weight_quant.scale, before.weight_quant.scale)
        low, high = layer.weight_quant.range
        after = layer.weight_quant(layer.weight) / step
        usual = before.weight_quant(before.weight) / step
        assert torch.allclose(after, after.round(), atol=1e-3)
        assert after.min() >= low - 1e-3
        assert after.max() <= high + 1e-3
        assert (after - usual).abs().max() <= 1 + 1e-3
        moved += int(((after - usual).abs() > 0.5).sum())
    assert moved > 0


def smooth(batches: list[Tensor]) -> Tensor:
    """Pixels that go with their neighbours: of white noise nearest rounding is the best."""
    few = torch.cat(batches)[:, :, :3, :3]
    return torch.nn.functional.interpolate(few, size=8, mode="bilinear")


@pytest.mark.slow
@pytest.mark.parametrize("target", ["onnx", "openvino"])
def test_a_learned_rounding_is_proven_by_the_export_as_any_checkpoint(
    target: str, tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "STEPS", 20)
    monkeypatch.setattr(rounding, "LEAST_GAIN", -1.0)  # whatever it has learned
    options = QuantizeOptions(method="adaround", calibration_images=40)
    context = TaskContext(data="digits", limit=60)
    result, figures = quantize_checkpoint(narrow(), options, context=context)
    assert figures["rungs"][0]["blocks_improved"] == figures["rungs"][0]["blocks"] == 10
    export_bundle(result, target=target, precision="int8", out_dir=tmp_path / "bundle")
    manifest = json.loads((tmp_path / "bundle" / "manifest.json").read_text())
    assert manifest["proof"]["share_outside"] <= 0.01


def test_adaround_leaves_what_pruning_has_made_zero() -> None:
    model, plain = calibrated(narrow(), bits=8)
    unit, own = units_of(model)[1], units_of(plain)[1]
    with torch.no_grad():
        for layer in unit.layers:
            layer.weight[:, ::2] = 0
    soft = rounding.SoftRounding(unit.layers[0].weight_quant, unit.layers[0].weight)
    torch.nn.init.constant_(soft.logit, 5.0)
    assert (soft.hard()[:, ::2] == 0).all()
    assert (soft.hard()[:, 1::2] != unit.layers[0].weight[:, 1::2]).any()
    assert own.layers[0].weight[:, ::2].any()


def test_images_until_settled_doubles_until_nothing_moves() -> None:
    model = QuantResNet(narrow().build())  # type: ignore[arg-type]
    taken: list[int] = []

    def parts(quiet_from: int) -> Any:
        for i in range(6):
            taken.append(i)
            size = 1.0 if i >= quiet_from else 3.0**-i
            yield [image * (5.0 if i == 2 and quiet_from > 2 else size) for image in images(8)]

    assert images_until_settled(model, parts(0), "minmax") == 16
    taken.clear()
    assert images_until_settled(model, parts(9), "minmax") == 32
    assert taken == [0, 1, 2, 3]
    assert all(q.observer is None and q.enabled for q in model.quantizers().values())


def test_calibration_images_are_balanced_nested_and_held_out_ones_are_others() -> None:
    train = open_dataset("digits", "train")
    few, many = CalibrationImages(train, 0, 40), CalibrationImages(train, 0, 80)
    record = few.record()
    assert record["calibration_images"] == 40
    assert record["calibration_classes"] == {str(i): 4 for i in range(10)}
    assert record["calibration_digest"] == content_fingerprint(few.chosen)
    assert record["calibration_digest"] != many.record()["calibration_digest"]

    def names(dataset: Any) -> set[bytes]:
        return {dataset.image(i).tobytes() for i in range(len(dataset))}

    assert names(few.chosen) < names(many.chosen)
    assert len(few.held_out) == HELD_OUT
    assert not names(few.held_out) & names(few.chosen)
    whole = CalibrationImages(train, 0, len(train))
    assert whole.chosen is train
    assert not names(whole.held_out) & names(whole.learned)
    assert names(whole.held_out) | names(whole.learned) == names(train)
    sizes = [len(part) for part in whole.parts()]
    assert sizes[:3] == [64, 64, 128]
    assert sum(sizes) == min(4096, len(train))


def test_every_rung_of_the_settings_has_a_function_in_the_same_order() -> None:
    assert tuple(RUNGS) == get_args(RungName)
    assert rungs_of(QuantizeOptions(method="auto")) == list(RUNGS)
    alone = replace(QAT_DEFAULTS, distill=1.0)
    assert rungs_of(QuantizeOptions(method="auto", train=alone)) == list(RUNGS)[:-1]


@pytest.mark.parametrize("name", [n for n in RUNGS if not n.startswith("qat")])
def test_each_rung_is_asked_for_by_its_name(
    name: RungName, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "STEPS", 2)
    options = QuantizeOptions(method=name, calibration_images=20)
    context = TaskContext(data="digits", limit=60)
    result, figures = quantize_checkpoint(narrow(), options, context=context)
    assert (figures["method"], len(figures["rungs"])) == (name, 1)
    assert figures["calibration_classes"] == {str(i): 2 for i in range(10)}
    assert result.quantization is not None
    assert result.quantization["calibration_digest"] == figures["calibration_digest"]
    if name == "observer":
        nearest = figures["rungs"][0]["divergences"]
        assert figures["observer"] == min(nearest, key=nearest.__getitem__)
