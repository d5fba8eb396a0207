"""What commands make of shards is what they make of the folder, tensor by tensor."""

from __future__ import annotations

import json
from collections.abc import Sequence
from dataclasses import replace
from pathlib import Path
from typing import Any

import pytest
import torch

from edgeresnet.host.models.checkpoint import load_checkpoint, save_checkpoint
from tests.conftest import Command
from tests.host.training.test_train_checkpoint import narrow_weights
from tests.shards import photos, sharded

QUANTIZE = ("quantize", "n.pt", "-o", "OUT.pt", "--method")
BRIEF = ("--epochs", "1", "--batch-size", "8", "--augment", "light")
# Of a run and of a comparison these are measured, or say what is measured where.
OF_THIS_TIME = {"seconds", "data", "environment", "board", "doubts"}
RECIPE = """
name: tiny
data: photos
image_size: 8
model: {weights: n.pt}
train: {epochs: 1, batch_size: 8, augment: light}
prune: {macs: 0.8, step: 4, images: 16, train: {epochs: 1, batch_size: 8, augment: light}}
quantize: {method: ptq, calibration_images: 12}
export: {targets: [onnx], precisions: [int8]}
"""


@pytest.fixture
def place(tmp_path: Path, monkeypatch: pytest.MonkeyPatch) -> Path:
    """A folder of images, its shards and a network of their classes; one is there."""
    sharded(photos(tmp_path / "photos", train=12, val=6, size=8), tmp_path / "shards", each=5)
    network = narrow_weights(tmp_path / "n.pt", classes=2)
    named = replace(network, classes=("cat", "dog"), classes_known=True)
    save_checkpoint(named, tmp_path / "n.pt")
    monkeypatch.chdir(tmp_path)
    return tmp_path


def assert_same_tensors(one: Path, other: Path) -> None:
    mine, theirs = load_checkpoint(one).state_dict, load_checkpoint(other).state_dict
    assert mine.keys() == theirs.keys()
    assert all(torch.equal(tensor, theirs[name]) for name, tensor in mine.items())


def settled(told: Any) -> Any:
    """Without what is another each time: times, and what is said of them."""
    if isinstance(told, dict):
        return {key: settled(value) for key, value in told.items() if key not in OF_THIS_TIME}
    return [settled(value) for value in told] if isinstance(told, list) else told


@pytest.mark.parametrize(
    "arguments",
    [
        (*QUANTIZE, "ptq"),
        pytest.param((*QUANTIZE, "qat", *BRIEF), marks=pytest.mark.slow),
        ("prune", "n.pt", "-o", "OUT.pt", "--macs", "0.8", "--step", "4", *BRIEF),
    ],
    ids=lambda given: f"{given[0]}-{given[5]}",
)
def test_a_command_makes_the_same_network_of_both(
    place: Path, command: Command, arguments: Sequence[str]
) -> None:
    for data in ("photos", "shards"):
        own = [one.replace("OUT", data) for one in arguments]
        code, _, err = command(*own, "--data", data, "--json", f"{data}.json")
        assert code == 0, err
    assert_same_tensors(place / "photos.pt", place / "shards.pt")
    one, other = (json.loads((place / f"{data}.json").read_text()) for data in ("photos", "shards"))
    assert settled(one) == settled(other)


def assert_same_answers(one: Path, other: Path) -> None:
    rows, others = (json.loads(path.read_text())["rows"] for path in (one, other))
    for row, same in zip(rows, others, strict=True):
        for key in ("top1", "top5", "agreement", "top1_difference", "changed"):
            assert row.get(key) == same.get(key)


@pytest.mark.slow
def test_a_comparison_answers_the_same_on_both(place: Path, command: Command) -> None:
    narrow_weights(place / "other.pt", classes=2)
    for data in ("photos", "shards"):
        told = ("--data", data, "--json", f"{data}.json", "--class-order", "sorted")
        code, _, err = command("compare", "n.pt", "other.pt", *told)
        assert code == 0, err
    assert_same_answers(place / "photos.json", place / "shards.json")


@pytest.mark.slow
def test_a_run_comes_to_the_same_on_both(place: Path, command: Command) -> None:
    (place / "r.yaml").write_text(RECIPE)
    for data in ("photos", "shards"):
        code, _, err = command("run", "r.yaml", "--set", f"data={data}", "-o", f"run-{data}", "-q")
        assert code in (0, 1), err
    runs = [place / f"run-{data}" for data in ("photos", "shards")]
    checkpoints = sorted(path.relative_to(runs[0]) for path in runs[0].rglob("*.pt"))
    assert len(checkpoints) == 4
    for path in checkpoints:
        assert_same_tensors(*(run / path for run in runs))
    for name in ("onnx-int8/model.onnx", "onnx-int8/golden.npz"):
        one, other = ((run / "04-export" / name).read_bytes() for run in runs)
        assert one == other
    assert_same_answers(*(run / "results.json" for run in runs))
