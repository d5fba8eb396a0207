"""The rung that keeps layers in float: which ones is chosen on images that judge nothing."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.errors import InputError
from edgeresnet.host.export.export_bundle import export_bundle
from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from edgeresnet.host.quantization import rounding
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.progress import TaskContext
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import QAT_DEFAULTS
from tests.mixed import NARROW, plant_outlier
from tests.small_checkpoints import CPU_TARGETS, make_checkpoint

LIMIT = 240


@pytest.fixture(scope="module")
def mixed(tmp_path_factory: pytest.TempPathFactory) -> Path:
    """What the rung makes of a network with an outlier between layer2.0's convolutions."""
    hard = plant_outlier(make_checkpoint(size=8, widths=NARROW), 256.0)
    said: list[str] = []
    options = QuantizeOptions(
        method="mixed",
        observer="minmax",
        max_disagreement=0.1,
        calibration_images=64,
        weight_bits=7,
    )
    context = TaskContext(data="digits", limit=LIMIT, on_step=said.append, progress=False)
    plain = QuantizeOptions(method="ptq", observer="minmax", calibration_images=64)
    assert quantize_checkpoint(hard, plain, context=context)[1]["agreement"] < 0.85
    made, figures = quantize_checkpoint(hard, options, context=context)
    (row,) = figures["rungs"]
    assert row["float_layers"] == ["layer2.0.conv1", "layer2.0.conv2"]
    assert row["networks_tried"] > 1
    worst, *others = row["sensitivities"].values()
    assert {*row["sensitivities"]} == {*made.build().wiring.layers}
    assert worst >= max(others)
    assert (figures["method"], figures["verdict"]) == ("mixed", "pass")
    assert figures["agreement"] > 0.9
    assert any("layer2.0.conv1, layer2.0.conv2 in float" in line for line in said)
    path = tmp_path_factory.mktemp("mixed") / "c.pt"
    save_checkpoint(made, path)
    return path


@pytest.mark.parametrize("target", CPU_TARGETS)
def test_the_layers_in_float_travel_to_the_bundle(mixed: Path, target: str, tmp_path: Path) -> None:
    checkpoint = load_checkpoint(mixed)
    assert checkpoint.float_layers == ("layer2.0.conv1", "layer2.0.conv2")
    bundle = export_bundle(checkpoint, target=target, precision="int8", out_dir=tmp_path / "b")
    layers = {
        layer["name"]: layer["precision"] for layer in load_bundle(bundle.path).manifest.layers
    }
    assert {name for name, precision in layers.items() if precision != "int8"} == {
        "layer2.0.conv1", "layer2.0.conv2"
    }  # fmt: skip


def test_without_a_budget_it_has_that_of_auto() -> None:
    assert QuantizeOptions(method="mixed").limits(labelled=True) == {"max_drop": 0.005}
    assert QuantizeOptions(method="mixed").limits(labelled=False) == {"max_disagreement": 0.02}
    assert QuantizeOptions(method="ptq").limits(labelled=True) == {}


@pytest.mark.parametrize(
    "method",
    [*(pytest.param(m, marks=pytest.mark.slow) for m in ("ptq", "equalize")), "adaround", "qat"],
)
def test_layers_named_by_hand_stay_float_by_every_method(
    method: Any, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "STEPS", 20)
    checkpoint = make_checkpoint(size=8, widths=NARROW)
    context = TaskContext(data="digits", limit=120, progress=False)
    short = replace(QAT_DEFAULTS, epochs=2, batch_size=64, augment="none", workers=0)
    options = QuantizeOptions(
        method=method, calibration_images=32, float_layers=("fc", "conv1"), train=short
    )
    made, figures = quantize_checkpoint(checkpoint, options, context=context)
    assert made.float_layers == ("conv1", "fc")
    assert figures["rungs"][0]["float_layers"] == ["conv1", "fc"]
    model = made.build()
    weights = dict(model.named_modules())["conv1"].weight
    steps = weights / weights.abs().amax((1, 2, 3), keepdim=True) * 127
    # Nobody has put them on a grid.
    assert (steps - steps.round()).abs().max() > 0.1


def test_a_layer_that_is_none_is_refused_before_the_work() -> None:
    said: list[str] = []
    context = TaskContext(data="digits", limit=120, progress=False, on_step=said.append)
    options = QuantizeOptions(method="ptq", float_layers=("conv1", "layer9.0.conv1"))
    with pytest.raises(InputError, match=r"'layer9\.0\.conv1' is no layer that can stay float"):
        quantize_checkpoint(make_checkpoint(size=8, widths=NARROW), options, context=context)
    assert not said


def test_named_layers_are_split_at_commas_and_in_no_older_key() -> None:
    options = QuantizeOptions(method="ptq", float_layers="conv1,fc")  # type: ignore[arg-type]
    assert options.float_layers == ("conv1", "fc")
    assert "float_layers" in options.to_dict()
    assert "float_layers" not in QuantizeOptions(method="ptq").to_dict()
