"""Every setting says what it is and its limits; all faults are told at once; keys stay."""

from __future__ import annotations

import hashlib
import json
from collections.abc import Callable
from dataclasses import asdict, replace
from typing import Any

import pytest

from edgeresnet.errors import InputError
from edgeresnet.run.recipe import Recipe, load_recipe
from edgeresnet.settings.base import made_of
from edgeresnet.settings.export import (
    BatchRange,
    BuildOptions,
    ExportOptions,
    ExportSettings,
)
from edgeresnet.settings.faults import SettingsError
from edgeresnet.settings.inputs import InputSpec
from edgeresnet.settings.measuring import Budgets, CompareSettings, RunOptions
from edgeresnet.settings.pruning import PruneOptions
from edgeresnet.settings.quantization import QuantizeOptions
from edgeresnet.settings.training import QAT_DEFAULTS, ModelSettings, TrainOptions

KINDS: list[type[Any]] = [
    TrainOptions, ModelSettings, PruneOptions, QuantizeOptions, ExportSettings, ExportOptions,
    BuildOptions, BatchRange, CompareSettings, RunOptions, Budgets, InputSpec, Recipe,
]  # fmt: skip


def digest(text: str) -> str:
    return hashlib.sha256(text.encode()).hexdigest()[:16]


@pytest.mark.parametrize("kind", KINDS, ids=lambda kind: kind.__name__)
def test_every_setting_is_described_in_whole_phrases(kind: type[Any]) -> None:
    fields = kind.__pydantic_fields__
    assert fields
    for name, field in fields.items():
        text = field.description or ""
        assert text.endswith("."), name
        assert text[:1].isupper(), name
        assert not text.startswith("Of "), name
        assert len(text.split()) > 2, name


@pytest.mark.parametrize(
    ("make", "causes", "fixes"),
    [
        (
            lambda: TrainOptions(batch_size=1, lr=-1.0, optimizer="z"),  # type: ignore[arg-type]
            ["batch_size 1 is too small", "lr -1.0 is too small", "optimizer z is not known"],
            ["give batch_size of 2 or more.", "give lr above 0.", "optimizer as sgd or adamw."],
        ),
        (
            lambda: TrainOptions(epohcs=3, ema=1.0),  # type: ignore[call-arg]
            ["epohcs: unknown key (is epochs meant?)", "ema 1.0 is too large"],
            ["give ema below 1."],
        ),
        (
            lambda: TrainOptions(epochs=1.5, lr=float("nan")),  # type: ignore[arg-type]
            ["epochs 1.5 is not a whole number", "lr nan is not a finite number"],
            ["give epochs as a whole number."],
        ),
        (
            lambda: PruneOptions(floor=3, pattern="2:4", criterion="fpgm"),
            ["floor 3 is too large", "2:4 needs scores of single weights"],
            ["give criterion taylor or l1."],
        ),
        (
            lambda: PruneOptions(macs=1.5, latency=0.5),
            ["1.5 of the present macs leaves nothing to prune", "there is macs and latency"],
            ["give one of macs, parameters, latency, latency_ms or pattern."],
        ),
        (
            lambda: InputSpec(4, mean=(0.0, 0.0)),  # type: ignore[arg-type]
            ["image_size 4 is too small", "mean (0.0, 0.0) does not normalize"],
            ["give image_size of 8 or more."],
        ),
        (
            lambda: InputSpec(std=(1.0, 0.0, 1.0)),
            ["std (1.0, 0.0, 1.0) does not normalize"],
            ["three positive deviations."],
        ),
        (
            lambda: ExportSettings(targets=(), batch="8:1"),
            ["targets is empty", "batch 8:1 is not a size or a range"],
            ["smallest:best:largest"],
        ),
        (lambda: made_of(Budgets, {"max_drop": 2, 3: 1}), ["drop 2", "3: unknown key"], ["of 1"]),
        (lambda: made_of(Recipe, [1]), ["is not keys and values"], ["keys and values"]),
        (lambda: BatchRange(smallest=1), ["best: missing", "largest: missing"], ["mend"]),  # type: ignore[call-arg]
    ],
)  # fmt: skip
def test_all_faults_are_told_at_once_when_settings_are_made(
    make: Callable[[], object], causes: list[str], fixes: list[str]
) -> None:
    with pytest.raises(InputError) as caught:
        make()
    assert [cause for cause in causes if cause not in caught.value.cause] == []
    assert [fix for fix in fixes if fix not in caught.value.fix] == []
    assert "pydantic" not in str(caught.value)


def test_a_fault_knows_its_key_when_it_is_in_a_section() -> None:
    with pytest.raises(SettingsError) as caught:
        made_of(QuantizeOptions, {"train": {"epochs": "z"}, "max_drop": 2})
    assert [fault.name for fault in caught.value.faults] == ["max_drop", "train.epochs"]


def test_settings_are_checked_again_when_one_is_replaced() -> None:
    options = PruneOptions(macs=0.5)
    with pytest.raises(InputError, match="one budget"):
        replace(options, latency=0.5)
    with pytest.raises(AttributeError):
        options.macs = 0.2  # type: ignore[misc]


def test_a_section_takes_the_defaults_of_its_place() -> None:
    options = made_of(QuantizeOptions, {"train": {"epochs": 9}})
    assert options.train == replace(QAT_DEFAULTS, epochs=9)
    assert made_of(QuantizeOptions, {"train": None}).train == QAT_DEFAULTS


def test_plain_values_are_those_of_which_stage_keys_were_made() -> None:
    # A digest that changes makes every stage of every run that was made before run again.
    recipe = load_recipe("quickstart", ["quantize.weight_bits=7"])
    assert recipe.train is not None
    values = {"train": recipe.train.to_dict(), "export": recipe.export.to_dict()}
    # In the key of an export by what it says, where it is given.
    del values["export"]["for_device"]
    values["quantize"] = recipe.quantize.to_dict()
    # A budget: it is in the key of a stage where it is given, and method auto looks at it.
    del values["quantize"]["max_disagreement"]
    found = {name: digest(json.dumps(plain, sort_keys=True)) for name, plain in values.items()}
    found["model"] = digest(json.dumps(recipe.model.to_dict(), sort_keys=True))
    assert found == {
        "model": "6f03ed5375675600", "train": "c424ebd6311c03d2",
        "quantize": "3e0464f18b36bcf6", "export": "b2085815c23259d5",
    }  # fmt: skip
    pruned = load_recipe("resnet50_imagenet_pruned_int8").prune
    assert pruned is not None
    plain = {**asdict(pruned), "train": pruned.train.to_dict()}
    assert digest(json.dumps(plain, sort_keys=True)) == "14c5b2a6bd9d71af"
    # What an interrupted pruning goes on from is recognised by its text.
    assert digest(repr(pruned)) == "6bddef1adcd052cc"
    jetson = load_recipe("resnet50_jetson_int8").export.to_dict()
    del jetson["for_device"]
    assert digest(json.dumps(jetson, sort_keys=True)) == "255bf209adde3db8"
