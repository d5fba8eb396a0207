"""Mixed precision takes the layers out of integers that need it, and no others."""

from __future__ import annotations

from collections.abc import Mapping
from typing import Any

import pytest
import torch

from edgeresnet.device.data.open import open_dataset
from edgeresnet.host.models.pixels import Normalizer
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.validation import EvaluationSet
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.quantization.mixed import float_group, mixed_precision
from edgeresnet.host.quantization.reference import Reference, reference_of
from tests.mixed import NARROW, plant_outlier
from tests.small_checkpoints import make_checkpoint

IMAGES = 64


@pytest.fixture(scope="module")
def planted() -> tuple[QuantResNet, Reference, EvaluationSet]:
    """With a channel of 64 times its size, calibrated by its extremes."""
    checkpoint = plant_outlier(make_checkpoint(size=8, widths=NARROW))
    dataset = open_dataset("digits", "val", limit=IMAGES)
    images = EvaluationSet(dataset, checkpoint.input_spec)
    reference = reference_of(checkpoint, dataset)
    model = QuantResNet(reference.model, weight_bits=7)
    normalize = Normalizer(checkpoint.input_spec, torch.device("cpu"))
    calibrate(model, map(normalize, images.read(IMAGES)), "ema")
    model.fold()
    return model.eval(), reference, images


def agrees(least: float) -> Any:
    def keeps(figures: Mapping[str, Any]) -> bool:
        return bool(figures["agreement"] >= least)

    return keeps


def test_the_layers_beside_an_outlier_become_float_and_no_others(
    planted: tuple[QuantResNet, Reference, EvaluationSet],
) -> None:
    model, reference, images = planted
    model.keep_in_float(())
    assert reference.figures(model)["agreement"] < 0.9
    said: list[str] = []
    found = mixed_precision(model, reference, agrees(0.9), images, on_step=said.append)
    assert found.kept
    assert found.float_layers == ("layer2.0.conv1", "layer2.0.conv2")
    assert model.float_layers == found.float_layers
    assert found.figures["agreement"] >= 0.9
    assert said[-1] == "mixed precision: layer2.0.conv1, layer2.0.conv2 in float"


def test_nothing_becomes_float_when_the_budget_is_kept(
    planted: tuple[QuantResNet, Reference, EvaluationSet],
) -> None:
    model, reference, images = planted
    model.keep_in_float(())
    found = mixed_precision(model, reference, lambda figures: True, images)
    assert (found.float_layers, found.kept, found.figures["networks_tried"]) == ((), True, 1)


def test_most_layers_allowed_are_tried_when_no_mix_keeps_the_budget(
    planted: tuple[QuantResNet, Reference, EvaluationSet],
) -> None:
    model, reference, images = planted
    model.keep_in_float(())
    found = mixed_precision(model, reference, lambda figures: False, images, most_share=0.3)
    assert not found.kept
    assert 2 <= len(found.float_layers) <= 0.3 * 21
    assert {"layer2.0.conv1", "layer2.0.conv2"} <= set(found.float_layers)


def test_float_group_is_what_must_be_float_for_a_layer_to_read_float() -> None:
    wiring = QuantResNet(make_checkpoint(widths=NARROW).build()).wiring  # type: ignore[arg-type]
    for layer in wiring.layers:
        grid = next(grid.quantizer for grid in wiring.grids if layer in grid.readers)
        group = float_group(wiring, layer)
        assert grid in wiring.off(group)
        assert all(grid not in wiring.off(set(group) - {one}) for one in group if one != layer)
