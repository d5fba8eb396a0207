"""Every rung of the ladder, and sensitivities, of networks that give embeddings."""

from __future__ import annotations

from typing import Any

import numpy as np
import pytest
import torch
from rich.console import Console

from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.measure.neighbours import cosines_of
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.models.quant_resnet import QuantResNet
from edgeresnet.host.models.validation import EvaluationSet, predict_logits
from edgeresnet.host.quantization import rounding
from edgeresnet.host.quantization.block_walk import units_of
from edgeresnet.host.quantization.calibrate import calibrate
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.host.quantization.sensitivity import Study, measure_sensitivity
from edgeresnet.progress import TaskContext
from edgeresnet.report.sensitivity import sensitivity_line, sensitivity_table
from edgeresnet.results.sensitivity import LayerSensitivity, SensitivityResults
from edgeresnet.settings.quantization import Method, QuantizeOptions
from edgeresnet.settings.training import TrainOptions
from tests.mixed import NARROW, plant_outlier
from tests.networks_without_head import without_head
from tests.small_checkpoints import make_checkpoint
from tests.test_results import check

DIGITS = TaskContext(data="digits", limit=48)
# Random weights: normalization stays as it is.
TRAIN = TrainOptions(
    epochs=2, lr=0.002, batch_size=32, label_smoothing=0.0, distill=0.5, augment="none"
)


@pytest.fixture(scope="module")
def plain() -> Checkpoint:
    return without_head(make_checkpoint(size=8, widths=NARROW))


@pytest.fixture(scope="module")
def uneven(plain: Checkpoint) -> Checkpoint:
    return plant_outlier(plain)


def figures(source: Checkpoint, method: Method, **options: Any) -> dict[str, Any]:
    asked = QuantizeOptions(method=method, calibration_images=32, **options)
    return dict(quantize_checkpoint(source, asked, context=DIGITS)[1])


def test_equalizing_brings_embeddings_nearer_when_channels_are_uneven(uneven: Checkpoint) -> None:
    ruined, mended = (
        figures(uneven, method, observer="minmax")["cosine"]["mean"]
        for method in ("ptq", "equalize")
    )
    assert 1 - mended < (1 - ruined) / 2


def test_observer_is_the_one_of_the_largest_cosine_when_there_is_no_classifier(
    uneven: Checkpoint,
) -> None:
    row = figures(uneven, "observer")["rungs"][0]
    distances = row["divergences"]
    assert row["observer"] == min(distances, key=distances.get)
    assert 0 < distances[row["observer"]] < distances["minmax"]


def test_adaround_learns_every_block_when_there_is_no_classifier(
    plain: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(rounding, "STEPS", 40)
    names = [unit.name for unit in units_of(QuantResNet(plain.build()))]
    assert names == ["stem", *(f"layer{i}.{j}" for i in (1, 2, 3, 4) for j in (0, 1))]
    row = figures(plain, "adaround", weight_bits=4)["rungs"][0]
    assert row["blocks"] == 9
    assert row["blocks_improved"] > 0


def test_mixed_keeps_the_culprit_in_float_when_there_is_no_classifier(uneven: Checkpoint) -> None:
    found = figures(uneven, "mixed", observer="minmax", max_disagreement=0.1)
    assert found["float_layers"][:2] == ["layer2.0.conv1", "layer2.0.conv2"]
    told = found["sensitivities"]
    assert max(told, key=told.get) == "layer2.0.conv2"
    assert found["agreement"] > figures(uneven, "ptq", observer="minmax")["agreement"]


@pytest.mark.parametrize("method", [pytest.param("qat", marks=pytest.mark.slow), "qat-distill"])
def test_training_brings_embeddings_nearer_when_weights_have_4_bits(
    plain: Checkpoint, method: Method
) -> None:
    said: list[str] = []
    options = QuantizeOptions(
        method=method, calibration_images=32, weight_bits=4, freeze_bn=0, train=TRAIN
    )
    context = TaskContext(data="digits", limit=256, on_step=said.append)
    before = figures_of("ptq", plain, context)["cosine"]["mean"]
    trained, told = quantize_checkpoint(plain, options, context=context)
    assert "a training learns from the float network's embeddings alone (distill 1)" in said
    assert 1 - told["cosine"]["mean"] < 0.9 * (1 - before)
    assert trained.classes == ()


def figures_of(method: Method, source: Checkpoint, context: TaskContext) -> dict[str, Any]:
    options = QuantizeOptions(method=method, calibration_images=32, weight_bits=4)
    return dict(quantize_checkpoint(source, options, context=context)[1])


def test_auto_climbs_to_what_keeps_the_budget_when_there_is_no_classifier(
    uneven: Checkpoint,
) -> None:
    ruined = figures(uneven, "ptq", observer="minmax")["agreement"]
    found = figures(uneven, "auto", observer="minmax", max_disagreement=(1 - ruined) / 2)
    assert found["rungs"][0]["method"] == "ptq"
    assert found["verdict"] == "pass"
    assert found["method"] != "ptq"


def test_training_refuses_what_needs_classes_when_there_is_no_classifier(
    plain: Checkpoint,
) -> None:
    train = TrainOptions(distill=0.0)
    with pytest.raises(InputError, match="distill 0 in quantization-aware training needs classes"):
        figures(plain, "qat", train=train)


def test_float_logits_are_the_float_networks_when_there_is_no_classifier(
    plain: Checkpoint,
) -> None:
    """No quantizer is left on: the last one has no reader."""
    images = open_dataset("digits", "val", limit=16)
    network: Any = plain.build()
    wanted, _ = predict_logits(network, images, plain.input_spec)
    model = QuantResNet(network).eval()
    calibrate(model, [torch.randn(16, 3, 8, 8)], "minmax")
    model.fold()
    study = Study(model, EvaluationSet(images, plain.input_spec))
    found = study.float_logits()
    assert np.allclose(found, wanted, atol=1e-5)
    assert not np.allclose(study.logits(), wanted, atol=1e-3)


def test_sensitivity_is_of_embeddings_when_there_is_no_classifier(uneven: Checkpoint) -> None:
    asked = QuantizeOptions(observer="ema", calibration_images=32)
    found = measure_sensitivity(uneven, DIGITS, asked)
    check(found, SensitivityResults)
    for row in found["layers"]:
        check(row, LayerSensitivity)
    assert found["layers"][0]["name"] == "layer2.0.conv2"
    assert len(found["layers"]) == 20
    assert {row["kl_only"] for row in found["layers"]} == {None}
    cosines = [row["cosine_only"] or 0 for row in found["layers"]]
    assert cosines == sorted(cosines)
    console = Console(width=80, record=True)
    console.print(sensitivity_table(found), sensitivity_line(found))
    text = console.export_text()
    assert "layer4.0.downsample.0 " in text
    assert "1-cos rest  top-1 rest" in text
    assert f"cosine {found['cosine']:.4f}, top-1 {found['top1_float']:.4f}" in text


def test_cost_is_that_of_the_embeddings_when_all_is_quantized(plain: Checkpoint) -> None:
    images = open_dataset("digits", "val", limit=24)
    network: Any = plain.build()
    model = QuantResNet(network).eval()
    calibrate(model, [torch.randn(16, 3, 8, 8)], "minmax")
    model.fold()
    labels = np.asarray(images.labels, np.int64)
    study = Study(model, EvaluationSet(images, plain.input_spec), labels)
    reference, logits = study.float_logits(), study.logits()
    cost = study.cost(reference, logits)
    assert cost.kl is None
    assert cost.cosine == pytest.approx(cosines_of(reference, logits)["mean"], abs=1e-6)
    unit = reference / np.linalg.norm(reference, axis=1, keepdims=True)
    similar = unit @ unit.T
    np.fill_diagonal(similar, -2)
    assert np.array_equal(study.answers(reference), labels[similar.argmax(1)])
