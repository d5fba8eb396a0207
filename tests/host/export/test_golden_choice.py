"""Golden images are those that damage shows on."""

from __future__ import annotations

from dataclasses import replace
from pathlib import Path

import numpy as np
import pytest
import torch

from edgeresnet.device.bundle.bundle import load_bundle
from edgeresnet.host.export import mutants as mutants_module
from edgeresnet.host.export.export_bundle import folded
from edgeresnet.host.export.golden_choice import GoldenChoice, _greedy, choose_golden
from edgeresnet.host.export.logit_bound import reference_logits
from edgeresnet.host.export.mutants import mutants
from edgeresnet.host.models.checkpoint import Checkpoint

PIXELS = np.random.default_rng(0).integers(0, 256, (12, 16, 16, 3), dtype=np.uint8)


@pytest.mark.parametrize("precision", ["int8", "fp32"])
def test_mutants_leave_the_network_as_it_was(
    int8_checkpoint: Checkpoint, checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch,
    precision: str,
) -> None:  # fmt: skip
    monkeypatch.setattr(mutants_module, "MOST_MACS", 1e18)
    monkeypatch.setattr(mutants_module, "MOST_MUTANTS", 14)
    source = int8_checkpoint if precision == "int8" else checkpoint
    model, few = folded(source), PIXELS[:2]
    before = {name: tensor.clone() for name, tensor in model.state_dict().items()}
    right = reference_logits(model, few, source.input_spec, precision)
    found = list(mutants(model, few, source.input_spec, 1))
    assert len(found) == 14
    assert len({one.tobytes() for one in found}) > 10
    assert sum(not np.allclose(one, right, atol=1e-4) for one in found) > 8
    again = reference_logits(model, few, source.input_spec, precision)
    assert np.array_equal(again, right)
    assert all(torch.equal(tensor, before[name]) for name, tensor in model.state_dict().items())
    assert not any(m._forward_hooks for m in model.modules())
    repeated = list(mutants(model, few, source.input_spec, 1))
    assert all(np.array_equal(a, b) for a, b in zip(found, repeated, strict=True))


def test_mutants_are_fewer_where_they_cost_more_or_time_is_up(
    int8_checkpoint: Checkpoint, monkeypatch: pytest.MonkeyPatch
) -> None:
    model, spec = folded(int8_checkpoint), int8_checkpoint.input_spec
    monkeypatch.setattr(mutants_module, "MOST_MACS", 5.0)
    monkeypatch.setattr(mutants_module, "MOST_MUTANTS", 20)
    # Those of the classifier are free, of the others there are five images' worth of the network.
    assert 10 < len(list(mutants(model, PIXELS[:1], spec, 1))) < 20
    assert len(list(mutants(model, PIXELS[:1], spec, 100))) == 10
    seconds = iter([0.0, 1.0, 2.0, *[21.0] * 20])
    assert len(list(mutants(model, PIXELS[:1], spec, 0, lambda: next(seconds)))) == 2


def test_greedy_chooses_the_images_that_damage_shows_on() -> None:
    logits = np.zeros((20, 10), np.float32)
    logits[np.arange(20), np.arange(20) % 10] = 9
    found = np.repeat(logits[None], 5, axis=0)
    for damage, image in enumerate((3, 7, 11, 15, 19)):
        found[damage, image] = np.roll(found[damage, image], 1)
    chosen = _greedy(found, logits, 1.0, "int8", 8)
    assert {3, 7, 11, 15, 19} <= set(chosen.tolist())
    assert len(chosen) == 8
    assert chosen.tolist() == sorted(set(chosen.tolist()))
    caught = GoldenChoice(logits[chosen], logits[chosen], found[:, chosen])
    assert caught.detection(1.0, "int8") == {"mutants": 5, "caught": 5, "caught_there": 5}
    first = GoldenChoice(logits[:8], logits[:8], found[:, :8])
    assert first.detection(1.0, "int8") == {"mutants": 5, "caught": 2, "caught_there": 2}


def test_detection_counts_what_only_the_same_kernels_tell() -> None:
    logits = np.zeros((8, 10), np.float32)
    logits[:, 0] = 9
    found = np.stack([logits + 0.5, logits + 0.05])
    choice = GoldenChoice(logits, logits, found)
    assert choice.detection(1.0, "int8") == {"mutants": 2, "caught": 0, "caught_there": 1}
    assert choice.detection(1.0, "fp32") == {"mutants": 2, "caught": 0, "caught_there": 0}
    assert GoldenChoice(logits, logits, found[:0]).detection(1.0, "int8") is None


def test_choice_is_the_first_images_where_there_is_no_choice(checkpoint: Checkpoint) -> None:
    model = folded(checkpoint)
    chosen = choose_golden(model, PIXELS[:3], checkpoint.input_spec, "fp32", 1, 16)
    assert np.array_equal(chosen.images, PIXELS[:3])
    assert len(chosen.logits) == 3


def test_manifest_says_how_many_damaged_networks_are_caught(files: Path) -> None:
    manifest = load_bundle(files / "onnx-int8").manifest
    found = manifest.golden_detection
    assert found is not None
    assert 0 < found["caught"] <= found["caught_there"] <= found["mutants"]
    assert manifest.description()["golden_detection"] == found
    assert str(manifest.golden_from).startswith("onnx ")
    older = replace(manifest, golden_from=None, golden_detection=None)
    assert "golden_from" not in older.to_json()
    assert type(manifest).from_json(older.to_json()).golden_detection is None
    assert load_bundle(files / "onnx-fp32").manifest.golden_from is None
