"""The JSON contract: what the tasks give is what its types say, key by key."""

from __future__ import annotations

import json
import typing
from collections.abc import Mapping
from pathlib import Path
from typing import Any, get_origin

import pytest
from typing_extensions import NotRequired

import edgeresnet
from edgeresnet.device.measure.decisions import decide
from edgeresnet.device.measure.statistics import Interval
from edgeresnet.results.evaluated import EvaluateResults
from edgeresnet.results.made import PruneResults, QuantizeResults, TrainResults
from edgeresnet.results.measured import (
    Budget,
    CompareResults,
    CompareRow,
    ProfileResults,
    ProfileRow,
)

CONTEXT = edgeresnet.TaskContext(data="digits", limit=40)
BRIEF = edgeresnet.TrainOptions(epochs=1, batch_size=16, lr=0.01, augment="none", workers=0)


def check(result: Mapping[str, Any], kind: Any, *, more: bool = False) -> None:
    """The keys are those of the type, and it is JSON; ``more``: others may stand beside them."""
    # Annotations are strings: only evaluated ones tell what may be absent.
    hints = typing.get_type_hints(kind, include_extras=True)
    required = {key for key, hint in hints.items() if get_origin(hint) is not NotRequired}
    assert required <= result.keys(), required - result.keys()
    assert more or result.keys() <= hints.keys(), result.keys() - hints.keys()
    assert json.loads(json.dumps(result)) is not None


@pytest.mark.parametrize("name", ["onnx-int8", "openvino-fp32", "int8.pt"])
def test_profile_and_evaluate_give_what_their_types_say(files: Path, name: str) -> None:
    profiled = edgeresnet.profile(files / name, layers=name == "onnx-int8")
    check(profiled, ProfileResults)
    for row in profiled["batches"]:
        check(row, ProfileRow)
    evaluated = edgeresnet.evaluate(files / name, context=CONTEXT)
    check(evaluated, EvaluateResults)
    assert evaluated["n"] == 40


def test_compare_gives_what_its_type_says(files: Path) -> None:
    models = [files / "onnx-fp32", files / "onnx-int8"]
    compared = edgeresnet.compare(
        models, edgeresnet.Budgets(max_drop=1.0), rounds=2, context=CONTEXT
    )
    check(compared, CompareResults)
    for row in compared["rows"]:
        check(row, CompareRow)
    for budget in compared["budgets"]:
        check(budget, Budget)
    check(decide("max_drop", 0.1, {"a": Interval(0.0, -0.1, 0.1)}), Budget)


def test_train_prune_and_quantize_give_what_their_types_say(tmp_path: Path) -> None:
    model = edgeresnet.ModelSettings(arch="resnet18")
    trained = edgeresnet.train(tmp_path / "a.pt", model, BRIEF, image_size=8, context=CONTEXT)
    check(trained, TrainResults)
    options = edgeresnet.PruneOptions(macs=0.5, images=16, train=BRIEF)
    pruned = edgeresnet.prune(tmp_path / "a.pt", tmp_path / "b.pt", options, context=CONTEXT)
    check(pruned, PruneResults, more=True)
    ptq = edgeresnet.QuantizeOptions(method="ptq", calibration_images=16)
    quantized = edgeresnet.quantize(tmp_path / "b.pt", tmp_path / "c.pt", ptq, context=CONTEXT)
    check(quantized, QuantizeResults)
    # What an interrupted task would have gone on from is gone.
    assert sorted(path.name for path in tmp_path.iterdir()) == ["a.pt", "b.pt", "c.pt"]
