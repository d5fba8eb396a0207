"""Quantized networks are held against the float one on as many images as decide the budget."""

from __future__ import annotations

from pathlib import Path
from types import SimpleNamespace
from typing import Any

import numpy as np
import pytest

from edgeresnet.device.data.open import open_dataset
from edgeresnet.device.measure import sequential
from edgeresnet.errors import InputError
from edgeresnet.host.models.checkpoint import Checkpoint
from edgeresnet.host.quantization.quantize_checkpoint import quantize_checkpoint
from edgeresnet.host.quantization.reference import reference_of
from edgeresnet.progress import TaskContext
from edgeresnet.run.quantize_stage import _lasting, quantize_stage
from edgeresnet.run.recipe import load_recipe
from edgeresnet.run.stages import Stage, Variant
from edgeresnet.settings.quantization import QuantizeOptions
from tests.host.training.test_train_checkpoint import narrow_weights

COUNT = 100
# What 400 images and more are in truth.
FEWEST = 20
LOOKS = [20, 45, COUNT]


@pytest.fixture
def checkpoint(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Checkpoint:
    monkeypatch.setattr(sequential, "FEWEST", FEWEST)
    return narrow_weights(tmp_path / "w.pt")


def quantized(checkpoint: Checkpoint, **options: Any) -> Any:
    told = QuantizeOptions(method="ptq", calibration_images=16, **options)
    context = TaskContext(data="digits", limit=COUNT)
    return quantize_checkpoint(checkpoint, told, context=context)[1]


@pytest.mark.parametrize("limit", [{"max_drop": 1.0}, {"max_class_drop": 1.0},
                                   {"max_disagreement": 1.0}])  # fmt: skip
def test_quantize_stops_at_the_look_that_decides(
    checkpoint: Checkpoint, limit: dict[str, float]
) -> None:
    figures = quantized(checkpoint, **limit)
    (budget,) = figures["budgets"]
    assert (figures["images"], figures["looks"]) == (LOOKS[0], LOOKS)
    assert (budget["decision"], budget["images"], budget["looks"]) == ("kept", LOOKS[0], LOOKS)
    # Float and quantized network on the same images.
    gone = figures["top1_float"] - figures["top1_int8"]
    assert gone == pytest.approx(figures["drop"])
    assert sum(n for n, _, _ in figures["class_changes"].values()) == LOOKS[0]


@pytest.mark.parametrize("limit", [{}, {"max_drop": 0.0}, {"max_drop": 1.0, "all_images": True}])
def test_quantize_takes_all_images_when_nothing_stops_it(
    checkpoint: Checkpoint, limit: dict[str, Any]
) -> None:
    figures = quantized(checkpoint, **limit)
    assert (figures["images"], figures["looks"]) == (COUNT, [COUNT])


def test_quantize_refuses_all_images_when_no_budget_would_leave_any_out(
    checkpoint: Checkpoint,
) -> None:
    with pytest.raises(InputError, match="--all-images has no effect"):
        quantized(checkpoint, all_images=True)


def test_answers_are_in_the_order_of_the_data_when_the_looks_are_not(
    checkpoint: Checkpoint,
) -> None:
    val_set = open_dataset("digits", "val", limit=COUNT)
    several = reference_of(checkpoint, val_set, limits={"max_drop": 0.5}, seed=3)
    assert [look.images for look in several.plan] == LOOKS
    at_once = reference_of(checkpoint, val_set)
    assert np.array_equal(several.answers, at_once.answers)
    assert several.top1 == at_once.top1
    assert several.doubts(by_name=True)[0].startswith("top-1 ")


def test_a_stage_that_outlives_its_budget_is_evaluated_on_all_images() -> None:
    given = ["quantize.max_drop=0.01", "quantize.method=ptq"]
    options = load_recipe("quickstart", given).quantize
    assert not options.all_images
    assert _lasting(options).all_images
    for kept in (["quantize.method=auto", given[0]], given[1:]):
        options = load_recipe("quickstart", kept).quantize
        assert _lasting(options) is options


@pytest.mark.parametrize(
    ("given", "budget"),
    [(["quantize.method=ptq", "quantize.max_drop=0.01", "quantize.max_class_drop=0.1"], None),
     (["quantize.method=auto"], [0.005, False]),
     (["quantize.method=auto", "quantize.max_class_drop=0.1"], [None, False, None, 0.1])],
)  # fmt: skip
def test_the_key_of_the_stage_is_the_older_one_where_nothing_new_is_said(
    tmp_path: Path, given: list[str], budget: list[float] | None
) -> None:
    recipe, told = load_recipe("quickstart", given), []
    run: Any = SimpleNamespace(
        recipe=recipe, path=tmp_path, stage=lambda *stage: told.append((stage[0], stage[1]))
    )
    quantize_stage(run, Variant("", Stage(tmp_path, "before"), recipe.quantize))
    assert told[0][0] == "03-quantize"
    options = told[0][1]["quantize"]
    assert options.pop("budget", None) == budget
    assert not {"all_images", "max_drop", "max_class_drop", "max_disagreement"} & options.keys()
    more = load_recipe("quickstart", [*given, "quantize.all_images=true"]).quantize
    quantize_stage(run, Variant("", Stage(tmp_path, "before"), more))
    assert told[1][1]["quantize"]["all_images"]
